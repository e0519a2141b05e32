#include "train/torch_runtime.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <omp.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdlib>

#include "core/error.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace ckvsim::train {

void tune_allocator() {
#ifdef __GLIBC__
    // One arena without maps: tensors of all threads reuse one growing heap that is never trimmed.
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    mallopt(M_TOP_PAD, 256 << 20);
#endif
}

void set_operation_threads(std::uint32_t threads) {
    at::set_num_threads(static_cast<int>(threads));
    omp_set_num_threads(static_cast<int>(threads));
}

std::string operations_version() { return TORCH_VERSION; }

int cuda_devices() { return static_cast<int>(torch::cuda::device_count()); }

void require_device(std::string const& device) {
    if (device == "cpu") return;
    int const devices = cuda_devices();
    if (devices == 0) {
        throw BackendError("--device " + device + ": libtorch " + operations_version() +
                           " finds no CUDA device here (no GPU or driver, or a libtorch built for "
                           "the CPU alone). Use --device cpu, or see 'On a GPU' in "
                           "sim/train/README.md");
    }
    auto const colon = device.find(':');
    if (colon != std::string::npos && std::stoi(device.substr(colon + 1)) >= devices) {
        throw BackendError("--device " + device + ": this machine has " + std::to_string(devices) +
                           " CUDA devices, counted from cuda:0");
    }
    // cuBLAS reads it when it is first used: without it products of one shape may differ.
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
}

double gemm_gflops() {
    constexpr std::int64_t kSize = 256;
    constexpr int kRepeats = 5;
    auto const a = at::ones({kSize, kSize}, at::kFloat);
    double best_s = 1e9;
    for (int i = 0; i < kRepeats; ++i) {
        auto const begin = std::chrono::steady_clock::now();
        auto const product = at::mm(a, a);
        best_s = std::min(
            best_s,
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return 2.0 * kSize * kSize * kSize / best_s / 1e9;
}

}  // namespace ckvsim::train
