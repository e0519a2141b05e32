#include "fleet/plan_sample.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "fleet/plan_front.hpp"

namespace ckvsim::fleet {
namespace {

FleetParams fleet_of(std::uint64_t users, std::uint32_t nodes, double load) {
    FleetParams params;
    params.users = users;
    params.nodes = nodes;
    params.traffic.requests_per_second = load;
    return params;
}

NodeSetup setup_of(std::uint64_t hbm, std::uint64_t dram, std::uint64_t nvme) {
    NodeSetup setup;
    setup.gpus = 8;
    setup.tiers.hbm_bytes = hbm;
    setup.tiers.dram_bytes = dram;
    setup.tiers.nvme_bytes = nvme;
    return setup;
}

TEST(PlanSample, UsersAndTiersShrinkAlikeAndTheLoadOfANodeStays) {
    // 10^6 users a node; the sample asks for 10^4 of them.
    auto const sampled =
        sample_node(fleet_of(10'000'000, 10, 50'000.0), setup_of(8e8, 2e10, 1e11), 1000.0,
                    {.users = 10'000, .entries = 512, .requests = 1e5}, 0.2, 0.0);
    EXPECT_DOUBLE_EQ(sampled.factor, 100.0);
    EXPECT_EQ(sampled.params.users, 10'000U);
    EXPECT_EQ(sampled.params.nodes, 1U);
    EXPECT_DOUBLE_EQ(sampled.params.traffic.requests_per_second, 5000.0);
    EXPECT_DOUBLE_EQ(sampled.params.traffic.duration_s, 20.0);
    EXPECT_DOUBLE_EQ(sampled.params.warmup_s, 4.0);
    EXPECT_EQ(sampled.setup.tiers.hbm_bytes, 8'000'000U);
    EXPECT_EQ(sampled.setup.tiers.dram_bytes, 200'000'000U);
    EXPECT_EQ(sampled.setup.tiers.nvme_bytes, 1'000'000'000U);
}

TEST(PlanSample, ListsThatOverflowKeepEnoughEntries) {
    // A GPU holds 5000 entries of 1000 bytes: at 512 entries the factor may not exceed 9.77.
    auto const sampled = sample_node(fleet_of(1'000'000, 1, 1000.0), setup_of(5e6, 0, 0), 1000.0,
                                     {.users = 1024, .entries = 512}, 0.2, 0.0);
    EXPECT_NEAR(sampled.factor, 5000.0 / 512.0, 0.01);
    EXPECT_GE(static_cast<double>(sampled.setup.tiers.hbm_bytes) / 1000.0, 511.0);
    // Where GPU memory holds everybody, its lists are no reason to simulate more of them.
    auto const roomy = sample_node(fleet_of(1'000'000, 1, 1000.0), setup_of(1e9, 1e3, 0), 1000.0,
                                   {.users = 1024, .entries = 512}, 0.2, 0.0);
    EXPECT_EQ(roomy.params.users, 1024U);
}

TEST(PlanSample, SmallNodesAreSimulatedWhole) {
    auto const sampled = sample_node(fleet_of(999, 2, 10.0), setup_of(1000, 2000, 3000), 100.0,
                                     {.users = 65536}, 0.2, 1e6);
    EXPECT_EQ(sampled.params.users, 500U);
    EXPECT_NEAR(sampled.factor, 1.0, 1e-2);
    EXPECT_DOUBLE_EQ(sampled.params.traffic.duration_s, 1e6) << "the least duration";
}

TEST(PlanSample, TimesToLiveShrinkLikeTheTimesBetweenVisits) {
    auto setup = setup_of(8e8, 0, 0);
    setup.tiers.ttl_s = 1000.0;
    auto const sampled = sample_node(fleet_of(1'000'000, 1, 1000.0), setup, 1000.0,
                                     {.users = 10'000, .entries = 1}, 0.2, 0.0);
    EXPECT_NEAR(sampled.setup.tiers.ttl_s, 1000.0 / sampled.factor, 1e-9);
    setup.tiers.ttl_s = 1.05;  // ten times what visits can be told apart by
    auto const brief = sample_node(fleet_of(1'000'000, 1, 1000.0), setup, 1000.0,
                                   {.users = 10'000, .entries = 1}, 0.2, 0.0);
    EXPECT_LE(brief.factor, 10.0 + 1e-9);
}

TEST(PlanSample, RoutedFleetsHaveNoNodeThatStandsForAll) {
    auto params = fleet_of(1000, 2, 10.0);
    params.routing.kind = RoutingKind::random;
    EXPECT_THROW(sample_node(params, setup_of(1, 1, 1), 1.0, {}, 0.2, 0.0), InternalError);
}

node::Platform priced(double cost, double idle, double busy) {
    node::Platform platform;
    platform.cost_per_node_hour = cost;
    platform.idle_watts = idle;
    platform.busy_watts = busy;
    return platform;
}

TEST(PlanCosts, ByHand) {
    // 10 nodes at 36 an hour are 0.1 a second; 10^6 requests at 50,000/s take 20 s: 2.
    // 2000 + 0.25 * 8000 = 4000 W a node; 10 nodes for 20 s: 800 kJ = 0.2222 kWh.
    auto const costs = costs_per_million(priced(36.0, 2000.0, 10000.0), 10.0, 50'000.0, 0.25);
    EXPECT_NEAR(costs.money, 2.0, 1e-12);
    EXPECT_NEAR(costs.energy_kwh, 800.0 / 3600.0, 1e-12);
}

TEST(PlanCosts, WithoutIdlePowerNodesAlwaysDrawTheMost) {
    auto const costs = costs_per_million(priced(0.0, 0.0, 10000.0), 10.0, 50'000.0, 0.25);
    EXPECT_NEAR(costs.energy_kwh, 2000.0 / 3600.0, 1e-12);
    EXPECT_TRUE(std::isnan(costs.money));
}

TEST(PlanCosts, WhatIsNotGivenIsNotZero) {
    auto const costs = costs_per_million(priced(0.0, 0.0, 0.0), 10.0, 50'000.0, 0.25);
    EXPECT_TRUE(std::isnan(costs.money));
    EXPECT_TRUE(std::isnan(costs.energy_kwh));
}

TEST(PlanFront, KeepsWhatNobodyBeats) {
    std::vector<PlanGoals> const points = {{2, 10, 5, 9},   // front: fewest nodes
                                           {3, 15, 7, 4},   // front: faster
                                           {3, 15, 7, 5},   // beaten by the one before
                                           {4, 20, 9, 4},   // beaten by 1
                                           {2, 10, 5, 9}};  // equal to the first
    EXPECT_EQ(pareto_front(points), (std::vector<std::size_t>{0, 1}));
}

TEST(PlanFront, GoalsThatAreNotGivenDecideNothing) {
    double const none = std::numeric_limits<double>::quiet_NaN();
    EXPECT_EQ(pareto_front({{2, none, none, 9}, {3, none, none, 10}, {3, none, none, 8}}),
              (std::vector<std::size_t>{0, 2}));
    EXPECT_TRUE(pareto_front({}).empty());
}

}  // namespace
}  // namespace ckvsim::fleet
