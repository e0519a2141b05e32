// What events do to a node, in cases small enough to compute by hand.
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::found;
using testing_support::mean_ns;
using testing_support::plain_costs;
using testing_support::plain_setup;
using testing_support::plain_users;

constexpr Nanoseconds kMicrosecond = 1000;
constexpr Nanoseconds kEnd = 10'000 * kMicrosecond;

Arrival at(Nanoseconds us, std::uint32_t place) {
    return {.time_ns = us * kMicrosecond, .user = place, .place = place};
}

/// An event at `at_us` for `lasts_us`.
FleetEvent event(EventKind kind, double at_us, double lasts_us = 0.0) {
    FleetEvent e;
    e.kind = kind;
    e.clock = EventClock::seconds;
    e.at = at_us * 1e-6;
    e.duration = lasts_us * 1e-6;
    e.swap_share = 0.0;
    return e;
}

/// One node with empty tiers, users of 8 events each.
FleetResult run(NodeSetup const& setup, ServingCosts const& costs,
                std::vector<FleetEvent> const& events, std::vector<Arrival> const& arrivals,
                Nanoseconds warmup_ns = 0) {
    auto const users = plain_users(100);
    EventPlan const plan(events, {0}, 0.0, static_cast<double>(kEnd) * 1e-9, 1);
    NodeSim sim(setup, costs, {.warmup_ns = warmup_ns, .duration_ns = kEnd}, 0, users.places(0));
    start_node(sim.tiers(), users, 0, {1.0}, setup.tiers, StartState::cold, 1);
    sim.schedule(plan.events(), plan.actions(0));
    sim.serve(arrivals);
    return sim.finish();
}

ServingCosts costs_of(ModelClass model_class, KeepingParams const& keeping) {
    ServingModel model;
    model.model_class = model_class;
    model.attention_dim = 8;
    model.embedding_dim = 8;
    model.max_interactions = 64;
    model.sites = {{0, 0, 1}};
    model.tower = {8};
    return {model, keeping, 100.0, 4};
}

TEST(NodeEvents, ARefreshMakesEveryEntryStaleOnce) {
    auto const refresh = event(EventKind::refresh, 20);
    std::vector<Arrival> const arrivals = {at(0, 0), at(10, 0), at(30, 0), at(40, 0)};
    auto const r = run(plain_setup(1000.0), plain_costs(), {refresh}, arrivals);
    EXPECT_EQ(found(r, Residence::none), 2U);
    EXPECT_EQ(found(r, Residence::hbm), 2U);
    EXPECT_EQ(r.prefilled_interactions, 16U);
    EXPECT_EQ(r.events[0].times, 1U);
    EXPECT_EQ(r.events[0].entries, 1U);
    EXPECT_EQ(r.series[0].made_bytes, 2 * plain_costs().entry_bytes(8));
    auto const ids =
        run(plain_setup(1000.0), costs_of(ModelClass::item, {.keeping = Keeping::recompute}),
            {refresh}, arrivals);
    EXPECT_EQ(found(ids, Residence::none), 1U) << "ids are as good as before";
    EXPECT_EQ(ids.events[0].entries, 0U);
}

TEST(NodeEvents, ARefreshByUsersReachesThemInTurn) {
    auto refresh = event(EventKind::refresh, 1000);
    refresh.rolling = 64e-6;
    refresh.rolling_by = RollingBy::users;
    // User 10 is moved over at 1010 us; user 74 with him.
    auto const r = run(plain_setup(1000.0), plain_costs(), {refresh},
                       {at(0, 10), at(10, 74), at(20, 11), at(1009, 10), at(1010, 74), at(1011, 10),
                        at(1500, 11)});
    EXPECT_EQ(found(r, Residence::none), 3U + 3U);
    EXPECT_EQ(r.events[0].entries, 3U);
    EXPECT_EQ(r.events[0].times, 1U);
}

TEST(NodeEvents, CodesOfUnchangedItemsStay) {
    auto refresh = event(EventKind::refresh, 20);
    refresh.changed_share = 0.25;
    KeepingParams const collective{.keeping = Keeping::collective, .m = 10};
    std::vector<Arrival> const arrivals = {at(0, 0), at(30, 0), at(40, 0)};
    auto const r =
        run(plain_setup(1000.0), costs_of(ModelClass::item, collective), {refresh}, arrivals);
    EXPECT_EQ(found(r, Residence::none), 1U);
    EXPECT_EQ(r.appended_events, 2U) << "a quarter of eight, once";
    EXPECT_EQ(r.events[0].entries, 1U);
    auto const sequence =
        run(plain_setup(1000.0), costs_of(ModelClass::sequence, collective), {refresh}, arrivals);
    EXPECT_EQ(found(sequence, Residence::none), 2U) << "codes that depend on the sequence do not";
}

TEST(NodeEvents, ANewModelIsDeliveredOverItsShareOfTheLinks) {
    auto setup = plain_setup(1000.0);
    setup.tiers.hbm_bytes = 0;
    setup.tiers.dram_bytes = 1U << 30;
    setup.ns_per_link_byte = 1.0;
    setup.ns_per_nic_byte = 2.0;
    setup.tables = {{.what = "t", .bytes = 3e5, .hbm_bytes = 1e5, .dram_bytes = 2e5}};
    auto const costs = costs_of(ModelClass::item, {.keeping = Keeping::item_table});
    auto const weights = static_cast<std::uint64_t>(costs.resident_bytes());
    auto refresh = event(EventKind::refresh, 1000);
    refresh.swap_share = 0.75;
    auto const entry = static_cast<double>(costs.entry_bytes(8));
    // A hit in host memory: its entry over the link. Delivery ends after (1e5 + weights) / 0.75 ns.
    auto const over =
        static_cast<Nanoseconds>(static_cast<double>(100000 + weights) / 0.75 / kMicrosecond);
    auto const fetch = [&](Nanoseconds us) {
        return mean_ns(run(setup, costs, {refresh}, {at(0, 0), at(us, 0)}, kMicrosecond),
                       FleetStage::fetch);
    };
    EXPECT_EQ(fetch(999), entry);
    EXPECT_EQ(fetch(1000), 4.0 * entry);
    EXPECT_EQ(fetch(1000 + over - 1), 4.0 * entry);
    EXPECT_EQ(fetch(1000 + over + 1), entry);
    auto const r = run(setup, costs, {refresh}, {at(0, 0), at(2000, 0)});
    EXPECT_EQ(r.events[0].swap_bytes, 300000U + 100000U + 2 * weights);
}

TEST(NodeEvents, RowsOfNewItemsAreReadWhenAllOfThemAreThere) {
    auto setup = plain_setup(1000.0);
    setup.ns_per_link_byte = 1.0;
    setup.ns_per_nic_byte = 2.0;
    setup.reads.link_bytes_per_candidate = 10.0;
    setup.growth = CatalogueGrowth{.hbm_bytes = 30000, .dram_bytes = 60000};
    setup.growth->reads.link_bytes_per_candidate = 25.0;
    auto catalogue = event(EventKind::catalogue, 1000);
    catalogue.growth = 0.5;
    catalogue.swap_share = 0.75;
    auto const fetch = [&](Nanoseconds us, std::vector<FleetEvent> const& events) {
        return mean_ns(run(setup, plain_costs(), events, {at(0, 0), at(us, 0)}, kMicrosecond),
                       FleetStage::fetch);
    };
    // Four candidates. Over the link 30000 / 0.75 ns = 40 us, over the network 90000 * 2 / 0.75 ns
    // = 240 us.
    EXPECT_EQ(fetch(999, {catalogue}), 40.0);
    EXPECT_EQ(fetch(1000, {catalogue}), 160.0) << "the link is left a quarter of";
    EXPECT_EQ(fetch(1039, {catalogue}), 160.0);
    EXPECT_EQ(fetch(1040, {catalogue}), 40.0) << "rows for host memory are on their way";
    EXPECT_EQ(fetch(1239, {catalogue}), 40.0);
    EXPECT_EQ(fetch(1240, {catalogue}), 100.0);
    auto const r = run(setup, plain_costs(), {catalogue}, {at(0, 0), at(2000, 0)});
    EXPECT_EQ(r.events[0].swap_bytes, 90000U + 30000U);
    EXPECT_EQ(r.events[0].times, 1U);
    EXPECT_EQ(r.events[0].entries, 0U);
    EXPECT_EQ(found(r, Residence::hbm), 1U) << "no entry is stale";
    // Not counted, or while the node is gone: there at once.
    auto crash = event(EventKind::crash, 900, 200);
    EXPECT_EQ(fetch(1100, {crash, catalogue}), 100.0);
    catalogue.swap_share = 0.0;
    EXPECT_EQ(fetch(1000, {catalogue}), 100.0);
    setup.growth.reset();
    EXPECT_THROW(fetch(1000, {catalogue}), InternalError);
}

TEST(NodeEvents, ACrashLosesWhatRunsAndWhatWaitsAndWhatComes) {
    auto const setup = plain_setup(10000.0);  // 30 us for a first visit
    std::vector<Arrival> const arrivals = {at(0, 0), at(1, 1), at(25, 2), at(60, 0)};
    auto const r = run(setup, plain_costs(), {event(EventKind::crash, 20, 30)}, arrivals);
    EXPECT_EQ(r.lost, 3U);
    EXPECT_EQ(r.served, 1U);
    EXPECT_EQ(r.offered, 4U);
    EXPECT_EQ(r.events[0].lost, 3U);
    EXPECT_EQ(r.events[0].entries, 2U);
    EXPECT_EQ(r.series[0].lost, 3U);
    EXPECT_EQ(r.series[0].hits, 0U);
    EXPECT_EQ(r.entries[static_cast<std::size_t>(Residence::hbm)], 1U);
    EXPECT_EQ(r.busy_ns[static_cast<std::size_t>(Device::gpu)], 20000U + 30000U);
    EXPECT_EQ(mean_ns(r, FleetStage::total), 30000.0);
    // Answered at the moment of the crash is answered.
    auto const later = run(setup, plain_costs(), {event(EventKind::crash, 30, 20)}, arrivals);
    EXPECT_EQ(later.lost, 2U);
    EXPECT_EQ(later.served, 2U);
    auto const never = run(setup, plain_costs(), {event(EventKind::crash, 20, 30000)}, arrivals);
    EXPECT_EQ(never.lost, 4U) << "gone to the end";
}

TEST(NodeEvents, LostRequestsOfTheWarmUpAreNotMeasured) {
    auto const r = run(plain_setup(10000.0), plain_costs(), {event(EventKind::crash, 20, 30)},
                       {at(0, 0), at(1, 1), at(25, 2), at(60, 0)}, 25 * kMicrosecond);
    EXPECT_EQ(r.lost, 1U);
    EXPECT_EQ(r.warmup_requests, 2U);
    EXPECT_EQ(r.series[0].lost, 3U);
}

TEST(NodeEvents, FlashMaySurviveACrash) {
    auto setup = plain_setup(1000.0);
    setup.tiers.hbm_bytes = 0;
    setup.tiers.nvme_bytes = 1U << 30;
    for (bool const keeps : {false, true}) {
        auto crash = event(EventKind::crash, 100, 100);
        crash.keeps_flash = keeps;
        auto const r = run(setup, plain_costs(), {crash}, {at(0, 0), at(300, 0)});
        EXPECT_EQ(found(r, Residence::nvme), keeps ? 1U : 0U);
        EXPECT_EQ(r.events[0].entries, keeps ? 0U : 1U);
    }
}

TEST(NodeEvents, ASlowNodeTakesLongerUntilItIsOver) {
    auto slow = event(EventKind::slow, 100, 100);
    slow.slowdown = 4.0;
    for (auto const& [us, expected] :
         {std::pair{99, 3000.0}, std::pair{100, 12000.0}, std::pair{200, 3000.0}}) {
        auto const r = run(plain_setup(1000.0), plain_costs(), {slow}, {at(us, 0)});
        EXPECT_EQ(mean_ns(r, FleetStage::total), expected) << us;
    }
    auto both = slow;
    both.slowdown = 3.0;
    auto const r = run(plain_setup(1000.0), plain_costs(), {slow, both}, {at(150, 0)});
    EXPECT_EQ(mean_ns(r, FleetStage::total), 36000.0) << "they multiply";
}

TEST(NodeEvents, SlowPartsSlowTheirTransfers) {
    auto const entry = static_cast<double>(plain_costs().entry_bytes(8));
    auto const fetch = [&](NodeSetup const& setup, EventKind kind, double slowdown) {
        auto e = event(kind, 500, 1000);
        e.slowdown = slowdown;
        return mean_ns(run(setup, plain_costs(), {e}, {at(0, 0), at(600, 0)}, kMicrosecond),
                       FleetStage::fetch);
    };
    auto host = plain_setup(1000.0);
    host.tiers.hbm_bytes = 0;
    host.tiers.dram_bytes = 1U << 30;
    host.ns_per_link_byte = 1.0;
    EXPECT_EQ(fetch(host, EventKind::link, 3.0), 3.0 * entry);
    EXPECT_EQ(fetch(host, EventKind::nvme, 3.0), entry) << "another part";
    auto flash = plain_setup(1000.0);
    flash.tiers.hbm_bytes = 0;
    flash.tiers.nvme_bytes = 1U << 30;
    flash.ns_per_nvme_read_byte = 2.0;
    EXPECT_EQ(fetch(flash, EventKind::nvme, 5.0), 10.0 * entry);
    auto nowhere = plain_setup(1000.0);
    nowhere.tiers.hbm_bytes = 0;
    nowhere.ns_per_nic_byte = 10.0;
    EXPECT_EQ(fetch(nowhere, EventKind::nic, 7.0), 7.0 * 10.0 * 8 * 4) << "ids of eight events";
}

TEST(NodeEvents, ALostTierIsEmptyAndTakesNothing) {
    for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::clock, EvictionPolicy::sieve,
                              EvictionPolicy::s3_fifo, EvictionPolicy::w_tiny_lfu}) {
        for (auto const tier : {Residence::dram, Residence::nvme}) {
            auto setup = plain_setup(1000.0);
            setup.tiers.policy = policy;
            setup.tiers.hbm_bytes = 0;
            (tier == Residence::dram ? setup.tiers.dram_bytes : setup.tiers.nvme_bytes) = 1U << 30;
            auto loss = event(EventKind::tier_loss, 100, 100);
            loss.tier = tier;
            auto const r =
                run(setup, plain_costs(), {loss},
                    {at(0, 0), at(50, 0), at(120, 0), at(150, 0), at(210, 0), at(250, 0)});
            EXPECT_EQ(found(r, tier), 2U) << to_string(policy);
            EXPECT_EQ(found(r, Residence::none), 4U) << to_string(policy);
            EXPECT_EQ(r.events[0].entries, 1U);
            EXPECT_EQ(r.entries[static_cast<std::size_t>(tier)], 1U);
        }
    }
}

}  // namespace
}  // namespace ckvsim::fleet
