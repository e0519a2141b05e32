#include "fleet/fleet_run.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <barrier>
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
