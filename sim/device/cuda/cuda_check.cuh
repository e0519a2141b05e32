// Results of CUDA calls as typed errors.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.hpp"

namespace ckvsim::device::cuda {

/// Throws BackendError with what was tried, CUDA's reason and the advice. Clears the error, so that
/// later calls do not report it again.
inline void check(cudaError_t status, std::string const& what,
                  char const* advice = "See sim/docs/gpu.md.") {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());
    throw BackendError("device/cuda: " + what + ": " + cudaGetErrorName(status) + " (" +
                       cudaGetErrorString(status) + "). " + advice);
}

}  // namespace ckvsim::device::cuda
