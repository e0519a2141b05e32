#include "fleet/fleet_run.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <barrier>
#include <map>
#include <set>
#include <thread>

#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::busy_fleet;
using testing_support::busy_setup;
using testing_support::kRoutingKinds;
using testing_support::merged;
using testing_support::plain_costs;
using testing_support::same;

/// Ranks as threads of this process.
class FakeRanks {
  public:
    explicit FakeRanks(int ranks)
        : ranks_(ranks), barrier_(ranks), mail_(std::size_t(ranks)), loads_(std::size_t(ranks)) {}

    std::vector<FleetResult> run(FleetParams const& params, NodeSetup const& setup,
                                 ServingCosts const& costs) {
        std::vector<FleetResult> results(static_cast<std::size_t>(ranks_));
        std::vector<std::thread> threads;
        for (int r = 0; r < ranks_; ++r) {
            threads.emplace_back([&, r] {
                omp_set_num_threads(1);
                results[static_cast<std::size_t>(r)] = run_fleet(params, setup, costs, peers(r));
            });
        }
        for (auto& thread : threads) thread.join();
        return results;
    }
    [[nodiscard]] std::uint64_t bytes_sent() const { return sent_; }

  private:
    FleetPeers peers(int rank) {
        auto const me = static_cast<std::size_t>(rank);
        FleetPeers peers;
        peers.rank = rank;
        peers.ranks = ranks_;
        peers.exchange = [this, me](std::vector<std::vector<std::byte>> const& to) {
            mail_[me] = to;
            barrier_.arrive_and_wait();
            std::vector<std::byte> came;
            for (auto const& from : mail_)
                came.insert(came.end(), from[me].begin(), from[me].end());
            barrier_.arrive_and_wait();
            sent_ += came.size();
            return came;
        };
        peers.max = [this, me](std::vector<std::int64_t>& values) {
            loads_[me] = values;
            barrier_.arrive_and_wait();
            for (auto const& other : loads_)
                for (std::size_t i = 0; i < values.size(); ++i)
                    values[i] = std::max(values[i], other[i]);
            barrier_.arrive_and_wait();
        };
        return peers;
    }

    int ranks_;
    std::barrier<> barrier_;
    std::vector<std::vector<std::vector<std::byte>>> mail_;
    std::vector<std::vector<std::int64_t>> loads_;
    std::atomic<std::uint64_t> sent_{0};
};

FleetParams short_fleet(RoutingKind kind) {
    auto params = busy_fleet();
    params.nodes = 5;
    params.traffic.requests_per_second = 250000.0;
    params.traffic.duration_s = 0.1;
    params.warmup_s = 0.02;
    params.routing = {.kind = kind, .window_ms = 2.0, .slack = 0.0, .spill_ms = 1.2};
    return params;
}

TEST(FleetRun, RanksChangeNothingUnderAnyRouting) {
    auto const costs = plain_costs();
    auto const setup = busy_setup();
    std::set<std::uint64_t> hashes;
    for (auto const kind : kRoutingKinds) {
        auto const params = short_fleet(kind);
        auto const alone = run_fleet(params, setup, costs, {});
        hashes.insert(alone.decision_hash);
        EXPECT_EQ(alone.served + alone.shed, alone.offered);
        EXPECT_EQ(alone.guests > 0, kind != RoutingKind::home) << to_string(kind);
        for (int const ranks : {2, 3, 4, 7}) {
            FakeRanks fake(ranks);
            auto const parts = fake.run(params, setup, costs);
            EXPECT_TRUE(same(merged(parts), alone)) << to_string(kind) << ", " << ranks << " ranks";
            EXPECT_EQ(fake.bytes_sent() > 0, kind != RoutingKind::home) << to_string(kind);
        }
    }
    EXPECT_EQ(hashes.size(), kRoutingKinds.size()) << "routings that differ";
}

TEST(FleetRun, ThreadsChangeNothing) {
    auto const costs = plain_costs();
    auto const setup = busy_setup();
    int const before = omp_get_max_threads();
    for (auto const kind : kRoutingKinds) {
        omp_set_num_threads(1);
        auto const one = run_fleet(short_fleet(kind), setup, costs, {});
        omp_set_num_threads(4);
        EXPECT_TRUE(same(one, run_fleet(short_fleet(kind), setup, costs, {}))) << to_string(kind);
    }
    omp_set_num_threads(before);
}

/// Something of every kind, twice at random.
std::vector<FleetEvent> all_events() {
    std::vector<FleetEvent> events;
    for (std::size_t k = 0; k < static_cast<std::size_t>(EventKind::count_); ++k) {
        FleetEvent event;
        event.kind = static_cast<EventKind>(k);
        event.at = 0.09 * static_cast<double>(k);
        event.duration = 0.2;
        event.share = 0.4;
        event.rolling = 0.3;
        event.rolling_by = RollingBy::users;
        events.push_back(event);
    }
    events.push_back({.kind = EventKind::crash, .duration = 0.02, .mean_between = 0.3});
    events.push_back({.kind = EventKind::tier_loss,
                      .duration = 0.1,
                      .mean_between = 0.2,
                      .tier = Residence::nvme});
    return events;
}

TEST(FleetRun, WithEventsRanksAndThreadsChangeNothing) {
    auto const costs = plain_costs();
    auto const setup = busy_setup();
    int const before = omp_get_max_threads();
    for (auto const kind : kRoutingKinds) {
        auto params = short_fleet(kind);
        auto const quiet = run_fleet(params, setup, costs, {});
        params.events = all_events();
        if (kind == RoutingKind::home) {
            std::erase_if(params.events, [](auto const& e) {
                return e.kind == EventKind::scale_in || e.kind == EventKind::scale_out;
            });
        }
        omp_set_num_threads(1);
        auto const alone = run_fleet(params, setup, costs, {});
        omp_set_num_threads(4);
        EXPECT_TRUE(same(alone, run_fleet(params, setup, costs, {}))) << to_string(kind);
        omp_set_num_threads(before);
        EXPECT_NE(alone.decision_hash, quiet.decision_hash) << to_string(kind);
        EXPECT_EQ(alone.served + alone.shed + alone.lost, alone.offered) << to_string(kind);
        EXPECT_EQ(alone.offered, quiet.offered) << "events change no arrivals";
        std::uint64_t lost = 0;
        for (std::size_t e = 0; e < params.events.size(); ++e) {
            EXPECT_GT(alone.events[e].times, 0U) << e;
            lost += alone.events[e].lost;
        }
        EXPECT_EQ(lost, alone.lost) << "every lost request has its event";
        for (int const ranks : {3}) {
            FakeRanks fake(ranks);
            EXPECT_TRUE(same(merged(fake.run(params, setup, costs)), alone))
                << to_string(kind) << ", " << ranks << " ranks";
        }
    }
}

TEST(FleetRun, WithNewUsersRanksAndThreadsChangeNothing) {
    auto const costs = plain_costs();
    auto const setup = busy_setup();
    int const before = omp_get_max_threads();
    for (auto const kind : kRoutingKinds) {
        auto params = short_fleet(kind);
        auto const quiet = run_fleet(params, setup, costs, {});
        auto const with = [&](double users_share) {
            params.events = {{.kind = EventKind::new_users,
                              .at = 0.2,
                              .rolling = 0.4,
                              .users_share = users_share},
                             {.kind = EventKind::new_users,
                              .at = 0.5,
                              .share = 0.6,
                              .users_share = users_share}};
            return run_fleet(params, setup, costs, {});
        };
        auto nobody = with(0.0);
        EXPECT_EQ(nobody.events[0].times, 5U);
        EXPECT_EQ(nobody.events[1].times, 3U);
        nobody.events = quiet.events;
        EXPECT_TRUE(same(nobody, quiet)) << to_string(kind) << ": nobody signs up";
        omp_set_num_threads(1);
        auto const alone = with(0.3);
        omp_set_num_threads(4);
        EXPECT_TRUE(same(alone, with(0.3))) << to_string(kind);
        omp_set_num_threads(before);
        FakeRanks fake(3);
        EXPECT_TRUE(same(merged(fake.run(params, setup, costs)), alone)) << to_string(kind);
        EXPECT_LT(alone.offered, quiet.offered) << "they ask for nothing before";
        auto const& fresh = alone.classes[sign_up_class(true)];
        EXPECT_GT(fresh.requests, alone.offered / 10);
        EXPECT_EQ(fresh.requests + alone.classes[sign_up_class(false)].requests, alone.offered);
    }
}

TEST(FleetRun, WithNewItemsRanksAndThreadsChangeNothing) {
    auto const costs = plain_costs();
    auto setup = busy_setup();
    setup.reads.link_bytes_per_candidate = 20.0;
    int const before = omp_get_max_threads();
    for (auto const kind : kRoutingKinds) {
        auto params = short_fleet(kind);
        setup.growth.reset();
        auto const quiet = run_fleet(params, setup, costs, {});
        params.events = {{.kind = EventKind::catalogue, .at = 0.4}};
        auto none = run_fleet(params, setup, costs, {});
        EXPECT_EQ(none.events[0].times, 5U);
        none.events = quiet.events;
        EXPECT_TRUE(same(none, quiet)) << to_string(kind) << ": no items are new";
        params.events[0].growth = 0.3;
        setup.growth = CatalogueGrowth{.reads = setup.reads, .hbm_bytes = 1e5, .dram_bytes = 1e5};
        setup.growth->reads.link_bytes_per_candidate = 40.0;
        omp_set_num_threads(1);
        auto const alone = run_fleet(params, setup, costs, {});
        omp_set_num_threads(4);
        EXPECT_TRUE(same(alone, run_fleet(params, setup, costs, {}))) << to_string(kind);
        omp_set_num_threads(before);
        FakeRanks fake(3);
        EXPECT_TRUE(same(merged(fake.run(params, setup, costs)), alone)) << to_string(kind);
        EXPECT_EQ(alone.offered, quiet.offered);
        EXPECT_GT(alone.link_table_bytes, quiet.link_table_bytes);
    }
}

TEST(FleetRun, WhereRoutingLooksAtLoadACrashLosesOneWindow) {
    auto const costs = plain_costs();
    auto const setup = busy_setup();
    FleetEvent crash{.kind = EventKind::crash, .at = 0.25, .duration = 0.5, .nodes = {2}};
    std::map<RoutingKind, FleetResult> results;
    for (auto const kind : kRoutingKinds) {
        auto params = short_fleet(kind);
        params.routing.spill_ms = 1000.0;
        params.events = {crash};
        results[kind] = run_fleet(params, setup, costs, {});
        // A fifth of the requests for half of the measured time, or for the 2 ms of a window.
        auto const& r = results[kind];
        double const share = static_cast<double>(r.lost) / static_cast<double>(r.offered);
        if (kind == RoutingKind::home) {
            EXPECT_NEAR(share, 0.1, 0.02);
        } else {
            EXPECT_LT(share, 0.02) << to_string(kind);
            EXPECT_GT(r.lost, 0U) << to_string(kind);
        }
    }
    EXPECT_GT(results[RoutingKind::spill_over].guests, 0U) << "its users were served elsewhere";
}

TEST(FleetRun, ScalingMovesUsersAndLosesNothing) {
    auto const costs = plain_costs();
    auto const setup = busy_setup();
    auto params = short_fleet(RoutingKind::spill_over);
    params.routing.spill_ms = 1000.0;  // everybody stays at home while it is there
    EXPECT_EQ(run_fleet(params, setup, costs, {}).guests, 0U);
    for (auto const kind : {EventKind::scale_in, EventKind::scale_out}) {
        params.events = {{.kind = kind, .at = 0.5, .nodes = {2}}};
        auto const r = run_fleet(params, setup, costs, {});
        EXPECT_EQ(r.lost, 0U);
        EXPECT_EQ(r.events[0].times, 1U);
        // A fifth of the users for half of the measured time.
        EXPECT_NEAR(static_cast<double>(r.guests) / static_cast<double>(r.offered), 0.1, 0.03)
            << to_string(kind);
        FakeRanks fake(3);
        EXPECT_TRUE(same(merged(fake.run(params, setup, costs)), r)) << to_string(kind);
    }
}

TEST(FleetRun, ARollingRefreshKeepsHits) {
    auto const costs = plain_costs();
    auto setup = busy_setup();
    setup.tiers.hbm_bytes = 1U << 24;  // everything
    auto params = short_fleet(RoutingKind::home);
    params.traffic.requests_per_second = 60000.0;
    params.traffic.duration_s = 1.0;
    params.warmup_s = 0.4;
    auto const lowest = [&](double rolling, RollingBy by) {
        params.events = {{.at = 0.2, .rolling = rolling, .rolling_by = by}};
        auto const r = run_fleet(params, setup, costs, {});
        EXPECT_EQ(r.events[0].times, 5U);
        double least = 1.0;
        for (std::size_t b = 24; b < kSeriesBins; ++b)
            least =
                std::min(least, static_cast<double>(r.series[b].hits) /
                                    static_cast<double>(r.series[b].requests - r.series[b].shed));
        auto const& last = r.series.back();
        EXPECT_GT(static_cast<double>(last.hits) / static_cast<double>(last.requests - last.shed),
                  0.9)
            << "it comes back";
        return least;
    };
    double const at_once = lowest(0.0, RollingBy::nodes);
    double const by_nodes = lowest(0.5, RollingBy::nodes);
    double const by_users = lowest(0.5, RollingBy::users);
    EXPECT_LT(at_once, 0.6) << "only returns hit";
    EXPECT_GT(by_nodes, at_once + 0.1);
    EXPECT_GT(by_users, at_once + 0.1);
}

TEST(FleetRun, TheWindowAndTheSeedAreSeen) {
    auto const costs = plain_costs();
    auto params = short_fleet(RoutingKind::two_choices);
    auto const base = run_fleet(params, busy_setup(), costs, {});
    params.routing.window_ms = 7.0;
    EXPECT_NE(run_fleet(params, busy_setup(), costs, {}).decision_hash, base.decision_hash);
    params = short_fleet(RoutingKind::two_choices);
    params.seed = 2;
    EXPECT_NE(run_fleet(params, busy_setup(), costs, {}).decision_hash, base.decision_hash);
}

TEST(FleetRun, NodesAreDealtOnceEach) {
    FleetParams params;
    params.nodes = 11;
    for (std::uint32_t const sampled : {0U, 1U, 4U, 11U, 50U}) {
        params.sampled_nodes = sampled;
        std::multiset<std::uint32_t> all;
        for (int rank = 0; rank < 3; ++rank)
            for (auto const node : nodes_of_rank(params, rank, 3)) all.insert(node);
        std::size_t const expected = sampled == 0 ? 11 : std::min(sampled, 11U);
        EXPECT_EQ(all.size(), expected);
        EXPECT_EQ(std::set<std::uint32_t>(all.begin(), all.end()).size(), expected);
        EXPECT_LT(*all.rbegin(), 11U);
    }
}

TEST(FleetRun, ASampleIsItsNodesPartOfTheFleet) {
    auto const costs = plain_costs();
    auto params = short_fleet(RoutingKind::home);
    auto const all = run_fleet(params, busy_setup(), costs, {});
    params.sampled_nodes = 1;
    auto const one = run_fleet(params, busy_setup(), costs, {});
    EXPECT_EQ(one.simulated_users, params.users / params.nodes);
    EXPECT_NEAR(static_cast<double>(one.offered), static_cast<double>(all.offered) / 5.0,
                0.05 * static_cast<double>(all.offered));
    params.routing.kind = RoutingKind::random;
    EXPECT_THROW(run_fleet(params, busy_setup(), costs, {}), InternalError);
}

TEST(FleetRun, StateIsCountedForTheNodesThatLiveAtOnce) {
    FleetParams params;
    params.users = 1'000'000;
    params.nodes = 10;
    EXPECT_EQ(state_bytes_needed(params, EvictionPolicy::lru, 1, 1), 100'001U * 16);
    EXPECT_EQ(state_bytes_needed(params, EvictionPolicy::lru, 1, 4), 4 * 100'001U * 16);
    EXPECT_EQ(state_bytes_needed(params, EvictionPolicy::lru, 5, 4), 2 * 100'001U * 16)
        << "two nodes a rank";
    params.routing.kind = RoutingKind::random;
    EXPECT_GT(state_bytes_needed(params, EvictionPolicy::lru, 1, 1), 10 * 100'001U * 18)
        << "all nodes and guests";
}

TEST(FleetRun, ProgressEndsAtAllRequests) {
    auto const costs = plain_costs();
    for (auto const kind : {RoutingKind::home, RoutingKind::random}) {
        std::uint64_t last = 0;
        int const before = omp_get_max_threads();
        omp_set_num_threads(1);
        auto const r = run_fleet(short_fleet(kind), busy_setup(), costs, {},
                                 [&](std::uint64_t done, std::uint64_t, FleetResult const&) {
                                     EXPECT_GE(done, last);
                                     last = done;
                                 });
        omp_set_num_threads(before);
        EXPECT_EQ(last, r.offered + r.warmup_requests);
    }
}

}  // namespace
}  // namespace ckvsim::fleet
