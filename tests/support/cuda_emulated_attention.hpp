// The attention kernels of sim/device/cuda run in emulation on a batch in host memory.
#pragma once

#include "cuda_cases.hpp"
#include "cuda_emulation.hpp"
// The kernels need the emulation first.
#include "device/cuda/attention_dispatch.cuh"

namespace ckvsim::test {

/// Launcher for launch_attention().
struct EmulatedLaunch {
    CudaSchedule schedule;

    template <class Kernel>
    void operator()(Kernel const& kernel, unsigned blocks, unsigned threads,
                    std::size_t shared_bytes, device::cuda::AttentionArgs const& args) const {
        run_grid({blocks, 1, threads, shared_bytes}, schedule, [&] { kernel(args); });
    }
};

/// Runs the plan on the batch; its outputs are poisoned before.
inline void attend_emulated(CudaBatch const& batch, device::cuda::AttentionPlan const& plan,
                            CudaSchedule const& schedule = {}) {
    auto const requests = batch.requests();
    CudaBlock const partials(plan.partial_floats * sizeof(float));
    batch.poison_outputs();
    device::cuda::launch_attention(
        plan,
        device::cuda::make_args(plan, batch.shape(), device::cuda::batch_size(requests),
                                requests.data(), reinterpret_cast<float*>(partials.data())),
        EmulatedLaunch{schedule});
}

inline device::cuda::AttentionPlan plan_for(CudaBatch const& batch,
                                            device::cuda::PlanWishes const& wishes = {},
                                            device::cuda::DeviceLimits const& limits = {}) {
    return device::cuda::plan_attention(batch.shape(), batch.made_from().row_type,
                                        device::cuda::batch_size(batch.requests()), limits, wishes);
}

}  // namespace ckvsim::test
