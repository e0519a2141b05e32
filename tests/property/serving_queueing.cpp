// Closed forms and conservation laws of the simulated twin.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/hash.hpp"
#include "engine/serving.hpp"
#include "serving_fixtures.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::constant_platform;
using testing_support::PlainPopulation;
using testing_support::poisson_requests;
using testing_support::serving_arm;

constexpr double kService_ns = 1000.0;

ServingResult single_server(std::vector<workload::Request> const& requests, ServingArm const& arm,
                            std::vector<double> const& noise) {
    ServingRunParams params;
    params.node = {1 << 24, 0, 1, 0.0};
    return run_simulated(arm, constant_platform(arm, kService_ns, noise), params, {0}, {requests});
}
double mean_of(ServingResult const& r, Stage stage) {
    return r.latency[static_cast<std::size_t>(stage)].mean_ns();
}

TEST(Queueing, WaitingTimeOfMD1) {
    PlainPopulation const population(20);
    auto const arm = serving_arm(population);
    for (double const load : {0.3, 0.6, 0.8}) {
        auto const requests = poisson_requests(population, 300'000, kService_ns / load, 21);
        auto const r = single_server(requests, arm, {1.0});
        double const expected = load * kService_ns / (2.0 * (1.0 - load));
        // 300,000 requests; the wait's correlation time is about 1 / (1 - load)^2 services, so the
        // standard error stays below 1.5 % at these loads.
        EXPECT_NEAR(mean_of(r, Stage::queue), expected, 0.05 * expected) << "load " << load;
        EXPECT_EQ(r.busy_ns, 300'000 * 1000LL) << "work is conserved";
    }
}

TEST(Queueing, WaitingTimeOfMG1FollowsPollaczekKhinchine) {
    PlainPopulation const population(20);
    auto const arm = serving_arm(population);
    // Quantiles of an exponential with mean 1: close to M/M/1; its moments as interpolated.
    std::vector<double> noise;
    constexpr int kCells = 2000;
    for (int q = 0; q <= kCells; ++q)
        noise.push_back(-std::log1p(-std::min(q / double{kCells}, 1.0 - 0.5 / kCells)));
    double first = 0.0;
    double second = 0.0;
    for (int q = 0; q < kCells; ++q) {
        double const a = noise[q];
        double const b = noise[q + 1];
        first += (a + b) / 2.0 / kCells;
        second += (a * a + a * b + b * b) / 3.0 / kCells;
    }
    EXPECT_NEAR(first, 1.0, 0.01);
    EXPECT_NEAR(second, 2.0, 0.05);
    for (double const load : {0.3, 0.6}) {
        double const gap_ns = kService_ns * first / load;
        auto const requests = poisson_requests(population, 400'000, gap_ns, 22);
        auto const r = single_server(requests, arm, noise);
        double const expected = second * kService_ns * kService_ns / gap_ns / (2.0 * (1.0 - load));
        EXPECT_NEAR(mean_of(r, Stage::queue), expected, 0.05 * expected) << "load " << load;
        EXPECT_NEAR(mean_of(r, Stage::decode), first * kService_ns, 0.01 * kService_ns);
    }
}

/// Completion times of batches of one in order of arrival (Lindley's recursion).
std::vector<Nanoseconds> lindley(std::vector<workload::Request> const& requests) {
    std::vector<Nanoseconds> ends;
    Nanoseconds free_ns = 0;
    for (auto const& request : requests) {
        free_ns = std::max(free_ns, request.intended_start_ns) + Nanoseconds{1000};
        ends.push_back(free_ns);
    }
    return ends;
}

TEST(Queueing, EveryCompletionTimeEqualsLindleysRecursion) {
    PlainPopulation const population(20);
    auto const arm = serving_arm(population);
    auto const requests = poisson_requests(population, 20'000, 1300.0, 23);
    auto const ends = lindley(requests);
    UnorderedHash expected;
    std::vector<bool> seen(20, false);
    for (std::size_t i = 0; i < requests.size(); ++i) {
        // Outcome 2 = miss, 0 = HBM hit; everything fits.
        std::uint64_t const outcome = seen[requests[i].user] ? 0 : 2;
        seen[requests[i].user] = true;
        expected.add(requests[i].sequence, static_cast<std::uint64_t>(ends[i]) << 2 | outcome);
    }
    EXPECT_EQ(single_server(requests, arm, {1.0}).decision_hash, expected.value());
}

TEST(Queueing, LittlesLaw) {
    PlainPopulation const population(20);
    auto const arm = serving_arm(population);
    auto const requests = poisson_requests(population, 20'000, 1300.0, 24);
    // Time average of the number in the system, by sweeping arrivals and departures.
    std::vector<std::pair<Nanoseconds, int>> events;
    for (auto const& request : requests) events.push_back({request.intended_start_ns, 1});
    for (auto const end : lindley(requests)) events.push_back({end, -1});
    std::sort(events.begin(), events.end());
    double area = 0.0;
    double inside = 0.0;
    for (std::size_t i = 0; i + 1 < events.size(); ++i) {
        inside += events[i].second;
        area += inside * static_cast<double>(events[i + 1].first - events[i].first);
    }
    auto const r = single_server(requests, arm, {1.0});
    double const span = static_cast<double>(r.span_ns);
    double const rate = static_cast<double>(r.requests) / span;
    EXPECT_EQ(events.back().first - events.front().first, r.span_ns);
    EXPECT_NEAR(area / span, rate * mean_of(r, Stage::total), 1e-9 * area / span);
}

}  // namespace
}  // namespace ckvsim::engine
