// A fleet over ranks: every counter, hash and sketch as on one process, under every routing.
#include <gtest/gtest.h>

#include "fleet_fixtures.hpp"
#include "mpi_fixture.hpp"

namespace ckvsim::fleet {
namespace {

using test::world;

FleetPeers peers_of_world() {
    auto& comm = world();
    FleetPeers peers;
    peers.rank = comm.rank();
    peers.ranks = comm.size();
    peers.exchange = [&comm](auto const& to) { return comm.exchange(to); };
    peers.max = [&comm](std::vector<std::int64_t>& values) {
        comm.max(std::span<std::int64_t>(values));
    };
    return peers;
}

TEST(FleetOverRanks, EveryRoutingCountsAsOnOneProcess) {
    auto& comm = world();
    auto const costs = testing_support::plain_costs();
    auto const setup = testing_support::busy_setup();
    for (auto const kind : testing_support::kRoutingKinds) {
        auto params = testing_support::busy_fleet();
        params.nodes = 5;  // no multiple of the number of ranks
        params.traffic.requests_per_second = 250000.0;
        params.traffic.duration_s = 0.15;
        params.warmup_s = 0.03;
        params.routing = {.kind = kind, .window_ms = 2.0, .slack = 0.0, .spill_ms = 0.3};
        params.events = {
            {.at = 0.2, .rolling = 0.3, .rolling_by = RollingBy::users},
            {.kind = EventKind::crash, .duration = 0.05, .mean_between = 0.5},
            {.kind = EventKind::slow, .at = 0.5, .duration = 0.2, .share = 0.5, .slowdown = 3.0}};
        auto const alone = run_fleet(params, setup, costs, {});
        auto const mine = run_fleet(params, setup, costs, peers_of_world());
        auto sums = sum_part(mine);
        auto maxima = max_part(mine);
        comm.sum(std::span<std::int64_t>(sums));
        comm.max(std::span<std::int64_t>(maxima));
        auto const all = from_parts(sums, maxima);
        EXPECT_TRUE(testing_support::same(all, alone)) << to_string(kind);
        EXPECT_EQ(all.decision_hash, alone.decision_hash) << to_string(kind);
        EXPECT_EQ(all.served + all.shed + all.lost, all.offered)
            << "requests sent are requests served";
        EXPECT_EQ(all.guests > 0, kind != RoutingKind::home) << to_string(kind);
        EXPECT_GT(all.served, 10'000U);
        EXPECT_GT(all.lost, 0U) << to_string(kind);
        if (comm.size() > 1) {
            EXPECT_LT(mine.offered, all.offered) << "a rank has a part";
        }
    }
}

TEST(FleetOverRanks, AFailureOnOneRankEndsTheRunOnAllOfThem) {
    auto& comm = world();
    auto params = testing_support::busy_fleet();
    params.nodes = 4;
    params.routing = {.kind = RoutingKind::random, .window_ms = 2.0};
    auto setup = testing_support::busy_setup();
    // The last rank's nodes cannot be made: host memory that must mirror the GPUs is too small.
    bool const broken = comm.rank() == comm.size() - 1;
    if (broken) {
        setup.tiers.inclusive = true;
        setup.tiers.dram_bytes = 1;
    }
    auto const costs = testing_support::plain_costs();
    auto const run = [&] { return run_fleet(params, setup, costs, peers_of_world()); };
    if (broken) {
        EXPECT_THROW(run(), InternalError);
    } else {
        EXPECT_EQ(run().served, 0U) << "stopped at the first window";
    }
}

}  // namespace
}  // namespace ckvsim::fleet
