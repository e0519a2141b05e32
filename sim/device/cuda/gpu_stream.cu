#include "device/cuda/gpu_stream.hpp"

#include <algorithm>
#include <vector>

#include "device/cuda/cuda_check.cuh"

namespace ckvsim::device::cuda {
namespace {

std::size_t device_attribute(cudaDeviceAttr attribute) {
    int device = 0;
    int value = 0;
    check(cudaGetDevice(&device), "the current GPU");
    check(cudaDeviceGetAttribute(&value, attribute, device), "an attribute of the GPU");
    return static_cast<std::size_t>(std::max(value, 0));
}

}  // namespace

Event::Event() { check(cudaEventCreate(&handle_), "creating an event"); }
Event::~Event() {
    if (handle_ != nullptr) static_cast<void>(cudaEventDestroy(handle_));
}
void Event::record(Stream const& stream) {
    check(cudaEventRecord(handle_, stream.handle()), "recording an event");
}
double Event::ms_since(Event const& start) const {
    check(cudaEventSynchronize(handle_), "waiting for an event");
    float ms = 0.0F;
    check(cudaEventElapsedTime(&ms, start.handle(), handle_), "time between two events");
    return ms;
}

Stream::Stream() {
    check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "creating a stream");
}
Stream::~Stream() {
    if (handle_ != nullptr) static_cast<void>(cudaStreamDestroy(handle_));
}
void Stream::copy(void* to, void const* from, std::size_t bytes) const {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, handle_),
          "copying " + std::to_string(bytes) + " bytes");
}
void Stream::wait_for(Event const& event) const {
    check(cudaStreamWaitEvent(handle_, event.handle(), 0), "a stream's wait for an event");
}
void Stream::synchronize() const { check(cudaStreamSynchronize(handle_), "waiting for a stream"); }

std::size_t Stream::keep_in_l2(void const* address, std::size_t bytes) const {
    std::size_t const window =
        std::min(bytes, device_attribute(cudaDevAttrMaxAccessPolicyWindowSize));
    std::size_t const reserved =
        std::min(window, device_attribute(cudaDevAttrMaxPersistingL2CacheSize));
    if (reserved == 0) return 0;
    check(cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, reserved),
          "reserving " + std::to_string(reserved) + " bytes of the L2 cache");
    cudaStreamAttrValue value{};
    value.accessPolicyWindow.base_ptr = const_cast<void*>(address);
    value.accessPolicyWindow.num_bytes = window;
    value.accessPolicyWindow.hitRatio =
        static_cast<float>(static_cast<double>(reserved) / static_cast<double>(window));
    value.accessPolicyWindow.hitProp = cudaAccessPropertyPersisting;
    value.accessPolicyWindow.missProp = cudaAccessPropertyStreaming;
    check(cudaStreamSetAttribute(handle_, cudaStreamAttributeAccessPolicyWindow, &value),
          "the L2 window of a stream");
    return reserved;
}

void Stream::release_l2() const {
    cudaStreamAttrValue value{};  // an empty window
    check(cudaStreamSetAttribute(handle_, cudaStreamAttributeAccessPolicyWindow, &value),
          "the L2 window of a stream");
    check(cudaCtxResetPersistingL2Cache(), "emptying the reserved L2 cache");
}

Graph::Graph(Stream const& stream, std::function<void()> const& work) {
    cudaGraph_t recorded = nullptr;
    check(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal),
          "recording a graph");
    try {
        work();
    } catch (...) {
        static_cast<void>(cudaStreamEndCapture(stream.handle(), &recorded));
        // The broken recording is not the next launch's fault.
        static_cast<void>(cudaGetLastError());
        if (recorded != nullptr) static_cast<void>(cudaGraphDestroy(recorded));
        throw;
    }
    check(cudaStreamEndCapture(stream.handle(), &recorded), "recording a graph");
    cudaError_t const status = cudaGraphInstantiate(&handle_, recorded, 0);
    static_cast<void>(cudaGraphDestroy(recorded));
    check(status, "preparing a graph");
}
Graph::~Graph() {
    if (handle_ != nullptr) static_cast<void>(cudaGraphExecDestroy(handle_));
}
void Graph::launch(Stream const& stream) const {
    check(cudaGraphLaunch(handle_, stream.handle()), "starting a graph");
}

void run_overlapped(Stream const& fetches, Stream const& kernels, std::uint32_t parts,
                    std::uint32_t slots,
                    std::function<void(std::uint32_t, std::uint32_t)> const& fetch,
                    std::function<void(std::uint32_t, std::uint32_t)> const& work) {
    validate(slots > 0, "device/cuda: overlapped work without slots");
    std::vector<Event> fetched(slots);
    std::vector<Event> used(slots);
    for (std::uint32_t part = 0; part < parts; ++part) {
        std::uint32_t const slot = part % slots;
        if (part >= slots) fetches.wait_for(used[slot]);
        fetch(part, slot);
        fetched[slot].record(fetches);
        kernels.wait_for(fetched[slot]);
        work(part, slot);
        used[slot].record(kernels);
    }
}

}  // namespace ckvsim::device::cuda
