// A node with a sample of its users hits like the whole node: users and tiers divided by the same
// factor, against all users, over seeds. The tolerance is the runs' own standard error.
#include <gtest/gtest.h>

#include "core/rng.hpp"
#include "fleet/plan_sample.hpp"
#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::Estimate;
using testing_support::estimate;
using testing_support::found;
using testing_support::plain_costs;
using testing_support::plain_setup;

constexpr int kSeeds = 12;
/// With the 22 degrees of freedom of two times 12 seeds, 4.5 standard errors are exceeded by
/// chance once in 5,000 comparisons.
constexpr double kErrors = 4.5;

struct Shares {
    std::array<Estimate, kResidences> found;
    Estimate written_down;  ///< bytes a request
};

Shares shares_of(FleetParams params, NodeSetup const& setup, ServingCosts const& costs) {
    std::array<std::vector<double>, kResidences> runs;
    std::vector<double> written;
    for (int s = 1; s <= kSeeds; ++s) {
        // Neighbouring seeds would only swap neighbouring users' histories.
        params.seed = mix64(static_cast<std::uint64_t>(s));
        auto const r = run_fleet(params, setup, costs, {});
        auto const offered = static_cast<double>(r.offered);
        for (std::size_t t = 0; t < kResidences; ++t)
            runs[t].push_back(static_cast<double>(r.found[t]) / offered);
        written.push_back(static_cast<double>(r.write_back_bytes) / offered);
    }
    Shares shares;
    for (std::size_t t = 0; t < kResidences; ++t) shares.found[t] = estimate(runs[t]);
    shares.written_down = estimate(written);
    return shares;
}

void expect_alike(Estimate const& sampled, Estimate const& full, double bias, char const* what) {
    double const error = std::hypot(sampled.error, full.error);
    EXPECT_NEAR(sampled.mean, full.mean, kErrors * error + bias) << what;
    EXPECT_LT(error, 0.02 * std::max(full.mean, 0.1)) << what << ": too noisy to see a difference";
}

class Sampling : public testing::TestWithParam<std::tuple<EvictionPolicy, double>> {};

TEST_P(Sampling, HitsLikeTheWholeNode) {
    auto const [policy, revisits] = GetParam();
    auto const costs = plain_costs();
    FleetParams params;
    params.users = 60'000;
    params.nodes = 1;
    params.activity = {.sigma = 1.0, .classes = 24};
    params.history = {.median = 16.0, .sigma = 0.6};
    params.traffic.revisit_probability = revisits;
    params.traffic.events_per_request = 0.0;  // growth: the next test
    params.traffic.requests_per_second = 60'000.0;
    auto setup = plain_setup(10.0);
    setup.gpus = 2;
    setup.tiers.policy = policy;
    double const bytes = 60'000.0 * 640.0;
    setup.tiers.hbm_bytes = static_cast<std::uint64_t>(bytes * 0.05);
    setup.tiers.dram_bytes = static_cast<std::uint64_t>(bytes * 0.2);
    setup.tiers.nvme_bytes = static_cast<std::uint64_t>(bytes * 0.3);

    auto const sampled = sample_node(
        params, setup, 640.0, {.users = 7500, .entries = 256, .requests = 20'000}, 0.25, 0.0);
    ASSERT_NEAR(sampled.factor, 8.0, 1e-9);
    params.traffic.duration_s = 20'000 / params.traffic.requests_per_second;
    params.warmup_s = 0.25 * params.traffic.duration_s;

    auto const small = shares_of(sampled.params, sampled.setup, costs);
    auto const full = shares_of(params, setup, costs);
    for (std::size_t t = 0; t < kResidences; ++t)
        expect_alike(small.found[t], full.found[t], 0.0, "found");
    expect_alike(small.written_down, full.written_down, 0.0, "written down");
}

INSTANTIATE_TEST_SUITE_P(Policies, Sampling,
                         testing::Combine(testing::Values(EvictionPolicy::lru,
                                                          EvictionPolicy::fifo),
                                          testing::Values(0.0, 0.3)));

/// Histories grow faster in a sample, by its factor: the one thing that is not invariant. The work
/// of a request moves by no more than the formula of sim/docs/plan.md allows.
TEST(SamplingGrowth, StaysBelowItsBound) {
    auto const costs = plain_costs(1000);
    FleetParams params;
    params.users = 60'000;
    params.nodes = 1;
    params.activity = {.sigma = 1.0, .classes = 24};
    params.history = {.median = 200.0, .sigma = 0.5};
    params.traffic.events_per_request = 4.0;
    params.traffic.requests_per_second = 60'000.0;
    auto const setup = plain_setup(10.0);  // everything fits
    auto const sampled = sample_node(params, setup, 6400.0,
                                     {.users = 7500, .entries = 1, .requests = 20'000}, 0.0, 0.0);
    params.traffic.duration_s = 20'000 / params.traffic.requests_per_second;
    auto const mean_bytes = [&](FleetParams const& p, NodeSetup const& s) {
        auto const r = run_fleet(p, s, costs, {});
        return static_cast<double>(r.used_bytes[1]) / static_cast<double>(r.entries[1]);
    };
    double const grown = mean_bytes(sampled.params, sampled.setup) - mean_bytes(params, setup);
    // 20,000 requests add 4 events of 32 bytes each; over 7500 users instead of 60,000.
    double const expected = 20'000.0 * 4.0 * 32.0 * (1.0 / 7500.0 - 1.0 / 60'000.0);
    // Users' lengths differ between the two populations: cv 0.53 over the root of 7500 users.
    EXPECT_NEAR(grown, expected, 4.5 * 0.53 * 7250.0 / std::sqrt(7500.0));
    EXPECT_GT(grown, 0.0);
}

}  // namespace
}  // namespace ckvsim::fleet
