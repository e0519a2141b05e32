// The GPU that this process uses, if there is one. No GPU is an ordinary answer, not an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "device/cuda/attention_plan.hpp"

namespace ckvsim::device::cuda {

/// What the driver says about a GPU.
struct GpuInfo {
    std::string name;
    std::string bus_id;
    std::string driver;       ///< newest CUDA that the driver knows, "13.0"
    std::string runtime;      ///< CUDA that the program was built with
    std::uint32_t major = 0;  ///< compute capability
    std::uint32_t minor = 0;
    std::size_t memory_bytes = 0;
    std::size_t l2_bytes = 0;
    std::size_t persisting_l2_bytes = 0;  ///< of the L2 cache that a program may reserve
    std::uint32_t copy_engines = 0;
    bool error_correction = false;
    DeviceLimits limits;
};

/// The GPU, or why there is none.
struct GpuSearch {
    std::optional<GpuInfo> gpu;
    std::string reason;
};

/// Looks at the first visible GPU and makes it the calling thread's. Never throws for a machine
/// without GPU or driver, or with a GPU that the kernels were not built for.
GpuSearch find_gpu();

/// Bytes of device memory.
struct GpuMemory {
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
};
GpuMemory gpu_memory();

}  // namespace ckvsim::device::cuda
