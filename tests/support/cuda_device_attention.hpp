// Batches of cuda_cases.hpp on a real GPU.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "cuda_attention_suite.hpp"
#include "device/cuda/attention_launch.hpp"
#include "device/cuda/gpu_device.hpp"

namespace ckvsim::test {

/// A batch's blocks copied to the device.
class DeviceBatch {
  public:
    explicit DeviceBatch(CudaBatch const& batch) : batch_(batch) {
        for (CudaBlock const& block : batch.blocks()) {
            // Kernels may not touch a byte beyond a block; cudaMalloc rounds up, so that needs
            // compute-sanitizer to show.
            buffers_.emplace_back(block.size(), "a test batch");
            buffers_.back().upload(block.data(), block.size());
        }
    }
    [[nodiscard]] std::vector<device::cuda::AttentionRequest> requests() const {
        return batch_.requests([this](std::size_t block) { return buffers_[block].data(); });
    }
    /// Back to the host batch, for CudaBatch::check().
    void fetch_outputs() const {
        CudaBlock const& block = batch_.blocks()[batch_.output_block()];
        buffers_[batch_.output_block()].download(block.data(), block.size());
    }

  private:
    CudaBatch const& batch_;
    std::vector<device::cuda::DeviceBuffer> buffers_;
};

class DeviceRunner final : public AttentionRunner {
  public:
    /// Looked for at the first call, not while static objects are made.
    [[nodiscard]] static device::cuda::GpuSearch const& search() {
        static device::cuda::GpuSearch const kSearch = device::cuda::find_gpu();
        return kSearch;
    }
    [[nodiscard]] std::string missing() const override {
        return search().gpu ? "" : "no GPU (" + search().reason + ")";
    }
    void attend(CudaBatch const& batch, device::cuda::PlanWishes const& wishes) const override {
        batch.poison_outputs();
        DeviceBatch const on_device(batch);
        device::cuda::AttentionLauncher launcher(search().gpu->limits);
        launcher.prepare(on_device.requests(), batch.shape(), batch.made_from().row_type, wishes);
        device::cuda::Stream const stream;
        launcher.launch(stream);
        stream.synchronize();
        on_device.fetch_outputs();
    }
};

}  // namespace ckvsim::test
