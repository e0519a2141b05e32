#include "decode/cost_table.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace ckvsim::decode {
namespace {

using Axis = std::vector<std::uint32_t>;

double affine(double n, double c) { return 100.0 + 3.0 * n + 7.0 * c + 0.5 * n * c; }

CostTable table_of_affine(Axis const& tokens, Axis const& candidates) {
    std::vector<double> values;
    for (auto const n : tokens)
        for (auto const c : candidates) values.push_back(affine(n, c));
    return {tokens, candidates, values};
}

TEST(CostTable, IsExactForLoopsOverTokensAndCandidates) {
    auto const table = table_of_affine({0, 20, 49, 98, 6000}, {1, 8, 512});
    for (std::uint32_t const n : {0U, 1U, 20U, 33U, 97U, 98U, 2000U, 5000U, 6000U}) {
        for (std::uint32_t const c : {1U, 2U, 8U, 100U, 512U})
            EXPECT_NEAR(table.ns(n, c), affine(n, c), 1e-9 * affine(n, c)) << n << " " << c;
    }
}

TEST(CostTable, TheFirstPointCountsBelowTheGridAndTheLastSlopeAboveIt) {
    auto const table = table_of_affine({10, 20}, {4, 8});
    EXPECT_DOUBLE_EQ(table.ns(0, 0), affine(10, 4));
    EXPECT_DOUBLE_EQ(table.ns(5, 8), affine(10, 8));
    EXPECT_NEAR(table.ns(40, 16), affine(40, 16), 1e-6);
    CostTable const falling(Axis{0, 10}, Axis{1}, std::vector<double>{10.0, 5.0});
    EXPECT_DOUBLE_EQ(falling.ns(1000, 1), 0.0) << "never negative";
}

TEST(CostTable, ASinglePointIsConstant) {
    CostTable const table(Axis{7}, Axis{1}, std::vector<double>{5.0});
    EXPECT_DOUBLE_EQ(table.ns(0, 0), 5.0);
    EXPECT_DOUBLE_EQ(table.ns(10000, 10000), 5.0);
}

TEST(CostTable, RefusesBrokenGrids) {
    std::vector<double> const one = {1.0};
    std::vector<double> const two = {1.0, 2.0};
    EXPECT_THROW(CostTable(Axis{}, Axis{1}, {}), InternalError);
    EXPECT_THROW(CostTable(Axis{1}, Axis{1}, two), InternalError);
    EXPECT_THROW(CostTable(Axis{2, 2}, Axis{1}, two), InternalError);
    EXPECT_THROW(CostTable(Axis{3, 2}, Axis{1}, two), InternalError);
    EXPECT_THROW(CostTable(Axis{1}, Axis{1}, std::vector<double>{-1.0}), InternalError);
    EXPECT_THROW(CostTable(Axis{1}, Axis{1}, std::vector<double>{std::nan("")}), InternalError);
}

TEST(NoiseTable, InterpolatesQuantiles) {
    NoiseTable const noise(std::vector<double>{0.5, 1.0, 3.0});
    EXPECT_DOUBLE_EQ(noise.at(0.0), 0.5);
    EXPECT_DOUBLE_EQ(noise.at(0.25), 0.75);
    EXPECT_DOUBLE_EQ(noise.at(0.5), 1.0);
    EXPECT_DOUBLE_EQ(noise.at(0.75), 2.0);
    EXPECT_NEAR(noise.at(1.0 - 1e-12), 3.0, 1e-9);
    EXPECT_DOUBLE_EQ(NoiseTable(std::vector<double>{1.0}).at(0.7), 1.0);
    EXPECT_THROW(NoiseTable(std::vector<double>{}), InternalError);
    EXPECT_THROW(NoiseTable(std::vector<double>{2.0, 1.0}), InternalError);
}

TEST(LeftOutErrors, AreZeroWhereTheTableIsExact) {
    std::vector<std::uint32_t> const tokens = {0, 10, 30, 100};
    std::vector<std::uint32_t> const candidates = {1, 8, 32};
    std::vector<double> cells;
    for (double const n : {0.0, 10.0, 30.0, 100.0}) {
        for (double const c : {1.0, 8.0, 32.0}) cells.push_back(500 + 3 * n + 20 * c + 0.1 * n * c);
    }
    auto const errors = left_out_errors(tokens, candidates, cells);
    EXPECT_GT(errors.size(), 8U);
    EXPECT_NEAR(errors.back(), 0.0, 1e-12);
}

TEST(LeftOutErrors, SayHowFarAPointIsFromItsNeighbours) {
    std::vector<std::uint32_t> const tokens = {0, 10, 20, 30};
    std::vector<std::uint32_t> const one = {1};
    // 10: between 100 and 100, measured 125; 20: between 125 and 300, measured 100.
    std::vector<double> const cells = {100, 125, 100, 300};
    auto const errors = left_out_errors(tokens, one, cells);
    ASSERT_EQ(errors.size(), 2U);
    EXPECT_NEAR(errors[0], 0.2, 1e-12);
    EXPECT_NEAR(errors[1], 1.125, 1e-12);
    // Cheap points say nothing about what matters; two points have nothing between them.
    EXPECT_TRUE(left_out_errors(tokens, one, std::vector<double>{1, 1, 2, 300}).empty());
    std::vector<std::uint32_t> const two = {0, 10};
    EXPECT_TRUE(left_out_errors(two, one, std::vector<double>{1, 5}).empty());
    EXPECT_TRUE(left_out_errors({}, {}, {}).empty());
}

}  // namespace
}  // namespace ckvsim::decode
