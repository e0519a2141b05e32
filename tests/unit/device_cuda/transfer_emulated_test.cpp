// The kernels that move bytes, in emulation.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "cuda_cases.hpp"
#include "cuda_emulation.hpp"

// The emulation first.
#include "device/cuda/transfer.cuh"

namespace ckvsim::device::cuda {
namespace {

using test::CudaBlock;

TEST(TransferEmulated, EveryByteOfEveryEntryIsCopiedOnce) {
    std::vector<std::size_t> const sizes = {0, 16, 32, 512, 1024 + 16, 16000};
    for (unsigned const slices : {1U, 2U, 3U, 7U}) {
        std::vector<CudaBlock> from;
        std::vector<CudaBlock> to;
        std::vector<CopyTask> tasks;
        for (std::size_t const bytes : sizes) {
            from.emplace_back(bytes);
            to.emplace_back(bytes);
            for (std::size_t i = 0; i < bytes; ++i)
                from.back().data()[i] = static_cast<std::byte>(i * 7 + bytes);
            tasks.push_back({from.back().data(), to.back().data(), bytes});
        }
        test::run_grid({slices, static_cast<unsigned>(tasks.size()), 64, 0}, {},
                       [&] { copy_kernel<64>(tasks.data()); });
        for (std::size_t i = 0; i < sizes.size(); ++i)
            EXPECT_EQ(std::memcmp(from[i].data(), to[i].data(), sizes[i]), 0) << sizes[i];
    }
}

TEST(TransferEmulated, GatherReadsTheRowsOfItsIndex) {
    constexpr std::uint32_t kRowBytes = 48;
    CudaBlock const table(std::size_t{kRowBytes} * 9);
    auto* words = reinterpret_cast<std::uint32_t*>(table.data());
    std::iota(words, words + table.size() / 4, 1000U);
    std::vector<std::uint32_t> const index = {3, 8, 0, 3, 5};
    std::vector<std::uint32_t> folded(4, 77);
    GatherArgs args;
    args.table = table.data();
    args.row_bytes = kRowBytes;
    args.index = index.data();
    args.count = index.size();
    args.folded = folded.data();
    test::run_grid({2, 1, 64, 0}, {}, [&] { gather_kernel<64>(args); });
    for (std::size_t warp = 0; warp < 4; ++warp) {
        std::uint32_t expected = 0;
        for (std::size_t i = warp; i < index.size(); i += 4) {
            for (std::uint32_t w = 0; w < kRowBytes / 4; ++w)
                expected ^= words[index[i] * kRowBytes / 4 + w];
        }
        EXPECT_EQ(folded[warp], expected);
    }
}

}  // namespace
}  // namespace ckvsim::device::cuda
