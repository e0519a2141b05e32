#include "fleet/routing.hpp"

#include <gtest/gtest.h>

#include <set>

#include "core/error.hpp"

namespace ckvsim::fleet {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

Router router(RoutingParams const& params, std::vector<std::int64_t> const& load) {
    Router r(params, static_cast<std::uint32_t>(load.size()), 2, 7);
    r.see(load);
    return r;
}

TEST(Routing, HomeIgnoresLoad) {
    auto const r = router({.kind = RoutingKind::home}, {900 * kMillisecond, 0, 0});
    for (UserId u = 0; u < 30; ++u) EXPECT_EQ(r.route(u, u % 3, 5), u % 3);
}

TEST(Routing, RandomIsEvenAndAFunctionOfUserAndTime) {
    auto const r = router({.kind = RoutingKind::random}, {0, 0, 0, 0, 0});
    std::vector<int> seen(5, 0);
    int moved = 0;
    for (UserId u = 0; u < 20000; ++u) {
        auto const node = r.route(u, 0, static_cast<Nanoseconds>(u * 1000));
        ++seen.at(node);
        EXPECT_EQ(node, r.route(u, 3, static_cast<Nanoseconds>(u * 1000)));
        moved += node != r.route(u, 0, static_cast<Nanoseconds>(u * 1000 + 777));
    }
    double chi_square = 0.0;
    for (int const n : seen) chi_square += (n - 4000.0) * (n - 4000.0) / 4000.0;
    EXPECT_LT(chi_square, 18.47) << "0.999 quantile with 4 degrees of freedom";
    EXPECT_NEAR(moved, 16000, 300) << "another time, another node in 4 of 5 cases";
}

TEST(Routing, TwoChoicesTakesTheLessLoadedOfHomeAndOneOther) {
    std::vector<std::int64_t> load(6, kMillisecond);
    load[2] = 50 * kMillisecond;
    auto const full_home = router({.kind = RoutingKind::two_choices}, load);
    std::set<std::uint32_t> others;
    for (UserId u = 0; u < 200; ++u) {
        auto const node = full_home.route(u, 2, 0);
        EXPECT_NE(node, 2U);
        EXPECT_EQ(node, full_home.route(u, 2, 999)) << "the second choice is the user's";
        others.insert(node);
    }
    EXPECT_EQ(others.size(), 5U) << "users spread over all nodes";
    load[2] = kMillisecond;
    auto const even = router({.kind = RoutingKind::two_choices}, load);
    for (UserId u = 0; u < 50; ++u) EXPECT_EQ(even.route(u, 2, 0), 2U) << "home where equal";
}

TEST(Routing, SpillOverLeavesHomeAboveItsThresholdOnly) {
    RoutingParams const params{.kind = RoutingKind::spill_over, .spill_ms = 10.0};
    auto const below = router(params, {20 * kMillisecond, 0, 0});  // 10 ms on each of 2 GPUs
    auto const above = router(params, {20 * kMillisecond + 1, 0, 0});
    auto const all_full = router(params, {30 * kMillisecond, 40 * kMillisecond, 50 * kMillisecond});
    for (UserId u = 0; u < 50; ++u) {
        EXPECT_EQ(below.route(u, 0, 0), 0U);
        EXPECT_NE(above.route(u, 0, 0), 0U);
        EXPECT_EQ(all_full.route(u, 0, 0), 0U) << "nobody is less loaded";
    }
}

TEST(Routing, BoundedLoadsGoesOnToANodeWithinTheBound) {
    RoutingParams const params{.kind = RoutingKind::bounded_loads, .slack = 0.5};
    // Mean 20 ms, bound 30 ms: nodes 0 and 1 are above, 4 is at it.
    auto const r = router(params, {35 * kMillisecond, 31 * kMillisecond, 4 * kMillisecond,
                                   0 * kMillisecond, 30 * kMillisecond});
    std::set<std::uint32_t> reached;
    for (UserId u = 0; u < 200; ++u) {
        auto const node = r.route(u, 0, 0);
        EXPECT_GE(node, 2U) << "user " << u << " went to an overloaded node";
        reached.insert(node);
        EXPECT_EQ(r.route(u, 2, 0), 2U);
        EXPECT_EQ(r.route(u, 4, 0), 4U) << "at the bound is within it";
    }
    EXPECT_EQ(reached, (std::set<std::uint32_t>{2, 3, 4}));
    // Less than a millisecond of work is no imbalance.
    auto const idle = router(params, {kMillisecond, 0, 0, 0, 0});
    auto const busy = router(params, {kMillisecond + 1, 0, 0, 0, 0});
    for (UserId u = 0; u < 20; ++u) {
        EXPECT_EQ(idle.route(u, 0, 0), 0U);
        EXPECT_NE(busy.route(u, 0, 0), 0U);
    }
}

TEST(Routing, OneNodeServesEverything) {
    for (auto const kind : {RoutingKind::home, RoutingKind::bounded_loads, RoutingKind::spill_over,
                            RoutingKind::two_choices, RoutingKind::random}) {
        auto const r = router({.kind = kind}, {900 * kMillisecond});
        for (UserId u = 0; u < 20; ++u) EXPECT_EQ(r.route(u, 0, 3), 0U) << to_string(kind);
    }
}

TEST(Routing, BeforeTheFirstSnapshotNobodyIsLoaded) {
    for (auto const kind :
         {RoutingKind::bounded_loads, RoutingKind::spill_over, RoutingKind::two_choices}) {
        Router const r({.kind = kind}, 4, 8, 1);
        for (UserId u = 0; u < 20; ++u)
            EXPECT_EQ(r.route(u, static_cast<std::uint32_t>(u % 4), 0), u % 4) << to_string(kind);
    }
}

TEST(Routing, ASnapshotHasOneLoadPerNode) {
    Router r({}, 3, 1, 1);
    EXPECT_THROW(r.see({1, 2}), InternalError);
    EXPECT_NO_THROW(r.see({1, 2, 3}));
}

}  // namespace
}  // namespace ckvsim::fleet
