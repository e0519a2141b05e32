// What the emulation of CUDA's execution model promises: barriers, exchanges, shared memory and
// asynchronous copies behave as described, and mistakes show.
#include "cuda_emulation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

// The emulation first.
#include "device/cuda/kernel_language.cuh"

namespace ckvsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Order = CudaSchedule::Order;
using Copies = CudaSchedule::Copies;

/// Every thread writes its number, then reads its neighbour's.
std::vector<int> neighbours(Order order, bool with_barrier) {
    std::vector<int> out(64, -1);
    run_grid({1, 1, 64, 64 * sizeof(int)}, {order, Copies::at_issue, 3}, [&] {
        auto* numbers = reinterpret_cast<int*>(device::cuda::block_memory());
        numbers[threadIdx.x] = static_cast<int>(threadIdx.x);
        if (with_barrier) __syncthreads();
        out[threadIdx.x] = numbers[(threadIdx.x + 1) % 64];
    });
    return out;
}

TEST(CudaEmulation, BarriersOrderTheBlockAndAMissingOneShows) {
    std::vector<int> expected;
    for (int i = 0; i < 64; ++i) expected.push_back((i + 1) % 64);
    for (Order const order : {Order::forward, Order::backward, Order::shuffled}) {
        EXPECT_EQ(neighbours(order, true), expected);
        EXPECT_NE(neighbours(order, false), expected);
    }
    EXPECT_NE(neighbours(Order::forward, false), neighbours(Order::backward, false));
}

TEST(CudaEmulation, BlocksAndThreadsHaveTheirPlaces) {
    std::vector<int> seen(std::size_t{3} * 2 * 32, 0);
    run_grid({3, 2, 32, 0}, {}, [&] {
        EXPECT_EQ(blockDim.x, 32U);
        EXPECT_EQ(gridDim.x * gridDim.y, 6U);
        ++seen[(blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x];
    });
    EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
}

TEST(CudaEmulation, ExchangesReachTheOtherLane) {
    for (Order const order : {Order::forward, Order::backward, Order::shuffled}) {
        std::vector<float> sums(64);
        run_grid({1, 1, 64, 0}, {order, Copies::at_issue, 4}, [&] {
            auto const mine = static_cast<float>(threadIdx.x);
            // Several in a row: slots of one exchange are not overwritten by the next.
            sums[threadIdx.x] =
                device::cuda::lane_sum<8>(mine) + 1000.0F * device::cuda::lane_max<32>(mine);
        });
        for (unsigned i = 0; i < 64; ++i) {
            unsigned const first = i / 8 * 8;
            EXPECT_EQ(sums[i], static_cast<float>(8 * first + 28 + 1000 * (i < 32 ? 31 : 63)));
        }
    }
}

TEST(CudaEmulation, SharedMemoryStartsAsNotANumberInEveryBlock) {
    std::vector<bool> poisoned;
    run_grid({3, 1, 32, sizeof(float)}, {}, [&] {
        auto* value = reinterpret_cast<float*>(device::cuda::block_memory());
        if (threadIdx.x == 0) {
            poisoned.push_back(std::isnan(*value));
            *value = 1.0F;
        }
    });
    EXPECT_EQ(poisoned, std::vector<bool>(3, true));
}

TEST(CudaEmulation, CopiesArriveAtIssueOrAtTheWait) {
    alignas(16) float const source[4] = {1, 2, 3, 4};
    for (Copies const copies : {Copies::at_issue, Copies::at_wait}) {
        run_grid({1, 1, 32, 16}, {Order::forward, copies, 0}, [&] {
            if (threadIdx.x != 0) return;
            auto* to = reinterpret_cast<float*>(device::cuda::block_memory());
            device::cuda::copy_async(to, source);
            EXPECT_EQ(std::isnan(to[3]), copies == Copies::at_wait);
            device::cuda::wait_copies();
            EXPECT_EQ(to[3], 4.0F);
        });
    }
}

TEST(CudaEmulation, ThreadsThatWaitForEverAreReported) {
    EXPECT_THAT(
        [] {
            run_grid({1, 1, 64, 0}, {}, [] {
                if (threadIdx.x < 40) __syncthreads();
            });
        },
        ThrowsMessage<std::logic_error>(HasSubstr(
            "waits for ever: 40 threads at __syncthreads, 0 at a warp barrier, 24 ended")));
    EXPECT_THAT(
        [] {
            run_grid({1, 1, 32, 0}, {}, [] {
                if (threadIdx.x == 7) {
                    __syncthreads();
                } else {
                    __syncwarp();
                }
            });
        },
        ThrowsMessage<std::logic_error>(HasSubstr("1 threads at __syncthreads, 31 at a warp")));
}

TEST(CudaEmulation, BrokenRulesAreReported) {
    EXPECT_THAT(
        [] {
            run_grid({1, 1, 32, 0}, {}, [] { __syncwarp(1); });
        },
        ThrowsMessage<std::logic_error>(HasSubstr("some lanes")));
    EXPECT_THAT(
        [] {
            run_grid({1, 1, 33, 0}, {}, [] {});
        },
        ThrowsMessage<std::logic_error>(HasSubstr("33 threads")));
    EXPECT_THAT([] { __syncthreads(); }, ThrowsMessage<std::logic_error>(HasSubstr("outside")));
    alignas(16) float const source[4] = {};
    EXPECT_THAT(
        [&] {
            run_grid({1, 1, 32, 16}, {Order::forward, Copies::at_wait, 0},
                     [&] { device::cuda::copy_async(device::cuda::block_memory(), source); });
        },
        ThrowsMessage<std::logic_error>(HasSubstr("before its copies")));
}

TEST(CudaEmulation, WhatAKernelThrowsReachesTheCaller) {
    EXPECT_THAT(
        [] {
            run_grid({1, 1, 32, 0}, {}, [] {
                if (threadIdx.x == 5) throw std::runtime_error("five");
                __syncthreads();
            });
        },
        ThrowsMessage<std::runtime_error>("five"));
    // The next launch is not disturbed.
    int threads = 0;
    run_grid({1, 1, 32, 0}, {}, [&] {
        __syncthreads();
        ++threads;
    });
    EXPECT_EQ(threads, 32);
}

TEST(CudaEmulation, HalvesHaveTheirValues) {
    EXPECT_EQ(__half2float(__ushort_as_half(0x3C00)), 1.0F);
    EXPECT_EQ(__half2float(__ushort_as_half(0xC000)), -2.0F);
    EXPECT_EQ(__half2float(__ushort_as_half(0x7BFF)), 65504.0F);
    EXPECT_EQ(__half2float(__ushort_as_half(0x0001)), 0x1p-24F);
    EXPECT_EQ(__half2float(__ushort_as_half(0x0400)), 0x1p-14F);
    EXPECT_EQ(__half2float(__ushort_as_half(0xFC00)), -INFINITY);
    EXPECT_TRUE(std::isnan(__half2float(__ushort_as_half(0xFFFF))));
}

}  // namespace
}  // namespace ckvsim::test
