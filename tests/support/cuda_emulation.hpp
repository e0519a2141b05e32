// CUDA's execution model on the CPU, as far as the kernels of sim/device/cuda use it: blocks of
// threads as fibers of one operating-system thread, barriers, warp exchanges, shared memory and
// asynchronous copies. Include it before a *.cuh of that folder and the same source compiles with
// any C++ compiler.
//
// Strict where hardware forgives: a barrier must be reached by every thread of its block or warp;
// exchanges take all 32 lanes; shared memory starts as NaNs and ends at the byte that the launch
// asked for. What it cannot show is in sim/docs/adr/0009-cuda-emulation.md.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define CKVSIM_CUDA_EMULATION 1

namespace ckvsim::test {

inline constexpr unsigned kWarp = 32;

/// In which order threads run between two barriers, and when asynchronous copies take place. A
/// kernel that synchronises correctly gives the same bits under all of them.
struct CudaSchedule {
    enum class Order : std::uint8_t { forward, backward, shuffled };
    enum class Copies : std::uint8_t { at_issue, at_wait };
    Order order = Order::forward;
    Copies copies = Copies::at_issue;
    std::uint64_t seed = 0;
};

/// One launch; a grid of grid_x * grid_y blocks.
struct CudaGrid {
    unsigned grid_x = 1;
    unsigned grid_y = 1;
    unsigned threads = kWarp;      ///< of a block; a multiple of kWarp
    std::size_t shared_bytes = 0;  ///< dynamic shared memory of a block
};

/// Runs `kernel` in every thread of the grid. Throws std::logic_error when threads wait for each
/// other for ever or break a rule above, and what the kernel throws.
void run_grid(CudaGrid const& grid, CudaSchedule const& schedule,
              std::function<void()> const& kernel);

namespace emulated {

// What kernel code calls; valid inside run_grid only.
void block_barrier();
void warp_barrier(unsigned mask);
/// Publishes `bits` to the warp and returns what lane `source` published.
std::uint64_t exchange(unsigned mask, std::uint64_t bits, unsigned source);
unsigned lane();
std::byte* shared_memory();
void copy_async(void* to, void const* from, std::size_t bytes);
/// Finishes the asynchronous copies that the calling thread has issued.
void wait_copies();

/// Bits of a 1 to 8 byte value, and back.
template <class T>
std::uint64_t to_bits(T value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}
template <class T>
T from_bits(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace emulated
}  // namespace ckvsim::test

// CUDA's own spellings. NOLINTBEGIN(bugprone-reserved-identifier): they are the language's.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct EmulatedIndex {
    unsigned x = 0;
    unsigned y = 0;
    unsigned z = 0;
};
extern EmulatedIndex threadIdx;
extern EmulatedIndex blockIdx;
extern EmulatedIndex blockDim;
extern EmulatedIndex gridDim;

/// Reads memory of any type, as vector loads do.
struct alignas(16) [[gnu::may_alias]] uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) [[gnu::may_alias]] uint2 {
    unsigned x, y;
};

inline void __syncthreads() { ckvsim::test::emulated::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU) { ckvsim::test::emulated::warp_barrier(mask); }

template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned flip, unsigned width = ckvsim::test::kWarp) {
    namespace emulated = ckvsim::test::emulated;
    unsigned const lane = emulated::lane();
    unsigned const other = lane ^ flip;
    unsigned const source = lane / width == other / width ? other : lane;
    return emulated::from_bits<T>(emulated::exchange(mask, emulated::to_bits(value), source));
}

inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }

struct __half {
    unsigned short bits;
};
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline float __half2float(__half half) {
    int const exponent = (half.bits >> 10) & 31;
    auto const mantissa = static_cast<float>(half.bits & 1023);
    float magnitude = std::ldexp(mantissa, -24);
    if (exponent == 31) magnitude = mantissa == 0.0F ? INFINITY : NAN;
    if (exponent > 0 && exponent < 31) magnitude = std::ldexp(mantissa + 1024.0F, exponent - 25);
    return (half.bits & 0x8000) != 0 ? -magnitude : magnitude;
}
// NOLINTEND(bugprone-reserved-identifier)
