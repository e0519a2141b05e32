#include "fleet/plan_search.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::fleet {
namespace {

/// Good from `limit` of ease on; counts its evaluations.
struct Threshold {
    PlanGrid const& grid;
    double limit;
    bool certain = false;
    std::map<std::pair<std::size_t, std::uint32_t>, int> asked = {};

    PlanOracle oracle() {
        return [this](std::size_t index, std::uint32_t replicate) {
            ++asked[{index, replicate}];
            double const ease = grid.ease(index);
            return PlanProbe{ease >= limit, certain, limit / ease};
        };
    }
};

TEST(PlanGrid, HoldsEverySmallNumberOfNodesAndThenStepsOfTwoPercent) {
    auto const grid = PlanGrid::of_nodes(65536);
    for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(grid.ease(i), static_cast<double>(i + 1));
    for (std::size_t i = 1; i < grid.size(); ++i) {
        EXPECT_GT(grid.ease(i), grid.ease(i - 1));
        EXPECT_LE(grid.ease(i), std::max(grid.ease(i - 1) + 1.0, grid.ease(i - 1) * 1.02));
    }
    EXPECT_EQ(grid.ease(grid.size() - 1), 65536.0);
    EXPECT_EQ(PlanGrid::of_nodes(1).size(), 1U);
}

TEST(PlanGrid, FindsTheFirstPointThatIsEasyEnough) {
    auto const grid = PlanGrid::of_nodes(1000);
    EXPECT_EQ(grid.ease(grid.index_of(7.0)), 7.0);
    EXPECT_EQ(grid.ease(grid.index_of(7.2)), 8.0);
    EXPECT_EQ(grid.index_of(0.1), 0U);
    EXPECT_EQ(grid.ease(grid.index_of(1e9)), 1000.0);
}

TEST(PlanGrid, LoadsFallFromTheHighest) {
    auto const grid = PlanGrid::of_loads(1000.0, 10.0);
    EXPECT_DOUBLE_EQ(1.0 / grid.ease(0), 1000.0);
    EXPECT_LE(1.0 / grid.ease(grid.size() - 1), 10.0 * (1.0 + 1e-9));
    EXPECT_NEAR(grid.ease(5) / grid.ease(4), 1.02, 1e-12);
}

TEST(PlanSearch, FindsEveryThresholdFromEveryStart) {
    auto const grid = PlanGrid::of_nodes(3000);
    for (double const limit : {1.0, 2.0, 3.5, 49.0, 52.0, 777.0, 2999.5, 3000.0}) {
        for (std::size_t const start : {std::size_t{0}, std::size_t{40}, grid.size() - 1}) {
            Threshold threshold{grid, limit};
            auto const found = find_hardest_good(grid, start, 1, threshold.oracle());
            ASSERT_TRUE(found.feasible);
            EXPECT_EQ(found.index, grid.index_of(limit)) << limit << " from " << start;
            EXPECT_EQ(found.bounded, found.index > 0);
            for (auto const& [key, times] : threshold.asked) EXPECT_EQ(times, 1);
        }
    }
}

TEST(PlanSearch, NeedsFewEvaluationsFromAGoodGuess) {
    auto const grid = PlanGrid::of_nodes(65536);
    Threshold threshold{grid, 1234.0};
    find_hardest_good(grid, grid.index_of(1300.0), 1, threshold.oracle());
    EXPECT_LE(threshold.asked.size(), 6U);
    Threshold far{grid, 1234.0};
    find_hardest_good(grid, 0, 1, far.oracle());
    EXPECT_LE(far.asked.size(), 14U);
}

TEST(PlanSearch, SaysThatNothingIsGood) {
    auto const grid = PlanGrid::of_nodes(200);
    Threshold threshold{grid, 1e9};
    auto const found = find_hardest_good(grid, 3, 5, threshold.oracle());
    EXPECT_FALSE(found.feasible);
    EXPECT_EQ(grid.ease(found.index), 200.0);
    EXPECT_EQ(threshold.asked.count({grid.size() - 1, 0}), 1U) << "the easiest point was tried";
    for (auto const& [key, times] : threshold.asked)
        EXPECT_EQ(key.second, 0U) << "replicates of nothing";
}

TEST(PlanSearch, ReplicatesSkipWhatIsCertain) {
    auto const grid = PlanGrid::of_nodes(200);
    Threshold sure{grid, 20.0, true};
    auto const found = find_hardest_good(grid, 19, 5, sure.oracle());
    EXPECT_EQ(found.lowest, found.highest);
    for (auto const& [key, times] : sure.asked) EXPECT_EQ(key.second, 0U);
    Threshold unsure{grid, 20.0, false};
    find_hardest_good(grid, 19, 5, unsure.oracle());
    std::set<std::uint32_t> replicates;
    for (auto const& [key, times] : unsure.asked) replicates.insert(key.second);
    EXPECT_EQ(replicates.size(), 5U);
}

/// Every replicate has its own threshold; the interval must be their range, the answer the median.
TEST(PlanSearch, IntervalIsTheRangeOfTheReplicates) {
    auto const grid = PlanGrid::of_nodes(200);
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        std::array<std::size_t, 5> limits{};
        for (std::size_t r = 0; r < limits.size(); ++r)
            limits[r] = 90 + mix64(seed * 1000 + r) % 40;
        auto const found =
            find_hardest_good(grid, 100, 5, [&](std::size_t index, std::uint32_t replicate) {
                return PlanProbe{index >= limits[replicate], false,
                                 grid.ease(limits[replicate]) / grid.ease(index)};
            });
        auto sorted = limits;
        std::sort(sorted.begin(), sorted.end());
        ASSERT_EQ(found.index, sorted[2]) << seed;
        ASSERT_EQ(found.lowest, sorted[0]) << seed;
        ASSERT_EQ(found.highest, sorted[4]) << seed;
    }
}

TEST(PlanSearch, EndsWhenVerdictsContradictEachOther) {
    auto const grid = PlanGrid::of_nodes(500);
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        auto const found = find_hardest_good(
            grid, seed % grid.size(), 3, [&](std::size_t index, std::uint32_t replicate) {
                std::uint64_t const noise = mix64(seed * 7919 + index * 31 + replicate);
                return PlanProbe{(noise & 1U) == 0, false, (noise & 2U) == 0 ? 3.0 : 0.2};
            });
        EXPECT_LE(found.lowest, found.index);
        EXPECT_LE(found.index, found.highest);
        EXPECT_LT(found.highest, grid.size());
    }
}

TEST(PlanSearch, RefusesAStartOutsideTheGrid) {
    auto const grid = PlanGrid::of_nodes(10);
    Threshold threshold{grid, 3.0};
    EXPECT_THROW(find_hardest_good(grid, 10, 1, threshold.oracle()), InternalError);
    EXPECT_THROW(find_hardest_good(grid, 0, 0, threshold.oracle()), InternalError);
}

}  // namespace
}  // namespace ckvsim::fleet
