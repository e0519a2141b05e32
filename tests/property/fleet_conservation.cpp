// What a fleet node must conserve whatever it is asked: every completion time against queues that
// are computed here, Little's law, busy time, and requests over the tiers.
#include <gtest/gtest.h>

#include <numeric>

#include "core/hash.hpp"
#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::busy_fleet;
using testing_support::busy_setup;
using testing_support::found;
using testing_support::mean_ns;
using testing_support::plain_costs;
using testing_support::plain_setup;
using testing_support::plain_users;
using testing_support::poisson_arrivals;
using testing_support::serve_all;

constexpr Nanoseconds kStage = 4000;
constexpr Nanoseconds kLink = 6000;
constexpr Nanoseconds kFlash = 17000;
constexpr std::uint32_t kEvents = 8;

/// A request's way through a node of one GPU that serves requests one by one.
struct Way {
    Nanoseconds arrived = 0;
    Nanoseconds ready = 0;
    Nanoseconds started = 0;
    Nanoseconds ended = 0;
    std::uint64_t user = 0;
    Residence found = Residence::none;
};

/// The same by hand: first visits find nothing, later ones find the entry in `tier`; two flash
/// devices, one link each way, one GPU.
std::vector<Way> by_hand(std::vector<Arrival> const& arrivals, Residence tier) {
    std::vector<Way> ways;
    std::vector<bool> seen(1000, false);
    std::array<Nanoseconds, 2> flash{};
    Nanoseconds up = 0;
    Nanoseconds down = 0;
    for (auto const& a : arrivals) {
        Way way{a.time_ns, a.time_ns, 0, 0, a.user, seen[a.place] ? tier : Residence::none};
        seen[a.place] = true;
        // A new entry goes down; one that was fetched is still there.
        if (tier != Residence::hbm && way.found == Residence::none) {
            down = std::max(down, a.time_ns) + kLink;
            way.ready = down;
        }
        Nanoseconds at = a.time_ns;
        if (way.found == Residence::nvme) {
            auto& device = *std::min_element(flash.begin(), flash.end());
            device = std::max(device, at) + kFlash;
            at = device;
        }
        if (way.found == Residence::nvme || way.found == Residence::dram) {
            up = std::max(up, at) + kLink;
            way.ready = std::max(way.ready, up);
        }
        ways.push_back(way);
    }
    std::stable_sort(ways.begin(), ways.end(),
                     [](Way const& a, Way const& b) { return a.ready < b.ready; });
    Nanoseconds gpu = 0;
    for (auto& way : ways) {
        way.started = std::max(gpu, way.ready);
        // Prefill runs for who has no entry; decode and score always.
        gpu = way.started + (way.found == Residence::none ? 3 : 2) * kStage;
        way.ended = gpu;
    }
    return ways;
}

NodeSetup setup_for(Residence tier) {
    auto setup = plain_setup(static_cast<double>(kStage));
    auto const entry = static_cast<double>(plain_costs().entry_bytes(kEvents));
    setup.nvme_devices = 2;
    setup.ns_per_link_byte = static_cast<double>(kLink) / entry;
    setup.ns_per_nvme_read_byte = static_cast<double>(kFlash) / entry;
    if (tier != Residence::hbm) setup.tiers.hbm_bytes = 0;
    if (tier == Residence::dram) setup.tiers.dram_bytes = 1U << 30;
    if (tier == Residence::nvme) setup.tiers.nvme_bytes = 1U << 30;
    return setup;
}

constexpr std::array kTiers = {Residence::hbm, Residence::dram, Residence::nvme};

TEST(FleetNode, EveryCompletionEqualsQueuesByHand) {
    auto const users = plain_users(1000, kEvents);
    auto const costs = plain_costs();
    for (auto const tier : kTiers) {
        auto const arrivals = poisson_arrivals(users, 11000.0, 30'000, 3);
        auto const ways = by_hand(arrivals, tier);
        auto const r = serve_all(setup_for(tier), costs, users, arrivals);
        UnorderedHash expected;
        std::uint64_t hits = 0;
        for (auto const& way : ways) {
            expected.add(
                way.user ^ (static_cast<std::uint64_t>(way.arrived) << 20),
                static_cast<std::uint64_t>(way.ended) * 4 + static_cast<std::uint64_t>(way.found));
            hits += way.found == tier ? 1 : 0;
        }
        EXPECT_EQ(r.decision_hash, expected.value()) << "tier " << static_cast<int>(tier);
        EXPECT_EQ(found(r, tier), hits);
        EXPECT_GT(mean_ns(r, FleetStage::queue), 1000.0) << "no waiting to compare";
    }
}

/// Time average of the number inside, from when requests come in and go out.
double mean_inside(std::vector<Way> const& ways, Nanoseconds Way::*in, Nanoseconds Way::*out,
                   Nanoseconds span) {
    std::vector<std::pair<Nanoseconds, int>> steps;
    for (auto const& way : ways) {
        steps.emplace_back(way.*in, 1);
        steps.emplace_back(way.*out, -1);
    }
    std::sort(steps.begin(), steps.end());
    double area = 0.0;
    double inside = 0.0;
    Nanoseconds before = 0;
    for (auto const& [at, step] : steps) {
        area += inside * static_cast<double>(at - before);
        inside += step;
        before = at;
    }
    EXPECT_EQ(inside, 0.0);
    return area / static_cast<double>(span);
}

TEST(FleetNode, LittlesLawHoldsForFetchingForWaitingAndForTheWhole) {
    auto const users = plain_users(1000, kEvents);
    auto const costs = plain_costs();
    for (auto const tier : kTiers) {
        auto const arrivals = poisson_arrivals(users, 11000.0, 30'000, 4);
        auto const ways = by_hand(arrivals, tier);
        auto const r = serve_all(setup_for(tier), costs, users, arrivals);
        Nanoseconds const span = ways.back().ended;
        double const rate = static_cast<double>(r.served) / static_cast<double>(span);
        auto const expect_law = [&](FleetStage stage, Nanoseconds Way::*in, Nanoseconds Way::*out) {
            double const inside = mean_inside(ways, in, out, span);
            EXPECT_NEAR(rate * mean_ns(r, stage), inside, 1e-9 * std::max(inside, 1.0))
                << to_string(stage) << ", tier " << static_cast<int>(tier);
            if (stage != FleetStage::fetch || tier != Residence::hbm) {
                EXPECT_GT(inside, 0.05);
            }
        };
        expect_law(FleetStage::fetch, &Way::arrived, &Way::ready);
        expect_law(FleetStage::queue, &Way::ready, &Way::started);
        expect_law(FleetStage::total, &Way::arrived, &Way::ended);
    }
}

TEST(FleetNode, BusyTimeIsTheSumOfServices) {
    auto const users = plain_users(1000, kEvents);
    auto const costs = plain_costs();
    auto const arrivals = poisson_arrivals(users, 11000.0, 30'000, 5);
    std::uint64_t const n = arrivals.size();
    auto const busy = [](FleetResult const& r, Device d) {
        return r.busy_ns[static_cast<std::size_t>(d)];
    };
    for (auto const tier : kTiers) {
        auto const r = serve_all(setup_for(tier), costs, users, arrivals);
        std::uint64_t const hits = found(r, tier);
        EXPECT_GE(hits, n - 1000);
        EXPECT_EQ(r.batches, n) << "batches of one";
        EXPECT_EQ(busy(r, Device::gpu), (2 * hits + 3 * (n - hits)) * kStage);
        bool const below = tier != Residence::hbm;
        EXPECT_EQ(busy(r, Device::link_in), below ? hits * kLink : 0U);
        EXPECT_EQ(busy(r, Device::link_out), below ? (n - hits) * kLink : 0U);
        EXPECT_EQ(busy(r, Device::nvme), tier == Residence::nvme ? hits * kFlash : 0U);
        EXPECT_EQ(r.link_entry_bytes, below ? hits * costs.entry_bytes(kEvents) : 0U);
        EXPECT_EQ(r.nvme_read_bytes,
                  tier == Residence::nvme ? hits * costs.entry_bytes(kEvents) : 0U);
    }
    // Batches of several do the same requests in less time: launches are shared.
    auto setup = setup_for(Residence::hbm);
    setup.batching.max_batch = 16;
    setup.batching.max_wait_us = 200.0;
    auto const batched = serve_all(setup, costs, users, arrivals);
    EXPECT_EQ(batched.served, n);
    EXPECT_LT(batched.batches, n / 8);
    EXPECT_GE(busy(batched, Device::gpu), 2 * batched.batches * kStage);
    EXPECT_LE(busy(batched, Device::gpu), 3 * batched.batches * kStage);
}

template <class T>
std::uint64_t sum_of(T const& list) {
    return std::accumulate(list.begin(), list.end(), std::uint64_t{0});
}

void expect_conserved(FleetResult const& r, FleetParams const& params) {
    EXPECT_EQ(sum_of(r.found), r.offered - r.shed) << "hits and misses are what was not shed";
    EXPECT_EQ(r.served, r.offered - r.shed) << "every request that was taken is answered";
    EXPECT_LE(r.good, r.served);
    EXPECT_LE(r.abandoned, found(r, Residence::none));
    double const expected = params.traffic.requests_per_second * params.traffic.duration_s;
    EXPECT_NEAR(static_cast<double>(r.offered + r.warmup_requests), expected,
                5.0 * std::sqrt(expected));
    PartCounts all, measured;
    for (std::size_t b = 0; b < kSeriesBins; ++b) {
        auto const& bin = r.series[b];
        EXPECT_LE(bin.hbm_hits, bin.hits);
        EXPECT_LE(bin.hits + bin.shed, bin.requests);
        for (auto* sum : {&all, &measured}) {
            if (sum == &measured && b < kSeriesBins / 4) continue;  // the warm-up is a quarter
            sum->requests += bin.requests;
            sum->hbm_hits += bin.hbm_hits;
            sum->hits += bin.hits;
            sum->shed += bin.shed;
            sum->good += bin.good;
        }
    }
    EXPECT_EQ(all.requests, r.offered + r.warmup_requests);
    EXPECT_EQ(measured.requests, r.offered);
    EXPECT_EQ(measured.shed, r.shed);
    EXPECT_EQ(measured.good, r.good);
    EXPECT_EQ(measured.hbm_hits, found(r, Residence::hbm));
    EXPECT_EQ(measured.hits, r.served - found(r, Residence::none));
    for (std::size_t s = 0; s < kFleetStages; ++s)
        EXPECT_EQ(r.latency[s].count(), r.served) << to_string(static_cast<FleetStage>(s));
    double parts = 0.0;
    for (std::size_t s = 0; s + 1 < kFleetStages; ++s)
        parts += mean_ns(r, static_cast<FleetStage>(s));
    EXPECT_NEAR(parts, mean_ns(r, FleetStage::total), 1e-6 * parts) << "stages make up the total";
    for (std::size_t t = 1; t < kResidences; ++t) EXPECT_LE(r.used_bytes[t], r.capacity_bytes[t]);
}

TEST(FleetConservation, HitsAndMissesAreWhatWasNotShedUnderEveryPolicyAndRouting) {
    auto const costs = plain_costs();
    std::uint64_t shed = 0;
    std::array<std::uint64_t, kResidences> seen{};
    std::uint64_t abandoned = 0;
    for (auto const policy :
         {EvictionPolicy::lru, EvictionPolicy::fifo, EvictionPolicy::clock, EvictionPolicy::sieve,
          EvictionPolicy::s3_fifo, EvictionPolicy::w_tiny_lfu}) {
        for (auto const routing : testing_support::kRoutingKinds) {
            for (int const variant : {0, 1, 2}) {
                SCOPED_TRACE(to_string(policy) + ", " + to_string(routing) + ", variant " +
                             std::to_string(variant));
                auto params = busy_fleet();
                params.routing = {.kind = routing, .window_ms = 2.0, .slack = 0.0, .spill_ms = 0.3};
                auto setup = busy_setup();
                setup.tiers.policy = policy;
                setup.tiers.inclusive = variant == 1;
                if (variant == 2) setup.tiers.admission = Admission::second_visit;
                if (variant == 2) setup.tiers.ttl_s = 0.05;
                auto const r = run_fleet(params, setup, costs, {});
                expect_conserved(r, params);
                EXPECT_EQ(r.guests > 0, routing != RoutingKind::home);
                shed += r.shed;
                abandoned += r.abandoned;
                for (std::size_t t = 0; t < kResidences; ++t) seen[t] += r.found[t];
            }
        }
    }
    EXPECT_GT(shed, 1000U);
    EXPECT_GT(abandoned, 1000U);
    for (std::size_t t = 0; t < kResidences; ++t) EXPECT_GT(seen[t], 10000U) << "tier " << t;
}

}  // namespace
}  // namespace ckvsim::fleet
