#include <gtest/gtest.h>

#include "core/error.hpp"
#include "engine/serving.hpp"
#include "serving_fixtures.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::constant_platform;
using testing_support::PlainPopulation;
using testing_support::poisson_requests;
using testing_support::serving_arm;

std::uint64_t count(ServingResult const& r, Stage stage) {
    return r.latency[static_cast<std::size_t>(stage)].count();
}
double mean(ServingResult const& r, Stage stage) {
    return r.latency[static_cast<std::size_t>(stage)].mean_ns();
}

ServingRunParams params_of(std::uint64_t hbm, std::uint64_t dram, std::uint32_t max_batch = 4,
                           double max_wait_us = 1.0) {
    ServingRunParams params;
    params.node = {hbm, dram, max_batch, max_wait_us};
    return params;
}

/// Costs of every stage, with a grid that looks at tokens and candidates.
node::Platform rich_platform(ServingArm const& arm) {
    auto platform = constant_platform(arm, 0.0);
    auto& costs = platform.costs[arm.cost_key];
    node::CostGrid grid;
    grid.tokens = {0, 40};
    grid.candidates = {1, 8};
    grid.mean_ns = {100, 800, 500, 4000};
    grid.batch_overhead_ns = 50;
    grid.noise_quantiles = {0.5, 0.9, 1.6};
    for (char const* stage : {"fetch", "prefill", "decode", "score", "host"}) costs[stage] = grid;
    return platform;
}

void expect_consistent(ServingResult const& r, std::uint64_t requests) {
    EXPECT_EQ(r.requests + r.warmup_requests, requests);
    EXPECT_EQ(r.hbm_hits + r.dram_hits + r.misses, r.requests);
    double sum = 0.0;
    for (std::size_t s = 0; s < kStages; ++s) {
        auto const stage = static_cast<Stage>(s);
        EXPECT_EQ(count(r, stage), r.requests);
        if (stage != Stage::total) sum += mean(r, stage);
    }
    if (r.requests > 0) {
        EXPECT_NEAR(sum, mean(r, Stage::total), 1e-9 * sum);
        EXPECT_LE(r.busy_ns, r.span_ns);
    }
}

TEST(SimulatedTwin, StagesAddUpAndEveryRequestIsHitOrMiss) {
    PlainPopulation const population(200);
    auto const arm = serving_arm(population);
    auto const requests = poisson_requests(population, 3000, 4000.0, 1);
    for (bool const overlap : {false, true}) {
        auto platform = rich_platform(arm);
        platform.fetch_overlaps_decode = overlap;
        auto const r = run_simulated(arm, platform, params_of(100'000, 60'000), {0}, {requests});
        expect_consistent(r, requests.size());
        EXPECT_GT(r.hbm_hits, 0U);
        EXPECT_GT(r.dram_hits, 0U);
        EXPECT_GT(r.evictions, 0U);
        EXPECT_GT(r.fetched_bytes, 0U);
        EXPECT_EQ(r.rejected, 0U);
    }
}

TEST(SimulatedTwin, OneRequestTakesExactlyItsCosts) {
    PlainPopulation const population(10);
    auto const arm = serving_arm(population);
    auto platform = constant_platform(arm, 700.0);
    auto& costs = platform.costs[arm.cost_key];
    costs["prefill"].mean_ns = {300.0};
    costs["score"].mean_ns = {40.0};
    costs["host"].mean_ns = {5.0};
    auto requests = poisson_requests(population, 1, 1000.0, 1);
    auto const r = run_simulated(arm, platform, params_of(1 << 20, 0, 8, 2.0), {0}, {requests});
    EXPECT_DOUBLE_EQ(mean(r, Stage::queue), 2000.0) << "the batch waits for more";
    EXPECT_DOUBLE_EQ(mean(r, Stage::prefill), 300.0);
    EXPECT_DOUBLE_EQ(mean(r, Stage::decode), 700.0);
    EXPECT_DOUBLE_EQ(mean(r, Stage::total), 2000.0 + 300 + 700 + 40 + 5);
    EXPECT_EQ(r.span_ns, 3045);
    EXPECT_EQ(r.busy_ns, 1045);
}

TEST(SimulatedTwin, WorkersShareABatchAndTheLastOneRunsAlone) {
    PlainPopulation const population(10);
    auto const arm = serving_arm(population);
    auto platform = constant_platform(arm, 1000.0);
    platform.workers = 2;
    auto& costs = platform.costs[arm.cost_key];
    costs["decode"].batch_overhead_ns = 10.0;
    costs["decode_alone"] = costs["decode"];
    costs["decode_alone"].mean_ns = {800.0};
    auto requests = poisson_requests(population, 3, 0.001, 1);  // all at once
    auto const r = run_simulated(arm, platform, params_of(1 << 20, 0, 3, 0.0), {0}, {requests});
    EXPECT_DOUBLE_EQ(mean(r, Stage::decode), 1000.0 + 800.0 + 10.0);
    requests.resize(1);
    auto const one = run_simulated(arm, platform, params_of(1 << 20, 0, 3, 0.0), {0}, {requests});
    EXPECT_DOUBLE_EQ(mean(one, Stage::decode), 800.0) << "nothing to join";
}

TEST(SimulatedTwin, OverlapHidesFetchesBehindTheServer) {
    PlainPopulation const population(60);
    auto const arm = serving_arm(population);
    auto platform = constant_platform(arm, 1000.0);
    platform.costs[arm.cost_key]["fetch"].mean_ns = {900.0};
    auto const requests = poisson_requests(population, 4000, 1500.0, 3);
    // No HBM cache: everything is streamed from DRAM.
    auto const params = params_of(0, 1 << 24, 1, 0.0);
    auto const serial = run_simulated(arm, platform, params, {0}, {requests});
    platform.fetch_overlaps_decode = true;
    auto const overlapped = run_simulated(arm, platform, params, {0}, {requests});
    EXPECT_EQ(serial.dram_hits, overlapped.dram_hits);
    EXPECT_GT(mean(serial, Stage::total), 2 * mean(overlapped, Stage::total))
        << "1.9 us of work every 1.5 us cannot be served one after the other";
    EXPECT_LT(overlapped.busy_ns, serial.busy_ns);
}

TEST(SimulatedTwin, WarmUpIsServedButNotMeasured) {
    PlainPopulation const population(50);
    auto const arm = serving_arm(population);
    auto const platform = constant_platform(arm, 100.0);
    auto const requests = poisson_requests(population, 2000, 1000.0, 5);
    auto params = params_of(1 << 24, 0);
    auto const cold = run_simulated(arm, platform, params, {0}, {requests});
    params.warmup_s = 1e-3;
    auto const warm = run_simulated(arm, platform, params, {0}, {requests});
    std::uint64_t before = 0;
    for (auto const& request : requests) before += request.intended_start_ns < 1'000'000 ? 1 : 0;
    ASSERT_GT(before, 500U);
    EXPECT_EQ(warm.warmup_requests, before);
    expect_consistent(warm, requests.size());
    EXPECT_EQ(warm.misses, 0U) << "the warm-up loaded every user";
    EXPECT_GT(cold.misses, 0U);
    EXPECT_LT(warm.span_ns, cold.span_ns);
    EXPECT_EQ(warm.decision_hash, cold.decision_hash) << "decisions do not depend on measuring";
}

TEST(SimulatedTwin, ZeroRequestsZeroCapacitiesAndZeroTokensWork) {
    PlainPopulation const population(50);
    auto const arm = serving_arm(population);
    auto const platform = constant_platform(arm, 100.0);
    auto const none = run_simulated(arm, platform, params_of(1 << 20, 0), {0, 1}, {{}, {}});
    EXPECT_EQ(none.requests, 0U);
    EXPECT_EQ(none.span_ns, 0);
    auto requests = poisson_requests(population, 500, 1000.0, 5);
    for (auto& request : requests) request.tokens = 0;
    expect_consistent(run_simulated(arm, platform, params_of(1 << 20, 0), {0}, {requests}), 500);
    auto const uncached = run_simulated(arm, platform, params_of(0, 0), {0}, {requests});
    EXPECT_EQ(uncached.misses, 500U);
    EXPECT_EQ(uncached.rejected, 500U);
}

TEST(SimulatedTwin, RecomputeKeepsNothing) {
    PlainPopulation const population(50);
    auto const arm = serving_arm(population, kv::StrategyKind::recompute);
    EXPECT_FALSE(arm.cached_in_tiers);
    auto const requests = poisson_requests(population, 500, 1000.0, 5);
    auto const r = run_simulated(arm, constant_platform(arm, 100.0), params_of(1 << 24, 1 << 24),
                                 {0}, {requests});
    EXPECT_EQ(r.misses, 500U);
    EXPECT_EQ(r.rejected, 0U) << "nothing was to be cached";
    std::uint64_t tokens = 0;
    for (auto const& request : requests) tokens += request.tokens;
    EXPECT_EQ(r.prefilled_tokens, tokens);
}

TEST(SimulatedTwin, SharedTablesTakeRoomInHbm) {
    PlainPopulation const population(200);
    auto arm = serving_arm(population);
    auto const platform = constant_platform(arm, 100.0);
    auto const requests = poisson_requests(population, 3000, 1000.0, 5);
    auto const params = params_of(60'000, 0);
    auto const without = run_simulated(arm, platform, params, {0}, {requests});
    arm.shared_bytes = 40'000;
    auto const with = run_simulated(arm, platform, params, {0}, {requests});
    EXPECT_LT(with.hbm_hits, without.hbm_hits);
    arm.shared_bytes = 70'000;
    EXPECT_EQ(run_simulated(arm, platform, params, {0}, {requests}).hbm_hits, 0U);
}

TEST(SimulatedTwin, AMeasuredPlatformWithoutCostsIsRefused) {
    PlainPopulation const population(5);
    auto arm = serving_arm(population);
    auto const platform = constant_platform(arm, 100.0);
    auto const requests = poisson_requests(population, 5, 1000.0, 5);
    arm.cost_key += "/other";
    EXPECT_THROW(run_simulated(arm, platform, params_of(0, 0), {0}, {requests}), DataError);
}

TEST(SimulatedTwin, UnsortedRequestsAreADefect) {
    PlainPopulation const population(5);
    auto const arm = serving_arm(population);
    auto requests = poisson_requests(population, 5, 1000.0, 5);
    std::swap(requests[1], requests[3]);
    EXPECT_THROW(run_simulated(arm, constant_platform(arm, 1.0), params_of(0, 0), {0}, {requests}),
                 InternalError);
}

TEST(NominalPlatform, TimeGrowsWithBytesAndFollowsTheSlowerResource) {
    PlainPopulation const population(20);
    auto const requests = poisson_requests(population, 200, 1e6, 5);
    node::Platform platform;
    platform.gpus = 1;
    platform.batch_overhead_ns = 0.0;
    platform.hbm_bytes_per_s = 1e9;  // bytes decide
    double before = 0.0;
    for (auto const type : {kv::ValueType::fp16, kv::ValueType::fp32}) {
        kv::StrategyParams strategy;
        strategy.value_type = type;
        auto arm = make_serving_arm("full", testing_support::serving_shape(), {}, strategy,
                                    population.catalogue(), 1);
        auto const r = run_simulated(arm, platform, params_of(1 << 26, 0), {0}, {requests});
        EXPECT_GT(mean(r, Stage::decode), before);
        before = mean(r, Stage::decode);
    }
    auto const arm = serving_arm(population);
    auto const params = params_of(0, 1 << 26);
    auto const slow_link = [&](double rate) {
        platform.link_bytes_per_s = rate;
        return mean(run_simulated(arm, platform, params, {0}, {requests}), Stage::fetch);
    };
    EXPECT_GT(slow_link(1e8), 2 * slow_link(1e9));
    platform.flops_per_s = 1e6;  // now flops decide: storage width cannot matter
    auto const decode_at = [&](double bandwidth) {
        platform.hbm_bytes_per_s = bandwidth;
        return mean(run_simulated(arm, platform, params, {0}, {requests}), Stage::decode);
    };
    EXPECT_DOUBLE_EQ(decode_at(1e12), decode_at(1e13));
}

}  // namespace
}  // namespace ckvsim::engine
