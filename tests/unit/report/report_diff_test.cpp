#include "report/report_diff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/spec_lines.hpp"
#include "report_rows.hpp"
#include "report_samples.hpp"

namespace ckvsim::report {
namespace {

using metrics::Report;
using test::add_row;
using testing::Contains;
using testing::HasSubstr;

/// The sample with one cell of the first matching row replaced.
Report with(Report report, std::string const& table, std::size_t row, std::string const& column,
            metrics::Cell value) {
    auto const old = report.tables.at(table);
    report.tables.erase(table);
    auto& fresh = report.table(table);
    fresh.attributes = old.attributes;
    for (std::size_t r = 0; r < old.rows().size(); ++r) {
        auto cells = old.rows()[r];
        for (std::size_t c = 0; c < cells.size(); ++c) {
            if (r == row && old.schema().columns[c].name == column) cells[c] = value;
        }
        fresh.add_row(cells);
    }
    return report;
}

ReportDiff against_sample(std::string const& table, std::string const& column, metrics::Cell value,
                          bool wall_clock = false) {
    auto const sample = test::sample_report();
    return diff(sample, with(sample, table, 1, column, std::move(value)), wall_clock);
}

TEST(ReportDiff, AReportEqualsItself) {
    auto const sample = test::sample_report();
    for (bool const wall_clock : {false, true}) {
        auto const same = diff(sample, sample, wall_clock);
        EXPECT_TRUE(same.empty()) << render(same);
        EXPECT_TRUE(same.information.empty());
        EXPECT_GT(same.compared, 100U);
    }
    EXPECT_GT(diff(sample, sample, false).not_compared, diff(sample, sample, true).not_compared);
    EXPECT_GT(diff(sample, sample, true).compared, diff(sample, sample, false).compared);
    EXPECT_THAT(render(diff(sample, sample, false)), HasSubstr("0 differences; "));
}

TEST(ReportDiff, NamesTableRowColumnValuesAndTolerance) {
    auto const found = against_sample("memory", "predicted_user_bytes", std::int64_t{102});
    ASSERT_EQ(found.differences.size(), 1U);
    auto const& d = found.differences[0];
    EXPECT_EQ(d.table, "memory");
    EXPECT_EQ(d.row, "arm = arm1");
    EXPECT_EQ(d.column, "predicted_user_bytes");
    EXPECT_EQ(d.left, "101");
    EXPECT_EQ(d.right, "102");
    EXPECT_NEAR(d.relative, 1.0 / 102, 1e-12);
    EXPECT_EQ(d.tolerance, 0.0);
    EXPECT_THAT(render(found), HasSubstr("arm = arm1"));
    EXPECT_THAT(render(found), HasSubstr("1 differences"));
}

TEST(ReportDiff, ToleranceIsRelativeToTheLargerValueAndIncluded) {
    // auc is 1.5 in the sample, its tolerance 1e-4.
    EXPECT_TRUE(against_sample("accuracy", "auc", 1.5 * (1 - 0.9e-4)).empty());
    EXPECT_FALSE(against_sample("accuracy", "auc", 1.5 * (1 - 1.1e-4)).empty());
    EXPECT_TRUE(against_sample("accuracy", "auc", 1.5 * (1 + 0.9e-4)).empty());
    EXPECT_FALSE(against_sample("accuracy", "auc", -1.5).empty());
    // Simulated latency is exact.
    EXPECT_FALSE(against_sample("simulated_latency", "p50_ns", std::nextafter(1.5, 2.0)).empty());
}

TEST(ReportDiff, NaNEqualsNaNAndNothingElse) {
    auto sample = test::sample_report();
    auto const gap = with(sample, "accuracy", 1, "auc", std::nan(""));
    EXPECT_TRUE(diff(gap, gap, false).empty());
    EXPECT_EQ(diff(gap, sample, false).differences.size(), 1U);
    EXPECT_EQ(diff(sample, gap, false).differences.size(), 1U);
    auto const infinite = with(sample, "accuracy", 1, "auc", HUGE_VAL);
    EXPECT_TRUE(diff(infinite, infinite, false).empty());
    EXPECT_FALSE(diff(infinite, sample, false).empty());
    EXPECT_FALSE(diff(infinite, with(sample, "accuracy", 1, "auc", -HUGE_VAL), false).empty());
    auto const zero = with(sample, "accuracy", 1, "auc", 0.0);
    EXPECT_TRUE(diff(zero, with(sample, "accuracy", 1, "auc", -0.0), false).empty());
}

TEST(ReportDiff, LargeIntegersAreNotRoundedTogether) {
    auto const sample = test::sample_report();
    std::int64_t const large = (std::int64_t{1} << 60);
    auto const a = with(sample, "memory", 1, "predicted_user_bytes", large);
    auto const b = with(sample, "memory", 1, "predicted_user_bytes", large + 1);
    EXPECT_EQ(diff(a, b, false).differences.size(), 1U);
}

TEST(ReportDiff, WallClockColumnsAreComparedOnlyWhenAsked) {
    EXPECT_TRUE(against_sample("executed_latency", "p50_ns", 9.0).empty());
    EXPECT_EQ(against_sample("executed_latency", "p50_ns", 9.0, true).differences.size(), 1U);
    EXPECT_TRUE(against_sample("executed_latency", "p50_ns", 1.5 * 1.25, true).empty());
    // Resident memory is noise but no wall clock; a derived error follows from what it is of.
    EXPECT_TRUE(against_sample("memory", "resident_user_bytes", 9.0, true).empty());
    EXPECT_TRUE(against_sample("fidelity", "error_relative", 9.0, true).empty());
}

TEST(ReportDiff, MissingRowsAndTables) {
    auto const sample = test::sample_report();
    auto less = sample;
    less.tables.erase("arms");
    less.tables.erase("executed_latency");
    less.tables.erase("oracle");
    add_row(less, "oracle", {{"metric", "oracle_auc"}});
    auto const found = diff(sample, less, false);
    bool table = false;
    std::size_t rows = 0;
    for (auto const& d : found.differences) {
        if (d.table == "arms") {
            table = d.row.empty() && d.left == "present" && d.right == "missing";
        }
        if (d.table == "oracle" && d.right == "missing") ++rows;
        EXPECT_NE(d.table, "executed_latency");
    }
    EXPECT_TRUE(table);
    EXPECT_EQ(rows, sample.tables.at("oracle").rows().size() - 1);
    EXPECT_THAT(found.information, Contains("table executed_latency is missing right"));
    EXPECT_GT(diff(sample, less, true).differences.size(), found.differences.size());
    auto const mirrored = diff(less, sample, false);
    EXPECT_EQ(mirrored.differences.size(), found.differences.size());
}

TEST(ReportDiff, RowsAreMatchedByKeyNotByPosition) {
    Report a;
    Report b;
    for (char const* metric : {"oracle_auc", "oracle_gauc"})
        add_row(a, "oracle", {{"metric", metric}, {"value", 0.5}});
    for (char const* metric : {"oracle_gauc", "oracle_auc"})
        add_row(b, "oracle", {{"metric", metric}, {"value", 0.5}});
    EXPECT_TRUE(diff(a, b, false).empty());
    add_row(a, "oracle", {{"metric", "oracle_auc"}, {"value", 0.5}});  // the key again
    auto const found = diff(a, b, false);
    ASSERT_EQ(found.differences.size(), 1U);
    EXPECT_EQ(found.differences[0].row, "metric = oracle_auc #2");
}

TEST(ReportDiff, HashesCountProvenanceAndSpecInform) {
    auto const sample = test::sample_report();
    auto other = sample;
    other.logical_hash = "00000000000000ff";
    other.provenance["commit"] = "1111";
    other.provenance.erase("empty");
    other.spec_json =
        "{\n  \"name\": \"sample\",\n  \"arms\": [\n    {\n      \"d_u\": 3\n    }\n  ]\n}";
    other.notes.push_back("only there");
    other.tables.at("simulated_latency").attributes["calibration"] = "else";
    auto const found = diff(sample, other, false);
    ASSERT_EQ(found.differences.size(), 1U);
    EXPECT_EQ(found.differences[0].table, "hash");
    EXPECT_EQ(found.differences[0].column, "logical");
    EXPECT_THAT(found.information, Contains("provenance commit: 0000 -> 1111"));
    EXPECT_THAT(found.information, Contains("provenance empty:  -> missing"));
    EXPECT_THAT(found.information, Contains("spec /arms/0/d_u: 2 -> 3"));
    EXPECT_THAT(found.information, Contains("note only right: only there"));
    EXPECT_THAT(found.information,
                Contains("table simulated_latency calibration: 0123456789abcdef -> else"));
    EXPECT_EQ(found.information.size(), 5U);
    EXPECT_THAT(render(found), HasSubstr("not counted as differences"));
}

TEST(ReportDiff, ASpecThatDiffersInLayoutOnlyIsMentioned) {
    auto const sample = test::sample_report();
    auto other = sample;
    other.spec_json += "\n";
    EXPECT_THAT(diff(sample, other, false).information,
                Contains("spec: the texts differ in layout only"));
}

TEST(ReportDiff, RenderCutsLongListsAndCountsAll) {
    Report a;
    Report b;
    for (int i = 0; i < 1000; ++i) {
        add_row(a, "popularity", {{"rank", i}, {"share", 0.5}});
        add_row(b, "popularity", {{"rank", i}, {"share", 0.6}});
    }
    auto const text = render(diff(a, b, false));
    EXPECT_THAT(text, HasSubstr(".. 800 more\n"));
    EXPECT_THAT(text, HasSubstr("1,000 differences"));
}

TEST(SpecLines, GivesPointersToValues) {
    auto const values = flatten_spec(
        "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": \"x: {\",\n    \"d\": [\n      1.5,\n      "
        "[\n        true\n      ]\n    ],\n    \"e\\\"f\": []\n  },\n  \"g\": {}\n}\n");
    std::map<std::string, std::string> const expected = {{"/a", "1"},         {"/b/c", "\"x: {\""},
                                                         {"/b/d/0", "1.5"},   {"/b/d/1/0", "true"},
                                                         {"/b/e\\\"f", "[]"}, {"/g", "{}"}};
    EXPECT_EQ(values, expected);
}

TEST(SpecLines, NeverFailsOnOtherText) {
    EXPECT_TRUE(flatten_spec("").empty());
    for (char const* text : {"}\n}\n]", "\"", "\"a\\", "[[[[", "{\n\"a\"\n", "a\nb\nc", "{\n,\n"})
        EXPECT_LE(flatten_spec(text).size(), 3U) << text;
}

}  // namespace
}  // namespace ckvsim::report
