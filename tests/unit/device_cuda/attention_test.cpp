// The GPU's attention kernels against double precision: every kernel that a plan can choose, random
// shapes and the corners. Compiled into the program that runs them in emulation and the one that
// runs them on a GPU.
#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>
#include <vector>

#include "core/rng.hpp"
#include "cuda_attention_suite.hpp"

namespace ckvsim::device::cuda {
namespace {

using test::AttentionKernels;
using test::CudaBatch;
using test::CudaCase;

constexpr kv::ValueType kTypes[] = {kv::ValueType::fp32, kv::ValueType::fp16};

/// One case a width and type; two heads where they are narrow.
std::vector<CudaCase> cases_of_widths(std::initializer_list<std::uint32_t> head_dims,
                                      std::vector<std::uint32_t> const& tokens) {
    std::vector<CudaCase> cases;
    for (std::uint32_t const head_dim : head_dims) {
        for (kv::ValueType const type : kTypes) {
            CudaCase made;
            made.heads = head_dim < 128 ? 2 : 1;
            made.head_dim = head_dim;
            made.row_type = type;
            made.tokens = tokens;
            cases.push_back(made);
        }
    }
    return cases;
}

TEST_P(AttentionKernels, EveryWidthOfTheSplitKernel) {
    // Lanes 8, 16 and 32, one or more loads a lane, 16-byte loads and single values.
    for (CudaCase made :
         cases_of_widths({1, 7, 16, 19, 32, 40, 64, 100, 128, 250, 256, 512}, {37, 0, 1})) {
        // Only fp16 loads reach so far.
        if (made.head_dim > 256 && made.row_type == kv::ValueType::fp32) continue;
        made.candidates = {1, 1, 1};
        expect_right(made, {AttentionKernel::split, 1});
        made.candidates = {5, 2, 3};
        expect_right(made, {AttentionKernel::split, {}});
    }
}

TEST_P(AttentionKernels, EveryWidthOfTheTileKernel) {
    for (CudaCase made : cases_of_widths({1, 19, 64, 96, 128, 250, 256}, {33, 0, 1})) {
        made.candidates = {17, 3, 2};
        expect_right(made, {AttentionKernel::tile, 1});
    }
}

/// Tables whose indices need every byte that they have.
TEST_P(AttentionKernels, IndicesOfEveryByte) {
    constexpr std::pair<std::uint32_t, std::uint32_t> kTables[] = {{1, 256}, {2, 300}, {4, 70000}};
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        for (auto const& [index_bytes, table_rows] : kTables) {
            CudaCase made;
            made.head_dim = 4;
            made.index_bytes = index_bytes;
            made.table_rows = table_rows;
            made.tokens = {300, 40};
            made.candidates = {1, 2};
            expect_right(made, {kernel, 1});
        }
    }
}

/// Keying by index with and without a token's own dimensions: item tables and pools.
TEST_P(AttentionKernels, IndexedRowsWithOwnDimensions) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        for (std::uint32_t const index_bytes : {1U, 2U, 4U}) {
            for (std::uint32_t const user_dims : {0U, 1U, 4U, 37U, 96U}) {
                CudaCase made;
                made.heads = 2;
                made.head_dim = 48;
                made.user_dims = user_dims;
                made.index_bytes = index_bytes;
                made.row_type = kTypes[(user_dims + index_bytes) % 2];
                made.tokens = {40, 3};
                made.candidates = {2, 9};
                expect_right(made, {kernel, 1});
            }
        }
    }
}

TEST_P(AttentionKernels, OwnDimensionsOfRowsThatAreNoMultipleOfALoad) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        for (kv::ValueType const type : kTypes) {
            CudaCase made;
            made.heads = 3;
            made.head_dim = 13;
            made.user_dims = 5;
            made.index_bytes = 2;
            made.row_type = type;
            made.tokens = {21};
            made.candidates = {6};
            expect_right(made, {kernel, 1});
            made.misaligned = true;
            made.head_dim = 16;
            expect_right(made, {kernel, 1});
        }
    }
}

/// Long histories cut into splits, some of which have no token.
TEST_P(AttentionKernels, SplitsAreMerged) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        for (Weighting const weighting : {Weighting::softmax, Weighting::silu}) {
            for (std::uint32_t const splits : {2U, 5U}) {
                CudaCase made;
                made.heads = 2;
                made.head_dim = 64;
                made.user_dims = 2;
                made.index_bytes = 2;
                made.tokens = {131, 0, 1, 4};
                made.candidates = {3, 2, 1, 0};
                made.weighting = weighting;
                expect_right(made, {kernel, splits});
            }
        }
    }
}

TEST_P(AttentionKernels, SiluAttention) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        for (kv::ValueType const type : kTypes) {
            CudaCase made;
            made.heads = 2;
            made.head_dim = 32;
            made.row_type = type;
            made.tokens = {70, 0};
            made.candidates = {4, 4};
            made.weighting = Weighting::silu;
            made.q_scale = 3.0;
            expect_right(made, {kernel, 1});
        }
    }
}

TEST_P(AttentionKernels, HugeLogitsAndEqualIndices) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        for (double const scale : {0.0, 1e-20, 30.0, 1e4}) {
            for (bool const equal : {false, true}) {
                CudaCase made;
                made.head_dim = 64;
                made.index_bytes = 2;
                made.equal_indices = equal;
                made.user_dims = equal ? 0 : 3;
                made.q_scale = scale;
                made.tokens = {50};
                made.candidates = {3};
                expect_right(made, {kernel, {}});
            }
        }
    }
}

/// Scores far below zero: the largest one, not zero, is the reference of every weight.
TEST_P(AttentionKernels, AllScoresFarBelowZero) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        CudaCase made;
        made.head_dim = 8;
        made.index_bytes = 1;
        made.equal_indices = true;
        made.q_scale = 300.0;
        made.tokens = {9, 2};
        made.candidates = {8, 8};
        CudaBatch const batch(made);
        GetParam()->attend(batch, {kernel, 3});
        EXPECT_EQ(batch.check(), "");
        bool negative = false;
        for (std::uint32_t c = 0; c < 8; ++c) {
            auto const row = batch.joined_row(0, false, 0);
            double score = 0.0;
            for (std::size_t i = 0; i < row.size(); ++i) score += row[i] * batch.query(0, c)[i];
            negative = negative || score * batch.shape().scale < -100.0;
        }
        EXPECT_TRUE(negative) << "the case no longer has what it tests";
    }
}

TEST_P(AttentionKernels, RandomShapes) {
    CounterRng rng(5, Purpose::test, 0);
    for (std::uint64_t round = 0; round < 40; ++round) {
        CudaCase made;
        made.heads = 1 + rng.below(3);
        made.head_dim = 1 + rng.below(90);
        made.index_bytes = rng.below(2) * (1U << rng.below(3));
        made.user_dims = rng.below(2) * rng.below(made.heads * made.head_dim + 1);
        made.row_type = kTypes[rng.below(2)];
        made.weighting = rng.below(4) == 0 ? Weighting::silu : Weighting::softmax;
        made.misaligned = rng.below(5) == 0;
        made.tokens.clear();
        made.candidates.clear();
        for (std::uint32_t r = 0; r <= rng.below(3); ++r) {
            made.tokens.push_back(rng.below(3) * rng.below(45));
            made.candidates.push_back(rng.below(24));
        }
        made.seed = round;
        PlanWishes wishes;
        wishes.kernel = rng.below(2) == 0 ? AttentionKernel::split : AttentionKernel::tile;
        wishes.splits = 1 + rng.below(3);
        expect_right(made, wishes);
    }
}

}  // namespace
}  // namespace ckvsim::device::cuda
