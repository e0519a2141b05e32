#include "device/cuda/transfer.cuh"

#include "device/cuda/cuda_check.cuh"
#include "device/cuda/gpu_stream.hpp"

namespace ckvsim::device::cuda {
namespace {

constexpr std::uint32_t kMostEntries = 65535;  // of a grid in y

}  // namespace

void copy_entries(CopyTask const* tasks, std::uint32_t count, std::uint32_t slices,
                  Stream const& stream) {
    validate(slices > 0, "device/cuda: a copy without blocks");
    for (std::uint32_t first = 0; first < count; first += kMostEntries) {
        std::uint32_t const some = count - first < kMostEntries ? count - first : kMostEntries;
        copy_kernel<kCopyThreads>
            <<<dim3(slices, some), kCopyThreads, 0, stream.handle()>>>(tasks + first);
        check(cudaGetLastError(), "launching the copy of " + std::to_string(some) + " entries");
    }
}

void gather_rows(GatherArgs const& args, std::uint32_t blocks, Stream const& stream) {
    static_assert(gather_words(1) == kGatherThreads / kWarpSize);
    gather_kernel<kGatherThreads><<<blocks, kGatherThreads, 0, stream.handle()>>>(args);
    check(cudaGetLastError(), "launching the reading of " + std::to_string(args.count) + " rows");
}

}  // namespace ckvsim::device::cuda
