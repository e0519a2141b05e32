// Process-wide settings that decide how fast libtorch trains.
#pragma once

#include <cstdint>
#include <string>

namespace ckvsim::train {

/// Keeps freed tensors in the process: by default glibc maps every large tensor anew at each step,
/// which costs 1.5 to 3 times the training time. Call before the first allocation of size.
void tune_allocator();

/// Threads of libtorch's operations and of this program's own kernels, for the calling thread.
void set_operation_threads(std::uint32_t threads);

/// Version of the library that computes: another may round otherwise.
std::string operations_version();

/// How many CUDA devices libtorch can use here; 0 of one that was built for the CPU alone.
int cuda_devices();

/// Throws BackendError that says why where libtorch has no such device (compute.hpp's names), and
/// tells libtorch to prefer operations whose results repeat where it is not the CPU. Call before
/// the first tensor on a device, and not from several threads.
void require_device(std::string const& device);

/// GFLOP/s of a 256 x 256 x 256 product on one thread, best of a few (some 10 ms).
double gemm_gflops();

/// Below this the BLAS behind libtorch is the unoptimised reference one: it reaches 2.8 where
/// OpenBLAS reaches 79 per thread.
inline constexpr double kSlowGemm_gflops = 8.0;

}  // namespace ckvsim::train
