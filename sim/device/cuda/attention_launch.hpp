// Attention of a batch on the GPU. Everything that a launch needs lies on the device, so that it
// can be repeated and recorded in a Graph.
#pragma once

#include <span>

#include "device/cuda/attention_plan.hpp"
#include "device/cuda/gpu_memory.hpp"
#include "device/cuda/gpu_stream.hpp"

namespace ckvsim::device::cuda {

/// Keeps the memory of its largest batch. Not thread-safe.
class AttentionLauncher {
  public:
    explicit AttentionLauncher(DeviceLimits const& limits) : limits_(limits) {}

    /// Plans the batch and copies its requests (device addresses) to the device. Launches of the
    /// batch before must have finished. Throws BackendError when no kernel fits or memory is short.
    void prepare(std::span<AttentionRequest const> requests, AttentionShape const& shape,
                 kv::ValueType row_type, PlanWishes const& wishes = {});
    /// Starts the prepared batch in the stream.
    void launch(Stream const& stream) const;
    [[nodiscard]] AttentionPlan const& plan() const { return plan_; }

  private:
    DeviceLimits limits_;
    AttentionPlan plan_;
    AttentionArgs args_;
    DeviceBuffer requests_;
    DeviceBuffer partials_;
};

}  // namespace ckvsim::device::cuda
