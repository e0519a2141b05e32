// How batches are cut into blocks, and what is refused.
#include "device/cuda/attention_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "cuda_emulated_attention.hpp"

namespace ckvsim::device::cuda {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

AttentionShape shape_of(std::uint32_t heads, std::uint32_t head_dim) {
    AttentionShape shape;
    shape.heads = heads;
    shape.head_dim = head_dim;
    shape.row_step = shape.q_step = shape.out_step = shape.width();
    return shape;
}

TEST(AttentionPlan, FewCandidatesAreSplitManyAreTiled) {
    AttentionShape const shape = shape_of(4, 64);
    BatchSize batch{8, 1000, 1};
    auto plan = plan_attention(shape, kv::ValueType::fp16, batch);
    EXPECT_EQ(plan.kernel, AttentionKernel::split);
    EXPECT_EQ(plan.queries, 1U);
    EXPECT_TRUE(plan.wide);
    EXPECT_EQ(plan.lanes, 8U);
    EXPECT_EQ(plan.tiles, 1U);
    batch.max_candidates = 8;
    plan = plan_attention(shape, kv::ValueType::fp16, batch);
    EXPECT_EQ(plan.kernel, AttentionKernel::split);
    EXPECT_EQ(plan.tiles, 2U);
    batch.max_candidates = 512;
    plan = plan_attention(shape, kv::ValueType::fp16, batch);
    EXPECT_EQ(plan.kernel, AttentionKernel::tile);
    EXPECT_EQ(plan.tiles, 8U);
    EXPECT_EQ(plan.blocks, 8U * 8U * plan.splits * 4U);
}

TEST(AttentionPlan, SmallBatchesSplitTokensLargeOnesDoNot) {
    AttentionShape const shape = shape_of(1, 256);
    auto plan = plan_attention(shape, kv::ValueType::fp32, {1, 1000, 1});
    EXPECT_EQ(plan.splits, 1000U / 64);
    EXPECT_EQ(plan.merge_blocks, 1U);
    EXPECT_EQ(plan.partial_floats, plan.splits * 258U);
    plan = plan_attention(shape, kv::ValueType::fp32, {1, 63, 1});
    EXPECT_EQ(plan.splits, 1U);
    plan = plan_attention(shape, kv::ValueType::fp32, {4096, 1000, 1});
    EXPECT_EQ(plan.splits, 1U);
    EXPECT_EQ(plan.partial_floats, 0U);
}

TEST(AttentionPlan, OddRowsAreReadValueByValue) {
    AttentionShape shape = shape_of(2, 19);
    EXPECT_FALSE(plan_attention(shape, kv::ValueType::fp32, {1, 10, 1}).wide);
    shape = shape_of(2, 20);
    EXPECT_TRUE(plan_attention(shape, kv::ValueType::fp32, {1, 10, 1}).wide);
    EXPECT_FALSE(plan_attention(shape, kv::ValueType::fp16, {1, 10, 1}).wide);
    EXPECT_FALSE(plan_attention(shape, kv::ValueType::fp32, {1, 10, 1, false}).wide);
    shape.row_step = 42;
    EXPECT_FALSE(plan_attention(shape, kv::ValueType::fp32, {1, 10, 1}).wide);
}

/// Every plan names a kernel that was compiled, with the shared memory that it uses.
TEST(AttentionPlan, EveryPlanHasItsKernel) {
    for (kv::ValueType const type : {kv::ValueType::fp32, kv::ValueType::fp16}) {
        for (std::uint32_t head_dim = 1; head_dim <= 256; ++head_dim) {
            for (std::uint32_t const candidates : {1U, 2U, 17U}) {
                auto const plan = plan_attention(shape_of(1, head_dim), type, {1, 100, candidates});
                AttentionArgs args;
                args.max_candidates = candidates;
                int launches = 0;
                launch_attention(plan, args,
                                 [&](auto const&, unsigned, unsigned, std::size_t,
                                     AttentionArgs const&) { ++launches; });
                EXPECT_EQ(launches, plan.splits > 1 ? 2 : 1);
                std::uint32_t const values =
                    plan.lanes * plan.chunks * (plan.wide ? 16 / kv::value_bytes(type) : 1);
                if (plan.kernel == AttentionKernel::split) {
                    EXPECT_GE(values, head_dim);
                    EXPECT_EQ(plan.shared_bytes, 4 * split_shared_floats(plan.lanes, head_dim));
                } else {
                    EXPECT_GE(plan.dims, head_dim);
                }
            }
        }
    }
    auto const tile_bytes = [](std::uint32_t head_dim, kv::ValueType type) {
        return plan_attention(shape_of(1, head_dim), type, {1, 1, 100}).shared_bytes;
    };
    EXPECT_EQ(tile_bytes(64, kv::ValueType::fp32), (TileMemory<float, 64>::kBytes));
    EXPECT_EQ(tile_bytes(128, kv::ValueType::fp16), (TileMemory<HalfBits, 128>::kBytes));
    EXPECT_EQ(tile_bytes(256, kv::ValueType::fp32), (TileMemory<float, 256>::kBytes));
    EXPECT_EQ(tile_bytes(200, kv::ValueType::fp16), (TileMemory<HalfBits, 256>::kBytes));
}

TEST(AttentionPlan, NothingToDoLaunchesNothing) {
    for (BatchSize const batch : {BatchSize{0, 0, 0}, BatchSize{3, 10, 0}}) {
        auto const plan = plan_attention(shape_of(1, 64), kv::ValueType::fp32, batch);
        AttentionArgs args;
        args.max_candidates = batch.max_candidates;
        launch_attention(plan, args,
                         [](auto const&, unsigned, unsigned, std::size_t, AttentionArgs const&) {
                             ADD_FAILURE() << "launched";
                         });
    }
}

TEST(AttentionPlan, RefusalsNameTheSizes) {
    EXPECT_THAT(
        [] {
            plan_attention(shape_of(2, 257), kv::ValueType::fp32, {1, 10, 1});
        },
        ThrowsMessage<BackendError>(HasSubstr("2 heads of 257 fp32 values (a warp takes heads of "
                                              "256 values, more when rows are multiples")));
    EXPECT_THAT(
        [] {
            plan_attention(shape_of(1, 1024), kv::ValueType::fp16, {1, 10, 1});
        },
        ThrowsMessage<BackendError>(HasSubstr("1024 fp16 values (a warp takes heads of 512")));
    EXPECT_THAT(
        [] {
            plan_attention(shape_of(1, 128), kv::ValueType::fp32, {1, 10, 64},
                           {108, std::size_t{48} * 1024}, {AttentionKernel::tile, {}});
        },
        ThrowsMessage<BackendError>(HasSubstr("of 49152 bytes of shared memory")));
    EXPECT_THAT(
        [] {
            plan_attention(shape_of(1, 64), kv::ValueType::fp32, {4000000, 10, 100000});
        },
        ThrowsMessage<BackendError>(HasSubstr("a batch of 4000000 requests")));
    // Types that the strategies may have and the kernels have not.
    EXPECT_THAT(
        [] {
            plan_attention(shape_of(1, 64), static_cast<kv::ValueType>(2), {1, 10, 1});
        },
        ThrowsMessage<BackendError>(HasSubstr("kernels read fp32 and fp16")));
    AttentionShape broken = shape_of(1, 8);
    broken.index_bytes = 3;
    EXPECT_THROW(plan_attention(broken, kv::ValueType::fp32, {1, 1, 1}), InternalError);
    broken = shape_of(1, 8);
    broken.user_dims = 9;
    EXPECT_THROW(plan_attention(broken, kv::ValueType::fp32, {1, 1, 1}), InternalError);
    broken = shape_of(1, 8);
    broken.row_step = 7;
    EXPECT_THROW(plan_attention(broken, kv::ValueType::fp32, {1, 1, 1}), InternalError);
    broken.user_dims = 1;  // a table of shared values only
    EXPECT_NO_THROW(plan_attention(broken, kv::ValueType::fp32, {1, 1, 1}));
    broken.out_step = 7;
    EXPECT_THROW(plan_attention(broken, kv::ValueType::fp32, {1, 1, 1}), InternalError);
    EXPECT_THROW(plan_attention(shape_of(0, 8), kv::ValueType::fp32, {1, 1, 1}), InternalError);
}

TEST(AttentionPlan, ZeroSplitsAreRefused) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        EXPECT_THAT(
            [&] {
                plan_attention(shape_of(1, 64), kv::ValueType::fp32, {1, 10, 1}, {}, {kernel, 0});
            },
            ThrowsMessage<InternalError>(HasSubstr("zero splits")));
    }
}

/// With fewer bytes of shared memory than a tile needs, many candidates go to the split kernel.
TEST(AttentionPlan, SmallSharedMemoryFallsBack) {
    auto const plan = plan_attention(shape_of(1, 256), kv::ValueType::fp32, {1, 10, 500},
                                     {40, std::size_t{96} * 1024});
    EXPECT_EQ(plan.kernel, AttentionKernel::split);
}

}  // namespace
}  // namespace ckvsim::device::cuda
