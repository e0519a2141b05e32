#include "report/report_noise.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "report_rows.hpp"

namespace ckvsim::report {
namespace {

using metrics::Report;
using test::add_row;
using testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Report accuracy(double auc, double half_width, std::string const& arm = "full") {
    Report report;
    add_row(report, "accuracy",
            {{"arm", arm},
             {"auc", auc},
             {"auc_low", auc - half_width},
             {"auc_high", auc + half_width}});
    return report;
}

/// Mean latencies of the first and the second pass.
Report latency(double first, double second) {
    Report report;
    for (auto const& [pass, mean] : {std::pair{1, first}, std::pair{2, second}})
        if (!std::isnan(mean))
            add_row(report, "executed_latency",
                    {{"arm", "full"}, {"pass", pass}, {"stage", "total"}, {"mean_ns", mean}});
    return report;
}

TEST(ReportNoise, IntervalsThatOverlapAreNoise) {
    auto const within = beyond_noise(accuracy(0.70, 0.01), accuracy(0.715, 0.01));
    EXPECT_TRUE(within.changes.empty());
    EXPECT_EQ(within.within, 1U);
    auto const beyond = beyond_noise(accuracy(0.70, 0.01), accuracy(0.73, 0.01));
    ASSERT_EQ(beyond.changes.size(), 1U);
    auto const& change = beyond.changes[0];
    EXPECT_EQ(change.table, "accuracy");
    EXPECT_EQ(change.row, "arm = full, kind = ");
    EXPECT_EQ(change.column, "auc");
    EXPECT_EQ(change.judged_by, "interval");
    EXPECT_NEAR(change.relative, 0.73 / 0.70 - 1, 1e-12);
    EXPECT_THAT(change.left, HasSubstr("0.7 [0.69, 0.71]"));
}

TEST(ReportNoise, EqualExactValuesAreNoChange) {
    auto const same = beyond_noise(accuracy(0.70, 0.0), accuracy(0.70, 0.0));
    EXPECT_TRUE(same.empty());
    EXPECT_EQ(same.within, 1U);
    EXPECT_EQ(beyond_noise(accuracy(0.70, 0.0), accuracy(0.7001, 0.0)).changes.size(), 1U);
}

TEST(ReportNoise, WallClockIsJudgedByTheDifferenceOfTwoPasses) {
    // Passes differ by 10 %: 25 % above the nearer pass is beyond, 5 % above it is not.
    EXPECT_EQ(beyond_noise(latency(100, 110), latency(137, 140)).changes.size(), 1U);
    EXPECT_TRUE(beyond_noise(latency(100, 110), latency(115, 118)).empty());
    // The larger repeat difference of the two runs counts.
    EXPECT_TRUE(beyond_noise(latency(100, 101), latency(120, 150)).empty());
    auto const change = beyond_noise(latency(100, 102), latency(200, 201)).changes.at(0);
    EXPECT_EQ(change.judged_by, "repeat");
    EXPECT_EQ(change.row, "arm = full, stage = total");
    EXPECT_NEAR(change.relative, 200.5 / 101 - 1, 1e-12);
}

TEST(ReportNoise, SketchesResolveOnePercent) {
    EXPECT_TRUE(beyond_noise(latency(100, 100), latency(100.9, 100.9)).empty());
    EXPECT_EQ(beyond_noise(latency(100, 100), latency(101.2, 101.2)).changes.size(), 1U);
}

TEST(ReportNoise, WhatHasNoNoiseEstimateIsNotJudged) {
    auto const one_pass = beyond_noise(latency(100, kNaN), latency(300, 301));
    EXPECT_TRUE(one_pass.empty());
    EXPECT_GT(one_pass.not_judged, 0U);
    auto const no_interval = beyond_noise(accuracy(0.70, kNaN), accuracy(0.90, 0.01));
    EXPECT_TRUE(no_interval.empty());
    EXPECT_EQ(no_interval.within, 0U);
}

TEST(ReportNoise, AStrategyOnOneSideOnlyIsAChange) {
    auto const found = beyond_noise(accuracy(0.70, 0.01), accuracy(0.70, 0.01, "other"));
    ASSERT_EQ(found.changes.size(), 2U);
    EXPECT_EQ(found.changes[0].right, "missing");
    EXPECT_EQ(found.changes[1].left, "missing");
}

TEST(ReportNoise, NamesThatLookNumberedAreKeptApart) {
    Report left = accuracy(0.70, 0.01, "a #2");
    left.tables.at("accuracy").add_row(accuracy(0.80, 0.01, "a").tables.at("accuracy").rows()[0]);
    EXPECT_EQ(beyond_noise(left, left).within, 2U);
    EXPECT_EQ(beyond_noise(left, accuracy(0.70, 0.01, "a #2")).changes.size(), 1U);
}

TEST(ReportNoise, ATableThatOneReportLacksIsNotJudged) {
    auto const found = beyond_noise(latency(100, 101), Report{});
    EXPECT_TRUE(found.empty());
    EXPECT_EQ(found.not_judged, 2U);
}

TEST(ReportNoise, RendersChangesAndCounts) {
    auto const text = render(beyond_noise(accuracy(0.70, 0.01), accuracy(0.73, 0.01)));
    EXPECT_THAT(text, HasSubstr("interval"));
    EXPECT_THAT(text, HasSubstr("+4.3 %"));
    EXPECT_THAT(text, HasSubstr("1 measured quantities changed beyond noise"));
    EXPECT_THAT(render(beyond_noise(Report{}, Report{})),
                HasSubstr("0 measured quantities changed beyond noise"));
}

}  // namespace
}  // namespace ckvsim::report
