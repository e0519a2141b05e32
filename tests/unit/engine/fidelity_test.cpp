#include "engine/fidelity.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.hpp"

namespace ckvsim::engine {
namespace {

/// `requests` answers of `latency_ns`, half of them hits, over a second.
ServingResult result_of(std::uint64_t requests, Nanoseconds latency_ns, std::uint64_t hits) {
    ServingResult r;
    r.requests = requests;
    r.hbm_hits = hits;
    r.misses = requests - hits;
    r.span_ns = 1'000'000'000;
    for (std::uint64_t i = 0; i < requests; ++i)
        r.latency[static_cast<std::size_t>(Stage::total)].add(latency_ns);
    return r;
}

FidelityLine line_of(std::vector<FidelityLine> const& lines, std::string const& metric) {
    for (auto const& line : lines)
        if (line.metric == metric) return line;
    ADD_FAILURE() << metric;
    return {};
}

TEST(CompareTwins, ErrorsAndBoundsByHand) {
    std::vector<ServingResult> const executed = {result_of(2000, 1000, 1000),
                                                 result_of(2000, 1100, 1010)};
    auto const lines = compare_twins(executed, result_of(2000, 1260, 1020));
    ASSERT_EQ(lines.size(), 5U);
    auto const mean = line_of(lines, "mean_ns");
    EXPECT_DOUBLE_EQ(mean.executed, 1050.0);
    EXPECT_DOUBLE_EQ(mean.repeat_error, 100.0 / 1050.0);
    EXPECT_DOUBLE_EQ(mean.error, 210.0 / 1050.0);
    EXPECT_DOUBLE_EQ(mean.bound, 150.0 / 1050.0) << "1.5 times the repeat error is above 3 %";
    EXPECT_EQ(mean.verdict, FidelityVerdict::outside);
    auto const hits = line_of(lines, "hit_ratio");
    EXPECT_NEAR(hits.executed, 0.5025, 1e-12);
    EXPECT_NEAR(hits.error, 0.0075, 1e-12) << "in points";
    EXPECT_NEAR(hits.bound, 0.0075, 1e-12);
    EXPECT_EQ(line_of(lines, "throughput_per_s").verdict, FidelityVerdict::within);
}

TEST(CompareTwins, TargetsHoldWhereRepeatsAgree) {
    std::vector<ServingResult> const executed = {result_of(2000, 100'000, 1000),
                                                 result_of(2000, 100'000, 1000)};
    auto const near = compare_twins(executed, result_of(2000, 102'900, 1009));
    EXPECT_EQ(line_of(near, "mean_ns").verdict, FidelityVerdict::within);
    EXPECT_EQ(line_of(near, "hit_ratio").verdict, FidelityVerdict::within);
    auto const far = compare_twins(executed, result_of(2000, 103'100, 1011));
    EXPECT_EQ(line_of(far, "mean_ns").verdict, FidelityVerdict::outside);
    EXPECT_EQ(line_of(far, "p99_ns").verdict, FidelityVerdict::within) << "5 %";
    EXPECT_EQ(line_of(far, "hit_ratio").verdict, FidelityVerdict::outside);
}

TEST(CompareTwins, ThreePassesCountEveryPair) {
    std::vector<ServingResult> const executed = {result_of(2000, 1000, 0), result_of(2000, 1000, 0),
                                                 result_of(2000, 1300, 0)};
    auto const mean = line_of(compare_twins(executed, executed[0]), "mean_ns");
    EXPECT_DOUBLE_EQ(mean.executed, 1100.0);
    EXPECT_DOUBLE_EQ(mean.repeat_error, 200.0 / 1100.0) << "(0 + 300 + 300) / 3";
}

TEST(CompareTwins, PercentilesWithoutSamplesAreNotJudged) {
    std::vector<ServingResult> const executed = {result_of(100, 1000, 0), result_of(100, 1000, 0)};
    auto const lines = compare_twins(executed, executed[0]);
    auto const p99 = line_of(lines, "p99_ns");
    EXPECT_EQ(p99.verdict, FidelityVerdict::insufficient);
    EXPECT_TRUE(std::isnan(p99.bound));
    EXPECT_EQ(line_of(lines, "mean_ns").verdict, FidelityVerdict::within);
}

TEST(CompareTwins, OnePassHasNoRepeatError) {
    std::vector<ServingResult> const executed = {result_of(100, 1000, 0)};
    EXPECT_THROW(compare_twins(executed, executed[0]), InternalError);
}

FidelityPoint point(std::string arm, double load, double mean_error, bool within) {
    FidelityPoint p;
    p.arm = std::move(arm);
    p.load = load;
    p.candidates = 16;
    p.max_tokens = 100;
    p.oversubscription = 4.0;
    FidelityLine line;
    line.metric = "mean_ns";
    line.error = mean_error;
    line.verdict = within ? FidelityVerdict::within : FidelityVerdict::outside;
    p.lines = {line};
    return p;
}

TEST(FidelityRegimes, CountsPointsOfEveryValueOfEveryAxis) {
    std::vector<FidelityPoint> const points = {point("full", 0.5, 0.01, true),
                                               point("full", 0.9, -0.30, false),
                                               point("collective", 0.5, 0.02, true)};
    auto const regimes = fidelity_regimes(points);
    ASSERT_EQ(regimes.size(), 2U + 2U + 1U + 1U + 1U);
    EXPECT_EQ(regimes[0].value, "full");
    EXPECT_EQ(regimes[0].points, 2U);
    EXPECT_EQ(regimes[0].held, 1U);
    EXPECT_DOUBLE_EQ(regimes[0].worst_mean_error, -0.30);
    EXPECT_TRUE(std::isnan(regimes[0].worst_p99_error));
    EXPECT_EQ(regimes[2].axis, "load");
    EXPECT_EQ(regimes[2].value, "0.5");
    EXPECT_EQ(regimes[2].held, 2U);
    EXPECT_EQ(regimes[3].held, 0U);
    EXPECT_EQ(regimes.back().axis, "oversubscription");
    EXPECT_EQ(regimes.back().points, 3U);
}

TEST(FidelityPoints, HoldOnlyWhenSomethingWasJudged) {
    auto p = point("full", 0.5, 0.0, true);
    EXPECT_TRUE(p.holds());
    p.lines[0].verdict = FidelityVerdict::insufficient;
    EXPECT_FALSE(p.holds());
}

}  // namespace
}  // namespace ckvsim::engine
