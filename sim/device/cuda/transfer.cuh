// Kernels that move bytes: entries gathered over the link or within device memory, and the reading
// of table rows that attention's speed is compared with.
#pragma once

#include "device/cuda/kernel_language.cuh"
#include "device/cuda/transfer.hpp"

namespace ckvsim::device::cuda {

inline constexpr unsigned kCopyThreads = 256;
inline constexpr unsigned kGatherThreads = 256;

/// Block x copies its slice of entry y; all slices of an entry but the last have the same size.
template <unsigned kThreads>
__global__ void __launch_bounds__(kThreads) copy_kernel(CopyTask const* tasks) {
    CopyTask const task = tasks[blockIdx.y];
    auto const* from = static_cast<uint4 const*>(task.from);
    auto* to = static_cast<uint4*>(task.to);
    std::size_t const vectors = task.bytes / sizeof(uint4);
    std::size_t const slice = (vectors + gridDim.x - 1) / gridDim.x;
    std::size_t const first = slice * blockIdx.x;
    std::size_t const end = first + slice < vectors ? first + slice : vectors;
    // Four loads before the stores: a link answers late.
    for (std::size_t i = first + threadIdx.x; i < end; i += std::size_t{4} * kThreads) {
        uint4 part[4];
#pragma unroll
        for (unsigned j = 0; j < 4; ++j)
            if (i + std::size_t{j} * kThreads < end) part[j] = from[i + std::size_t{j} * kThreads];
#pragma unroll
        for (unsigned j = 0; j < 4; ++j)
            if (i + std::size_t{j} * kThreads < end) to[i + std::size_t{j} * kThreads] = part[j];
    }
}

/// Each warp reads rows of the table and folds their bits into one word, written so that no read
/// can be left out.
template <unsigned kThreads>
__global__ void __launch_bounds__(kThreads) gather_kernel(GatherArgs const args) {
    unsigned const lane = threadIdx.x % kWarpSize;
    std::size_t const warps = std::size_t{gridDim.x} * (kThreads / kWarpSize);
    std::size_t const warp =
        std::size_t{blockIdx.x} * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
    std::uint32_t const vectors = args.row_bytes / 16;
    unsigned folded = 0;
    for (std::size_t i = warp; i < args.count; i += warps) {
        auto const* row =
            static_cast<uint4 const*>(args.table) + std::size_t{args.index[i]} * vectors;
#pragma unroll 4
        for (std::uint32_t at = lane; at < vectors; at += kWarpSize) {
            uint4 const part = row[at];
            folded ^= part.x ^ part.y ^ part.z ^ part.w;
        }
    }
#pragma unroll
    for (unsigned flip = kWarpSize / 2; flip > 0; flip /= 2)
        folded ^= __shfl_xor_sync(kFullWarp, folded, flip);
    if (lane == 0) args.folded[warp] = folded;
}

}  // namespace ckvsim::device::cuda
