#include "fleet/node_sim.hpp"

#include <gtest/gtest.h>

#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::found;
using testing_support::mean_ns;
using testing_support::plain_costs;
using testing_support::plain_setup;
using testing_support::plain_users;
using testing_support::serve_all;

constexpr Nanoseconds kMicrosecond = 1000;

/// A request of user `place` with nothing new.
Arrival at(Nanoseconds time_ns, std::uint32_t place, bool returning = false) {
    return {.time_ns = time_ns, .user = place, .place = place, .returning = returning};
}
Nanoseconds longest(FleetResult const& r, FleetStage stage) {
    return r.latency[static_cast<std::size_t>(stage)].max_ns();
}
std::uint64_t entry() { return plain_costs().entry_bytes(8); }

TEST(NodeSim, ABatchClosesWhenFull) {
    auto setup = plain_setup(1000.0);
    setup.batching.max_batch = 3;
    setup.batching.max_wait_us = 50.0;
    auto const r = serve_all(setup, plain_costs(), plain_users(9),
                             {at(0, 0), at(10, 1), at(20, 2), at(30 * kMicrosecond, 3)});
    EXPECT_EQ(r.batches, 2U);
    // The first three wait for the third, the last for its 50 us.
    EXPECT_EQ(longest(r, FleetStage::queue), 50 * kMicrosecond);
    EXPECT_NEAR(mean_ns(r, FleetStage::queue), (20.0 + 10.0 + 0.0 + 50000.0) / 4.0, 1e-9);
}

TEST(NodeSim, ABatchNeverStartsBeforeTheGpuIsFree) {
    auto setup = plain_setup(10000.0);  // 30 us for a first visit
    setup.batching.max_batch = 2;
    setup.batching.max_wait_us = 1.0;
    auto const r = serve_all(setup, plain_costs(), plain_users(9),
                             {at(0, 0), at(5000, 1), at(6000, 2), at(7000, 3)});
    // 0 starts at 1 us; 1 and 2 at 31 us, full; 3 at 61 us.
    EXPECT_EQ(r.batches, 3U);
    EXPECT_NEAR(mean_ns(r, FleetStage::queue), (1000.0 + 26000.0 + 25000.0 + 54000.0) / 4.0, 1e-9);
    EXPECT_EQ(longest(r, FleetStage::total), 84000);
}

TEST(NodeSim, AFullQueueShedsAndAForgottenRequestLeavesNoTrace) {
    auto setup = plain_setup(10000.0);
    setup.batching.max_queue = 2;
    auto const r = serve_all(setup, plain_costs(), plain_users(9),
                             {at(0, 0), at(1, 1), at(2, 2), at(3, 3), at(500000, 3)});
    // 0 runs from 0 to 30 us when 1 comes, 1 and 2 wait, 3 is shed; later it is a first visit.
    EXPECT_EQ(r.shed, 1U);
    EXPECT_EQ(r.served, 4U);
    EXPECT_EQ(found(r, Residence::none), 4U);
    EXPECT_EQ(r.entries[static_cast<std::size_t>(Residence::hbm)], 4U);
}

/// Everything in host memory, an entry takes 40 us over the link.
NodeSetup host_setup() {
    auto setup = plain_setup(1000.0);
    setup.tiers.hbm_bytes = 0;
    setup.tiers.dram_bytes = 1U << 30;
    setup.ns_per_link_byte = 40000.0 / static_cast<double>(entry());
    return setup;
}

TEST(NodeSim, EntriesQueueForTheLink) {
    constexpr Nanoseconds kLater = 1'000'000;
    auto const r =
        serve_all(host_setup(), plain_costs(), plain_users(9),
                  {at(0, 0), at(100000, 1), at(kLater, 0), at(kLater + 10000, 1)}, kLater);
    EXPECT_EQ(found(r, Residence::dram), 2U);
    EXPECT_NEAR(mean_ns(r, FleetStage::fetch), (40000.0 + 70000.0) / 2.0, 1e-9);
}

TEST(NodeSim, WhoWouldWaitTooLongIsMadeFromIds) {
    constexpr Nanoseconds kLater = 1'000'000;
    std::vector<Arrival> const arrivals = {at(0, 0), at(100000, 1), at(kLater, 0),
                                           at(kLater + 10000, 1)};
    for (double const patience_ms : {0.0, 0.039, 0.069, 0.071}) {
        auto setup = host_setup();
        setup.batching.fetch_patience_ms = patience_ms;
        auto const r = serve_all(setup, plain_costs(), plain_users(9), arrivals, kLater);
        // They would wait 40 us and, behind the first, 70 us; once one gives up, the next need not
        // wait for it.
        std::uint64_t const expected = patience_ms == 0.039 ? 2 : patience_ms == 0.069 ? 1 : 0;
        EXPECT_EQ(r.abandoned, expected) << patience_ms;
        EXPECT_EQ(found(r, Residence::none), expected) << patience_ms;
        EXPECT_EQ(r.prefilled_interactions, 8 * expected) << patience_ms;
    }
}

TEST(NodeSim, AnAnnouncedSessionIsFetchedBeforeItStarts) {
    constexpr Nanoseconds kLater = 1'000'000;
    NodeRun run;
    run.prefetch_lead_ns = 30000;
    auto const first = serve_all(host_setup(), plain_costs(), plain_users(9),
                                 {at(0, 0), at(kLater, 0)}, kLater, run);
    EXPECT_EQ(mean_ns(first, FleetStage::fetch), 10000.0);
    auto const later = serve_all(host_setup(), plain_costs(), plain_users(9),
                                 {at(0, 0), at(kLater, 0, true)}, kLater, run);
    EXPECT_EQ(mean_ns(later, FleetStage::fetch), 40000.0) << "within a session nobody announces";
    run.prefetch_lead_ns = 50000;
    auto const early = serve_all(host_setup(), plain_costs(), plain_users(9),
                                 {at(0, 0), at(kLater, 0)}, kLater, run);
    EXPECT_EQ(mean_ns(early, FleetStage::fetch), 0.0);
}

TEST(NodeSim, BacklogIsWhatRunsAndTheMeanOfWhatWaits) {
    auto const setup = plain_setup(10000.0);
    auto const costs = plain_costs();
    NodeSim sim(setup, costs, {.duration_ns = 1000000}, 0, 9);
    std::vector<Arrival> const arrivals = {at(0, 0), at(1, 1), at(2, 2), at(3, 3)};
    EXPECT_EQ(sim.backlog_ns(0), 0);
    sim.serve(arrivals);
    // The first runs until 30 us; three wait, 30 us each.
    EXPECT_EQ(sim.backlog_ns(3), 30000 - 3 + 3 * 30000);
    sim.finish();
}

}  // namespace
}  // namespace ckvsim::fleet
