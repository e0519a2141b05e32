#include "fleet/events.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

namespace ckvsim::fleet {
namespace {

using What = NodeAction::What;

std::vector<std::uint32_t> all_nodes(std::uint32_t count) {
    std::vector<std::uint32_t> nodes(count);
    std::iota(nodes.begin(), nodes.end(), 0U);
    return nodes;
}

/// 20 s of warm-up, 100 s measured.
EventPlan plan(std::vector<FleetEvent> events, std::uint32_t nodes = 4, std::uint64_t seed = 1) {
    return {std::move(events), all_nodes(nodes), 20.0, 120.0, seed};
}

Nanoseconds s(double seconds) { return static_cast<Nanoseconds>(seconds * 1e9); }

TEST(EventPlan, TimesAreSharesOfTheMeasuredTimeOrSeconds) {
    auto const p = plan({{.kind = EventKind::crash, .at = 0.25, .duration = 0.5, .nodes = {1}},
                         {.kind = EventKind::slow,
                          .clock = EventClock::seconds,
                          .at = 10.0,
                          .duration = 3.0,
                          .nodes = {1}}});
    EXPECT_TRUE(p.actions(0).empty());
    auto const actions = p.actions(1);
    ASSERT_EQ(actions.size(), 4U);
    EXPECT_EQ(actions[0], (NodeAction{.at_ns = s(10.0), .event = 1, .what = What::begin}));
    EXPECT_EQ(actions[1], (NodeAction{.at_ns = s(13.0), .event = 1, .what = What::end}));
    EXPECT_EQ(actions[2], (NodeAction{.at_ns = s(45.0), .event = 0, .what = What::begin}));
    EXPECT_EQ(actions[3], (NodeAction{.at_ns = s(95.0), .event = 0, .what = What::end}));
    EXPECT_EQ(p.at_s(0), 45.0);
    EXPECT_EQ(p.at_s(1), 10.0);
}

TEST(EventPlan, NothingHappensAfterTheEnd) {
    auto const p = plan({{.kind = EventKind::crash, .at = 0.9, .duration = 0.2}});
    ASSERT_EQ(p.actions(0).size(), 1U) << "it does not return in time";
    EXPECT_EQ(p.actions(0)[0].what, What::begin);
}

TEST(EventPlan, NodesAreAwayAfterTheyGoAndBeforeTheyCome) {
    auto const p = plan({{.kind = EventKind::scale_in, .at = 0.25, .nodes = {1}},
                         {.kind = EventKind::scale_out, .at = 0.5, .nodes = {2}}});
    EXPECT_TRUE(p.actions(0).empty());
    EXPECT_EQ(p.actions(1), (std::vector<NodeAction>{{.at_ns = s(45.0), .event = 0}}));
    EXPECT_EQ(p.actions(2),
              (std::vector<NodeAction>{{.at_ns = 0, .event = 1},
                                       {.at_ns = s(70.0), .event = 1, .what = What::end}}));
}

TEST(EventPlan, WhatEndsEndsBeforeTheSameEventBeginsAgain) {
    NodeAction const end{.at_ns = 5, .event = 0, .what = What::end};
    NodeAction const begin{.at_ns = 5, .event = 0, .what = What::begin};
    EXPECT_TRUE(happens_before(end, begin));
    EXPECT_FALSE(happens_before(begin, end));
}

TEST(EventPlan, ARefreshRollsOverNodesOrOverUsers) {
    auto const by_nodes = plan({{.at = 0.1, .rolling = 0.4}});
    for (std::uint32_t node = 0; node < 4; ++node) {
        auto const actions = by_nodes.actions(node);
        ASSERT_EQ(actions.size(), 1U);
        EXPECT_EQ(actions[0].at_ns, s(30.0 + 10.0 * node));
        EXPECT_EQ(actions[0].slices, 1U);
    }
    auto const by_users = plan({{.at = 0.1, .rolling = 0.64, .rolling_by = RollingBy::users}});
    auto const actions = by_users.actions(3);
    ASSERT_EQ(actions.size(), kRollingSlices);
    for (std::uint16_t i = 0; i < kRollingSlices; ++i) {
        EXPECT_EQ(actions[i].slice, i);
        EXPECT_EQ(actions[i].at_ns, s(30.0 + i));
    }
}

TEST(EventPlan, AShareOfTheNodesIsDrawnFromTheSeed) {
    std::set<std::vector<std::uint32_t>> draws;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        auto const p = plan({{.share = 0.25}, {.share = 0.001}, {}}, 40, seed);
        EXPECT_EQ(p.nodes(0).size(), 10U);
        EXPECT_EQ(p.nodes(1).size(), 1U) << "at least one";
        EXPECT_EQ(p.nodes(2), all_nodes(40));
        EXPECT_TRUE(std::is_sorted(p.nodes(0).begin(), p.nodes(0).end()));
        EXPECT_EQ(p.nodes(0), plan({{.share = 0.25}}, 40, seed).nodes(0));
        draws.insert(p.nodes(0));
    }
    EXPECT_GT(draws.size(), 15U);
}

TEST(EventPlan, DrawnEventsHaveTheirMeanAndNeverOverlap) {
    auto const p = plan({{.kind = EventKind::crash, .duration = 0.001, .mean_between = 0.01}}, 200);
    double up_s = 0.0;
    std::size_t times = 0;
    std::set<Nanoseconds> firsts;
    for (std::uint32_t node = 0; node < 200; ++node) {
        auto const actions = p.actions(node);
        Nanoseconds from = s(20.0);
        for (std::size_t i = 0; i + 1 < actions.size(); i += 2) {
            ASSERT_EQ(actions[i].what, What::begin);
            ASSERT_EQ(actions[i + 1].what, What::end);
            EXPECT_NEAR(static_cast<double>(actions[i + 1].at_ns - actions[i].at_ns), 1e8, 2.0);
            up_s += static_cast<double>(actions[i].at_ns - from) * 1e-9;
            from = actions[i + 1].at_ns;
            ++times;
        }
        firsts.insert(actions.front().at_ns);
    }
    EXPECT_EQ(firsts.size(), 200U) << "every node has its own";
    double const mean = up_s / static_cast<double>(times);
    EXPECT_NEAR(mean, 1.0, 5.0 / std::sqrt(static_cast<double>(times)));
    EXPECT_EQ(p.at_s(0), 20.0) << "from the start of the measured time";
}

}  // namespace
}  // namespace ckvsim::fleet
