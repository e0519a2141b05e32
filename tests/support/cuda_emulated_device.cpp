// The host side of sim/device/cuda over host memory and emulated kernels: programs that are written
// for a GPU run to their end without one. Streams run their work at once. Times are the CPU's and
// mean nothing; the device's name says so.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "core/error.hpp"
#include "cuda_emulated_attention.hpp"
#include "device/cuda/attention_launch.hpp"
#include "device/cuda/gpu_device.hpp"
#include "device/cuda/transfer.cuh"

// Stand for the driver's objects.
struct CUevent_st {
    std::chrono::steady_clock::time_point at;
};
struct CUstream_st {
    std::vector<std::function<void()>>* recording = nullptr;
};
struct CUgraphExec_st {
    std::vector<std::function<void()>> work;
};

namespace ckvsim::device::cuda {
namespace {

/// Device memory that a program may have; small, so that allocations sized from it stay small.
constexpr std::size_t kMemoryBytes = std::size_t{8} << 20;
std::size_t used_bytes = 0;

std::byte* allocate(std::size_t bytes) {
    auto* data = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{256}));
    std::memset(data, 0xFF, bytes);
    return data;
}
void release(std::byte* data) { ::operator delete (data, std::align_val_t{256}); }

void check_range(std::size_t bytes, std::size_t offset, std::size_t size) {
    validate(offset <= size && bytes <= size - offset,
             "device/cuda: a copy beyond the end of a device buffer");
}

/// Runs work now, or records it while a graph is made.
void put(Stream const& stream, std::function<void()> work) {
    if (stream.handle()->recording != nullptr) {
        stream.handle()->recording->push_back(std::move(work));
    } else {
        work();
    }
}

}  // namespace

GpuSearch find_gpu() {
    GpuInfo info;
    info.name = "EMULATION on the CPU, times mean nothing";
    info.driver = info.runtime = "none";
    info.memory_bytes = kMemoryBytes;
    info.l2_bytes = 1024;
    info.persisting_l2_bytes = std::size_t{1} << 20;
    info.limits = {2, std::size_t{163} * 1024};
    return {info, ""};
}
GpuMemory gpu_memory() { return {kMemoryBytes - used_bytes, kMemoryBytes}; }

DeviceBuffer::DeviceBuffer(std::size_t bytes, char const* purpose) : bytes_(bytes) {
    if (bytes > kMemoryBytes - used_bytes)
        throw BackendError("device/cuda: " + std::to_string(bytes) +
                           " bytes of device memory for " + purpose + " (" +
                           std::to_string(kMemoryBytes - used_bytes) + " of " +
                           std::to_string(kMemoryBytes) + " bytes are free)");
    used_bytes += bytes;
    data_ = allocate(bytes);
}
DeviceBuffer::~DeviceBuffer() {
    if (data_ == nullptr) return;
    used_bytes -= bytes_;
    release(data_);
}
void DeviceBuffer::upload(void const* from, std::size_t bytes, std::size_t offset) const {
    check_range(bytes, offset, bytes_);
    if (bytes > 0) std::memcpy(data_ + offset, from, bytes);
}
void DeviceBuffer::download(void* to, std::size_t bytes, std::size_t offset) const {
    check_range(bytes, offset, bytes_);
    if (bytes > 0) std::memcpy(to, data_ + offset, bytes);
}
void DeviceBuffer::fill(int byte) const {
    if (bytes_ > 0) std::memset(data_, byte, bytes_);
}

PinnedBuffer::PinnedBuffer(std::size_t bytes, char const* /*purpose*/)
    : data_(allocate(bytes)), bytes_(bytes) {}
PinnedBuffer::~PinnedBuffer() {
    if (data_ != nullptr) release(data_);
}

Event::Event() : handle_(new CUevent_st) {}
Event::~Event() { delete handle_; }
void Event::record(Stream const& /*stream*/) { handle_->at = std::chrono::steady_clock::now(); }
double Event::ms_since(Event const& start) const {
    return std::chrono::duration<double, std::milli>(handle_->at - start.handle_->at).count();
}

Stream::Stream() : handle_(new CUstream_st) {}
Stream::~Stream() { delete handle_; }
void Stream::copy(void* to, void const* from, std::size_t bytes) const {
    put(*this, [=] {
        if (bytes > 0) std::memcpy(to, from, bytes);
    });
}
void Stream::wait_for(Event const& /*event*/) const {}
void Stream::synchronize() const {}
std::size_t Stream::keep_in_l2(void const* /*address*/, std::size_t bytes) const {
    return std::min(bytes, find_gpu().gpu->persisting_l2_bytes);
}
void Stream::release_l2() const {}

Graph::Graph(Stream const& stream, std::function<void()> const& work)
    : handle_(new CUgraphExec_st) {
    stream.handle()->recording = &handle_->work;
    work();
    stream.handle()->recording = nullptr;
}
Graph::~Graph() { delete handle_; }
void Graph::launch(Stream const& /*stream*/) const {
    for (auto const& work : handle_->work) work();
}

/// Part after part: what overlaps on a device must be right in this order, too.
void run_overlapped(Stream const& /*fetches*/, Stream const& /*kernels*/, std::uint32_t parts,
                    std::uint32_t slots,
                    std::function<void(std::uint32_t, std::uint32_t)> const& fetch,
                    std::function<void(std::uint32_t, std::uint32_t)> const& work) {
    for (std::uint32_t part = 0; part < parts; ++part) {
        fetch(part, part % slots);
        work(part, part % slots);
    }
}

void AttentionLauncher::prepare(std::span<AttentionRequest const> requests,
                                AttentionShape const& shape, kv::ValueType row_type,
                                PlanWishes const& wishes) {
    BatchSize const batch = batch_size(requests);
    plan_ = plan_attention(shape, row_type, batch, limits_, wishes);
    requests_ = DeviceBuffer();
    requests_ = DeviceBuffer(requests.size_bytes(), "attention requests");
    partials_ = DeviceBuffer();
    partials_ = DeviceBuffer(plan_.partial_floats * sizeof(float), "partial attention results");
    requests_.upload(requests.data(), requests.size_bytes());
    args_ = make_args(plan_, shape, batch, requests_.as<AttentionRequest const>(),
                      partials_.as<float>());
}
void AttentionLauncher::launch(Stream const& stream) const {
    put(stream,
        [plan = plan_, args = args_] { launch_attention(plan, args, test::EmulatedLaunch{}); });
}

void copy_entries(CopyTask const* tasks, std::uint32_t count, std::uint32_t slices,
                  Stream const& stream) {
    put(stream, [=] {
        test::run_grid({slices, count, 32, 0}, {}, [&] { copy_kernel<32>(tasks); });
    });
}
void gather_rows(GatherArgs const& args, std::uint32_t blocks, Stream const& stream) {
    put(stream, [=] {
        test::run_grid({blocks, 1, kGatherThreads, 0}, {},
                       [&] { gather_kernel<kGatherThreads>(args); });
    });
}

}  // namespace ckvsim::device::cuda
