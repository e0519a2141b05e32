// The parts of CUDA that the kernels use and that depend on who compiles them: nvcc for a device,
// or any C++ compiler after tests/support/cuda_emulation.hpp.
#pragma once

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#elif !defined(CKVSIM_CUDA_EMULATION)
#error "kernels are compiled by nvcc, or after including cuda_emulation.hpp"
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace ckvsim::device::cuda {

inline constexpr unsigned kWarpSize = 32;
inline constexpr unsigned kFullWarp = 0xFFFFFFFFU;

/// The block's dynamic shared memory, 16-byte aligned.
__device__ __forceinline__ std::byte* block_memory() {
#if defined(CKVSIM_CUDA_EMULATION)
    return test::emulated::shared_memory();
#else
    extern __shared__ uint4 dynamic_shared[];
    return reinterpret_cast<std::byte*>(dynamic_shared);
#endif
}

/// Copies 16 bytes from global to shared memory, both 16-byte aligned; they are there after
/// wait_copies() of the same thread. From sm_80 on they do not pass through registers.
__device__ __forceinline__ void copy_async(void* shared, void const* global) {
#if defined(CKVSIM_CUDA_EMULATION)
    test::emulated::copy_async(shared, global, 16);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    auto const to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(to), "l"(global) : "memory");
#else
    *static_cast<uint4*>(shared) = *static_cast<uint4 const*>(global);
#endif
}

/// Waits for all copies that this thread has issued. Other threads see them after a barrier.
__device__ __forceinline__ void wait_copies() {
#if defined(CKVSIM_CUDA_EMULATION)
    test::emulated::wait_copies();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;\n" ::: "memory");
#endif
}

/// e^x through the hardware's power of two; relative error below 1e-5 for x in [-87, 0], where
/// weights of softmax lie.
__device__ __forceinline__ float exponential(float x) { return exp2f(x * 1.44269504F); }

/// Sum over groups of kLanes neighbouring lanes; every lane gets the sum.
template <unsigned kLanes>
__device__ __forceinline__ float lane_sum(float value) {
#pragma unroll
    for (unsigned flip = kLanes / 2; flip > 0; flip /= 2)
        value += __shfl_xor_sync(kFullWarp, value, flip, kLanes);
    return value;
}

template <unsigned kLanes>
__device__ __forceinline__ float lane_max(float value) {
#pragma unroll
    for (unsigned flip = kLanes / 2; flip > 0; flip /= 2)
        value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, flip, kLanes));
    return value;
}

}  // namespace ckvsim::device::cuda
