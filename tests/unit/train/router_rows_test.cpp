#include "train/router_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.hpp"

namespace ckvsim::train {
namespace {

/// Logits of a wide range, counts, slopes and gradients of winners.
struct Case {
    explicit Case(RouterBlock const& shape) : block(shape) {
        CounterRng rng(7, Purpose::control_index, shape.pool);
        auto const fill = [&](std::vector<float>& values, std::size_t count, double scale) {
            values.resize(count);
            for (float& value : values) value = static_cast<float>(scale * (rng.uniform() - 0.5));
        };
        fill(logits, block.rows * block.pool, 40.0);
        fill(slope, block.pool, 2.0);
        fill(counts, block.rows, 10.0);
        fill(grad_winner, block.rows, 1.0);
        winner.resize(block.rows);
        index.resize(block.rows);
        find_winners(block, logits.data(), winner.data(), index.data());
    }
    RouterBlock block;
    std::vector<float> logits, slope, counts, grad_winner, winner;
    std::vector<std::int64_t> index;
};

/// Softmax of row r in double precision.
std::vector<double> exact_softmax(Case const& given, std::size_t r) {
    std::vector<double> result(given.block.pool);
    double sum = 0;
    for (std::size_t j = 0; j < result.size(); ++j) {
        // The difference is rounded as in the kernel: what is checked is the exponential.
        result[j] = std::exp(double{given.logits[r * result.size() + j] - given.winner[r]});
        sum += result[j];
    }
    for (double& value : result) value /= sum;
    return result;
}

// Widths that no vector divides, one row, one pool row.
constexpr RouterBlock kShapes[] = {{5, 512}, {3, 10001}, {17, 7}, {1, 33}, {4, 1}};

TEST(RouterRows, WinnersAreTheFirstLargestLogits) {
    for (RouterBlock const& shape : kShapes) {
        Case given(shape);
        for (std::size_t r = 0; r < shape.rows; ++r) {
            auto const* const row = given.logits.data() + r * shape.pool;
            EXPECT_EQ(given.index[r], std::max_element(row, row + shape.pool) - row);
            EXPECT_EQ(given.winner[r], row[given.index[r]]);
        }
    }
    std::vector<float> const tied = {1.0F, 3.0F, 3.0F, 2.0F};
    float winner = 0;
    std::int64_t index = -1;
    find_winners({1, 4}, tied.data(), &winner, &index);
    EXPECT_EQ(index, 1);
}

// The sum of 10,000 floats is good to some 1e-6.
TEST(RouterRows, SoftmaxIsThatOfDoublePrecision) {
    for (RouterBlock const& shape : kShapes) {
        Case given(shape);
        std::vector<float> found = given.logits;
        softmax_in_place(shape, given.winner.data(), found.data());
        for (std::size_t r = 0; r < shape.rows; ++r) {
            auto const expected = exact_softmax(given, r);
            for (std::size_t j = 0; j < shape.pool; ++j)
                ASSERT_NEAR(found[r * shape.pool + j], expected[j], 1e-5 * expected[j])
                    << shape.pool << " rows, " << r << ", " << j;
        }
    }
}

TEST(RouterRows, FarLogitsVanishAndNaNsStay) {
    std::vector<float> row = {0.0F, -1e30F, -std::numeric_limits<float>::infinity(), -200.0F};
    float const winner = 0;
    softmax_in_place({1, 4}, &winner, row.data());
    EXPECT_FLOAT_EQ(row[0], 1.0F);
    for (std::size_t j = 1; j < 4; ++j) {
        EXPECT_GE(row[j], 0.0F);
        EXPECT_LT(row[j], 1e-37F);
    }
    // A loss that is not finite has to reach the trainer, which stops then.
    std::vector<float> broken = {0.0F, std::numeric_limits<float>::quiet_NaN(), -1.0F};
    softmax_in_place({1, 3}, &winner, broken.data());
    EXPECT_TRUE(std::isnan(broken[1]));
    for (auto const& values :
         {std::vector<float>(3, std::numeric_limits<float>::quiet_NaN()),
          std::vector<float>{5.0F, std::numeric_limits<float>::quiet_NaN(), 1.0F}}) {
        float none = 0;
        std::int64_t index = -1;
        find_winners({1, 3}, values.data(), &none, &index);
        EXPECT_EQ(index, 0);
        EXPECT_TRUE(std::isnan(none));
    }
}

TEST(RouterRows, GradientIsThatOfDoublePrecisionInPlaceToo) {
    for (RouterBlock const& shape : kShapes) {
        Case given(shape);
        std::vector<float> softmax = given.logits;
        softmax_in_place(shape, given.winner.data(), softmax.data());
        std::vector<float> found(softmax.size());
        auto const run = [&](float* out) {
            balance_gradient(shape, softmax.data(), given.slope.data(), given.counts.data(),
                             given.grad_winner.data(), given.index.data(), out);
        };
        run(found.data());
        for (std::size_t r = 0; r < shape.rows; ++r) {
            auto const p = exact_softmax(given, r);
            double mean = 0;
            for (std::size_t j = 0; j < shape.pool; ++j) mean += p[j] * given.slope[j];
            for (std::size_t j = 0; j < shape.pool; ++j) {
                bool const won = given.index[r] == static_cast<std::int64_t>(j);
                double const expected = given.counts[r] * p[j] * (given.slope[j] - mean) +
                                        (won ? double{given.grad_winner[r]} : 0.0);
                ASSERT_NEAR(found[r * shape.pool + j], expected, 5e-6) << shape.pool << ", " << j;
            }
        }
        run(softmax.data());
        EXPECT_EQ(softmax, found);
    }
}

}  // namespace
}  // namespace ckvsim::train
