#include "fleet/start_state.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ckvsim::fleet {
namespace {

constexpr double kTick_s = (1 << 20) * 1e-9;

ServingCosts small_costs() {
    ServingModel model;
    model.attention_dim = 8;
    model.max_interactions = 50;
    model.sites = {{0, 0, 1}};
    return {model, {}, 100.0, 4};
}

struct Node {
    FleetUsers users{120000, 2, {.sigma = 1.0, .classes = 16}, {.median = 30.0, .sigma = 0.6}, 5};
    ServingCosts costs = small_costs();
    std::vector<double> rates;
    TierParams params;
    NodeTiers tiers;

    explicit Node(TierParams const& p, StartState start = StartState::stationary)
        : params(p), tiers(users.places(1), 2, p, costs) {
        for (auto const& c : users.classes()) rates.push_back(0.01 * c.relative_rate);
        start_node(tiers, users, 1, rates, params, start, 9);
    }
    [[nodiscard]] double filled(Residence tier) const {
        return static_cast<double>(tiers.used_bytes(tier)) /
               static_cast<double>(tiers.capacity_bytes(tier));
    }
};

/// 60 000 users, entries of about 1 kB: 60 MB. These tiers hold a half of them.
TierParams tight(EvictionPolicy policy) {
    return {.hbm_bytes = 4000000, .dram_bytes = 10000000, .nvme_bytes = 12000000, .policy = policy};
}

TEST(StartState, CharacteristicTimesFillTheirCapacity) {
    std::vector<double> const entries = {1000, 300, 20};
    std::vector<double> const rates = {0.001, 0.02, 3.0};
    auto const held = [&](double t) {
        double sum = 0.0;
        for (std::size_t k = 0; k < 3; ++k) sum += entries[k] * (1.0 - std::exp(-rates[k] * t));
        return sum * 64.0;
    };
    std::array<double, 3> const capacity = {30 * 64.0, 400 * 64.0, 1000 * 64.0};
    auto const times = characteristic_times(entries, rates, 64.0, capacity);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(held(times[i]) / capacity[i], 1.0, 1e-6) << i;
        // By brute force: a thousandth earlier it holds less than the capacity, later more.
        EXPECT_LT(held(times[i] * 0.999), capacity[i]);
        EXPECT_GT(held(times[i] * 1.001), capacity[i]);
    }
    auto const ends = characteristic_times(entries, rates, 64.0, {0.0, 1319.9 * 64.0, 1321 * 64.0});
    EXPECT_EQ(ends[0], 0.0);
    EXPECT_TRUE(std::isfinite(ends[1]));
    EXPECT_EQ(ends[2], std::numeric_limits<double>::infinity()) << "everything fits";
}

TEST(StartState, OverflowedTiersAreFull) {
    for (auto const policy :
         {EvictionPolicy::lru, EvictionPolicy::fifo, EvictionPolicy::clock, EvictionPolicy::sieve,
          EvictionPolicy::s3_fifo, EvictionPolicy::w_tiny_lfu}) {
        SCOPED_TRACE(to_string(policy));
        Node const node(tight(policy));
        node.tiers.check();
        EXPECT_GE(node.filled(Residence::hbm), 0.98);
        EXPECT_GE(node.filled(Residence::dram), 0.98);
        EXPECT_GE(node.filled(Residence::nvme), 0.98);
    }
    auto params = tight(EvictionPolicy::lru);
    params.inclusive = true;
    Node const inclusive(params);
    inclusive.tiers.check();
    EXPECT_GE(inclusive.filled(Residence::hbm), 0.98);
    EXPECT_GE(inclusive.filled(Residence::dram), 0.98);
    EXPECT_GE(inclusive.filled(Residence::nvme), 0.98);
}

TEST(StartState, WhereEverythingFitsEverybodyIsKept) {
    for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::fifo}) {
        SCOPED_TRACE(to_string(policy));
        Node const node({.hbm_bytes = 100000000, .policy = policy});
        EXPECT_EQ(node.tiers.entries(Residence::hbm), node.users.places(1));
    }
}

TEST(StartState, LruListsAreOrderedByAgeUpToABucket) {
    Node const node(tight(EvictionPolicy::lru));
    std::vector<double> counts;
    for (std::size_t k = 0; k < node.rates.size(); ++k)
        counts.push_back(
            static_cast<double>(node.users.first_place(1, k + 1) - node.users.first_place(1, k)));
    auto const times = characteristic_times(
        counts, node.rates, node.tiers.mean_entry_bytes(node.users), {8000000, 18000000, 30000000});
    double const bucket_s = times[2] / 32768 + 2 * kTick_s;
    std::uint64_t seen = 0;
    double oldest_above = 0.0;
    for (auto const tier : {Residence::hbm, Residence::dram, Residence::nvme}) {
        double oldest_here = 0.0;
        for (std::uint32_t first = 0; first < node.users.places(1); ++first) {
            auto const& s = node.tiers.state(first);
            if (s.residence != static_cast<std::uint8_t>(tier) || s.links.newer != kNoPlace)
                continue;
            double oldest = 0.0;
            for (auto p = first; p != kNoPlace; p = node.tiers.state(p).links.older) {
                double const age = (kStartTick - node.tiers.state(p).last_tick) * kTick_s;
                EXPECT_GT(age, oldest - bucket_s) << "place " << p;
                // Tiers follow each other; at the edge a small entry may pass a large one.
                EXPECT_GE(age, 0.9 * oldest_above) << "place " << p;
                oldest = std::max(oldest, age);
                ++seen;
            }
            oldest_here = std::max(oldest_here, oldest);
        }
        oldest_above = oldest_here;
    }
    EXPECT_LT(oldest_above, 1.1 * times[2]);
    EXPECT_EQ(seen, node.tiers.entries(Residence::hbm) + node.tiers.entries(Residence::dram) +
                        node.tiers.entries(Residence::nvme));
    EXPECT_GT(seen, 10000U);
}

TEST(StartState, ActiveUsersAreKeptHigher) {
    for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::fifo}) {
        SCOPED_TRACE(to_string(policy));
        Node const node(tight(policy));
        std::size_t const last = node.rates.size() - 1;
        auto const share_in_hbm = [&](std::size_t k) {
            double in = 0.0;
            auto const from = node.users.first_place(1, k);
            auto const to = node.users.first_place(1, k + 1);
            for (auto p = from; p < to; ++p)
                in += node.tiers.state(static_cast<std::uint32_t>(p)).residence == 1;
            return in / static_cast<double>(to - from);
        };
        EXPECT_GT(share_in_hbm(last), share_in_hbm(0) + 0.3);
    }
}

/// Shares of requests found in each tier, in parts of a run that changes no histories.
std::vector<std::array<double, kResidences>> found_in_parts(Node& node, int parts, double part_s) {
    FleetTraffic const traffic{.requests_per_second = 1200.0,  // 0.01 a second and user
                               .revisit_probability = 0.0,
                               .events_per_request = 0.0};
    ArrivalStream stream(node.users, traffic, 3, 1);
    std::vector<std::array<double, kResidences>> shares;
    std::vector<Arrival> block;
    Moves moves;
    for (int part = 1; part <= parts; ++part) {
        stream.next(static_cast<Nanoseconds>(part * part_s * 1e9), std::size_t{1} << 40, block);
        shares.emplace_back();
        for (auto const& a : block) {
            auto const found = node.tiers.look_up(a.place, tick_of(a.time_ns));
            shares.back()[static_cast<std::size_t>(found)] +=
                1.0 / static_cast<double>(block.size());
            node.tiers.serve(a.place, 0, tick_of(a.time_ns), moves);
        }
    }
    return shares;
}

TEST(StartState, LruAndFifoStayAsTheyStart) {
    for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::fifo}) {
        Node node(tight(policy));
        auto const shares = found_in_parts(node, 5, 100.0);
        for (std::size_t tier = 0; tier < kResidences; ++tier) {
            EXPECT_GT(shares[0][tier], 0.05) << "nothing to compare";
            for (auto const& part : shares)
                EXPECT_NEAR(part[tier] / shares.back()[tier], 1.0, 0.04)
                    << to_string(policy) << ", tier " << tier;
        }
    }
}

TEST(StartState, AColdStartIsNotStationary) {
    Node node(tight(EvictionPolicy::lru), StartState::cold);
    auto const shares = found_in_parts(node, 5, 100.0);
    EXPECT_GT(shares[0][0], 1.2 * shares.back()[0]);
}

TEST(StartState, ColdIsEmptyAndExpiredEntriesAreGone) {
    Node const cold(tight(EvictionPolicy::lru), StartState::cold);
    for (auto const tier : {Residence::hbm, Residence::dram, Residence::nvme})
        EXPECT_EQ(cold.tiers.entries(tier), 0U);
    for (std::uint32_t p = 0; p < 1000; ++p)
        ASSERT_EQ(cold.tiers.state(p).events, cold.users.history_events(cold.users.user(1, p)));
    auto params = tight(EvictionPolicy::lru);
    params.ttl_s = 20.0;
    Node const brief(params);
    std::uint64_t kept = 0;
    for (std::uint32_t p = 0; p < brief.users.places(1); ++p) {
        auto const& s = brief.tiers.state(p);
        if (s.residence == 0) continue;
        ++kept;
        ASSERT_LE((kStartTick - s.last_tick) * kTick_s, 20.0 + kTick_s);
    }
    EXPECT_GT(kept, 100U);
    Node const unlimited(tight(EvictionPolicy::lru));
    std::uint64_t all = 0;
    for (auto const tier : {Residence::hbm, Residence::dram, Residence::nvme})
        all += unlimited.tiers.entries(tier);
    EXPECT_LT(kept, all);
}

TEST(StartState, DependsOnTheSeed) {
    Node const a(tight(EvictionPolicy::lru));
    Node const b(tight(EvictionPolicy::lru));
    Node c(tight(EvictionPolicy::lru), StartState::cold);
    start_node(c.tiers, c.users, 1, c.rates, c.params, StartState::stationary, 10);
    int differ = 0;
    for (std::uint32_t p = 0; p < a.users.places(1); ++p) {
        ASSERT_EQ(a.tiers.state(p).last_tick, b.tiers.state(p).last_tick);
        ASSERT_EQ(a.tiers.links(p, Residence::hbm).newer, b.tiers.links(p, Residence::hbm).newer);
        differ += a.tiers.state(p).residence != c.tiers.state(p).residence;
    }
    EXPECT_GT(differ, 1000);
}

}  // namespace
}  // namespace ckvsim::fleet
