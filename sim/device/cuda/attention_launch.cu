#include "device/cuda/attention_launch.hpp"

#include "device/cuda/attention_dispatch.cuh"
#include "device/cuda/cuda_check.cuh"

namespace ckvsim::device::cuda {
namespace {

/// More than this a kernel must be allowed explicitly.
constexpr std::size_t kFreeSharedBytes = std::size_t{48} * 1024;

struct DeviceLaunch {
    cudaStream_t stream;

    template <class Kernel>
    void operator()(Kernel* kernel, unsigned blocks, unsigned threads, std::size_t shared_bytes,
                    AttentionArgs const& args) const {
        if (shared_bytes > kFreeSharedBytes)
            check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(shared_bytes)),
                  std::to_string(shared_bytes) + " bytes of shared memory for a block");
        kernel<<<blocks, threads, shared_bytes, stream>>>(args);
        check(cudaGetLastError(), "launching attention over " + std::to_string(blocks) + " blocks");
    }
};

void grow(DeviceBuffer& buffer, std::size_t bytes, char const* purpose) {
    if (buffer.size() >= bytes) return;
    buffer = DeviceBuffer();  // before the larger one is asked for
    buffer = DeviceBuffer(bytes, purpose);
}

}  // namespace

void AttentionLauncher::prepare(std::span<AttentionRequest const> requests,
                                AttentionShape const& shape, kv::ValueType row_type,
                                PlanWishes const& wishes) {
    BatchSize const batch = batch_size(requests);
    plan_ = plan_attention(shape, row_type, batch, limits_, wishes);
    grow(requests_, requests.size_bytes(), "attention requests");
    grow(partials_, plan_.partial_floats * sizeof(float), "partial attention results");
    requests_.upload(requests.data(), requests.size_bytes());
    args_ = make_args(plan_, shape, batch, requests_.as<AttentionRequest const>(),
                      partials_.as<float>());
}

void AttentionLauncher::launch(Stream const& stream) const {
    launch_attention(plan_, args_, DeviceLaunch{stream.handle()});
}

}  // namespace ckvsim::device::cuda
