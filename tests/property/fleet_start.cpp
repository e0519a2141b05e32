// The stationary start against what it stands for: a long run from empty tiers; and the formulas it
// rests on (Che, Tung and Wang 2002 for LRU, their relative for FIFO) against such runs.
#include <gtest/gtest.h>

#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::found;
using testing_support::plain_costs;
using testing_support::plain_setup;

/// Two nodes, GPU and host memory; `users` with entries of 32 bytes an event in whole cache lines.
struct Fleet {
    ServingCosts costs = plain_costs();
    NodeSetup setup = plain_setup(10.0);
    FleetParams params;

    Fleet(std::uint64_t users, EvictionPolicy policy, double hbm_share, double dram_share) {
        params.users = users;
        params.nodes = 2;
        params.activity = {.sigma = 1.0, .classes = 24};
        params.history = {.median = 16.0, .sigma = 0.6};
        params.traffic.revisit_probability = 0.0;
        params.traffic.events_per_request = 0.0;
        params.traffic.requests_per_second = static_cast<double>(users);  // one a second and user
        setup.gpus = 2;
        setup.tiers.policy = policy;
        double const bytes = mean_bytes() * static_cast<double>(users) / params.nodes;
        setup.tiers.hbm_bytes = static_cast<std::uint64_t>(bytes * hbm_share / setup.gpus);
        setup.tiers.dram_bytes = static_cast<std::uint64_t>(bytes * dram_share);
    }
    [[nodiscard]] FleetUsers all_users() const {
        return {params.users, params.nodes, params.activity, params.history, params.seed};
    }
    [[nodiscard]] double mean_bytes() const {
        return all_users().mean_over_lengths([&](std::uint32_t events) {
            return static_cast<double>(
                costs.entry_bytes(std::min(events, costs.max_interactions())));
        });
    }
    /// `warmup` and `measured` in requests per user.
    [[nodiscard]] FleetResult run(StartState start, double warmup, double measured) const {
        FleetParams p = params;
        p.start = start;
        p.warmup_s = warmup;
        p.traffic.duration_s = warmup + measured;
        return run_fleet(p, setup, costs, {});
    }
};

double share(FleetResult const& r, Residence tier) {
    return static_cast<double>(found(r, tier)) / static_cast<double>(r.offered);
}

/// Requests of a class over all, and its users' request rate.
struct Class {
    double users = 0.0;
    double rate = 0.0;
};
std::vector<Class> classes_of(Fleet const& fleet) {
    std::vector<Class> classes;
    auto const users = fleet.all_users();
    for (auto const& c : users.classes())
        classes.push_back({static_cast<double>(c.end - c.first), c.relative_rate});
    return classes;
}

/// Time at which a rising function reaches its target.
template <class F>
double time_of(F&& f, double target) {
    double low = 0.0;
    double high = 1e6;
    for (int i = 0; i < 200; ++i) {
        double const middle = 0.5 * (low + high);
        (f(middle) < target ? low : high) = middle;
    }
    return low;
}

/// Shares of requests that find their entry in GPU and in host memory.
struct Prediction {
    double hbm = 0.0;
    double dram = 0.0;
};
Prediction lru_prediction(Fleet const& fleet) {
    auto const classes = classes_of(fleet);
    std::vector<double> counts, rates;
    for (auto const& c : classes) {
        counts.push_back(c.users / fleet.params.nodes);
        rates.push_back(c.rate);
    }
    auto const hbm = static_cast<double>(fleet.setup.tiers.hbm_bytes * fleet.setup.gpus);
    double const both = hbm + static_cast<double>(fleet.setup.tiers.dram_bytes);
    auto const times = characteristic_times(counts, rates, fleet.mean_bytes(), {hbm, both, both});
    auto const hits = [&](double time) {
        double sum = 0.0;
        double all = 0.0;
        for (auto const& c : classes) {
            sum += c.users * c.rate * -std::expm1(-c.rate * time);
            all += c.users * c.rate;
        }
        return sum / all;
    };
    return {hits(times[0]), hits(times[1]) - hits(times[0])};
}
/// FIFO: an entry stays T1 in GPU memory whatever happens, then at most T2 in host memory.
Prediction fifo_prediction(Fleet const& fleet) {
    auto const classes = classes_of(fleet);
    auto const mean = [&](bool by_requests, auto&& f) {
        double sum = 0.0;
        double all = 0.0;
        for (auto const& c : classes) {
            double const weight = by_requests ? c.users * c.rate : c.users;
            sum += weight * f(c.rate);
            all += weight;
        }
        return sum / all;
    };
    double const bytes =
        fleet.mean_bytes() * static_cast<double>(fleet.params.users) / fleet.params.nodes;
    double const hbm = static_cast<double>(fleet.setup.tiers.hbm_bytes * fleet.setup.gpus) / bytes;
    double const dram = static_cast<double>(fleet.setup.tiers.dram_bytes) / bytes;
    auto const inside = [](double rate, double time) { return rate * time / (1.0 + rate * time); };
    double const t1 =
        time_of([&](double t) { return mean(false, [&](double r) { return inside(r, t); }); }, hbm);
    auto const below = [&](double rate, double t2) {
        return (1.0 - inside(rate, t1)) * -std::expm1(-rate * t2);
    };
    double const t2 =
        time_of([&](double t) { return mean(false, [&](double r) { return below(r, t); }); }, dram);
    return {mean(true, [&](double r) { return inside(r, t1); }),
            mean(true, [&](double r) { return below(r, t2); })};
}

TEST(FleetStart, LongColdRunsHitAsTheFixedPointsOfLruAndFifoSay) {
    for (std::uint64_t const users : {100'000ULL, 300'000ULL}) {
        for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::fifo}) {
            Fleet const fleet(users, policy, 0.1, 0.2);
            auto const r = fleet.run(StartState::cold, 5.0, 3.0);
            auto const predicted =
                policy == EvictionPolicy::lru ? lru_prediction(fleet) : fifo_prediction(fleet);
            std::printf("%s, %llu users: GPU memory %.4f (formula %.4f), host memory %.4f (%.4f)\n",
                        to_string(policy).c_str(), static_cast<unsigned long long>(users),
                        share(r, Residence::hbm), predicted.hbm, share(r, Residence::dram),
                        predicted.dram);
            // 300,000 requests or more: a standard error below 0.001; the formulas' own error and
            // entries that are not all of one size take the rest.
            EXPECT_NEAR(share(r, Residence::hbm), predicted.hbm, 0.004) << to_string(policy);
            EXPECT_NEAR(share(r, Residence::dram), predicted.dram, 0.004) << to_string(policy);
            EXPECT_GT(predicted.hbm, 0.1);
            EXPECT_GT(predicted.dram, 0.1);
        }
    }
}

/// How far a stationary start may be from the long cold run: share of requests that hit GPU memory
/// or any tier, in the measured time as a whole and in any tenth of it.
struct Bound {
    EvictionPolicy policy;
    double whole;
    double tenth;
};
// CLOCK and what follows start from LRU's state. CLOCK is at its own within the warm-up, the
// others are not.
constexpr std::array kBounds = {
    Bound{EvictionPolicy::lru, 0.003, 0.006},    Bound{EvictionPolicy::fifo, 0.003, 0.006},
    Bound{EvictionPolicy::clock, 0.003, 0.006},  Bound{EvictionPolicy::sieve, 0.035, 0.06},
    Bound{EvictionPolicy::s3_fifo, 0.035, 0.07}, Bound{EvictionPolicy::w_tiny_lfu, 0.075, 0.1}};

/// Hit ratios of a part of the series: GPU memory, any tier.
std::array<double, 2> hits_of(FleetResult const& r, std::size_t from, std::size_t to) {
    double hbm = 0.0;
    double any = 0.0;
    double all = 0.0;
    for (std::size_t b = from; b < to; ++b) {
        hbm += static_cast<double>(r.series[b].hbm_hits);
        any += static_cast<double>(r.series[b].hits);
        all += static_cast<double>(r.series[b].requests);
    }
    return {hbm / all, any / all};
}

TEST(FleetStart, StationaryStartsHitAsLongColdRuns) {
    constexpr std::uint64_t kUsers = 1'000'000;
    constexpr double kWarmup = 0.2;  // a million requests, a fifth of them warm-up: the defaults
    constexpr double kMeasured = 0.8;
    constexpr double kColdWarmup = 4.0;
    std::printf(
        "| policy | cold: GPU | cold: any | start: GPU | start: any | error: GPU | "
        "error: any | worst tenth | requests per user |\n");
    std::printf("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (auto const& bound : kBounds) {
        Fleet const fleet(kUsers, bound.policy, 0.05, 0.15);
        auto const cold = fleet.run(StartState::cold, kColdWarmup, kMeasured);
        auto const start = fleet.run(StartState::stationary, kWarmup, kMeasured);
        auto const first =
            static_cast<std::size_t>(kColdWarmup / (kColdWarmup + kMeasured) * kSeriesBins + 0.5);
        auto const truth = hits_of(cold, first, kSeriesBins);
        auto const got = hits_of(start, 12, kSeriesBins);
        double worst = 0.0;
        for (std::size_t b = 12; b < kSeriesBins; b += 6) {
            auto const part = hits_of(start, b, std::min(b + 6, kSeriesBins));
            for (std::size_t i = 0; i < 2; ++i) {
                worst = std::max(worst, std::abs(part[i] - truth[i]));
            }
        }
        std::printf("| `%s` | %.4f | %.4f | %.4f | %.4f | %+.4f | %+.4f | %.4f | %.2f |\n",
                    to_string(bound.policy).c_str(), truth[0], truth[1], got[0], got[1],
                    got[0] - truth[0], got[1] - truth[1], worst,
                    static_cast<double>(start.offered + start.warmup_requests) /
                        static_cast<double>(start.simulated_users));
        std::fflush(stdout);
        EXPECT_NEAR(got[0], truth[0], bound.whole) << to_string(bound.policy);
        EXPECT_NEAR(got[1], truth[1], bound.whole) << to_string(bound.policy);
        EXPECT_LT(worst, bound.tenth) << to_string(bound.policy);
        EXPECT_GT(truth[0], 0.05);
        EXPECT_GT(truth[1], truth[0] + 0.05) << "two tiers to compare";
        // What a run without it would say.
        EXPECT_LT(hits_of(cold, 0, 3)[1], truth[1] - 0.1) << to_string(bound.policy);
    }
}

}  // namespace
}  // namespace ckvsim::fleet
