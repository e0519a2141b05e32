#include "report/report_show.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "core/error.hpp"
#include "report/text_table.hpp"
#include "report_rows.hpp"
#include "report_samples.hpp"

namespace ckvsim::report {
namespace {

using metrics::Report;
using test::add_row;
using test::Fields;
using testing::HasSubstr;
using testing::Not;

void add_arm(Report& report, std::string const& arm, Fields fields = {}) {
    Fields row = {{"arm", arm}, {"model", "SIM"}, {"scope", "all"}, {"applies", 1}};
    for (auto& field : fields) row[field.first] = field.second;
    add_row(report, "arms", row);
}

/// Two arms with everything measured, a refused one, two controls and the oracle.
Report two_arms() {
    Report report;
    report.provenance = {{"platform", "h100-node 0123456789abcdef"},
                         {"workload", "synthetic: 1000 users"}};
    add_arm(report, "full_fp32");
    add_arm(report, "collective_du2",
            {{"scope", "released"}, {"pool_share_of_catalogue", 0.1}, {"d_u", 2}});
    add_arm(report, "item_table", {{"applies", 0}, {"refusal", "K depends on the sequence"}});
    add_row(report, "memory",
            {{"arm", "full_fp32"},
             {"users", 1000},
             {"tokens_mean", 100.0},
             {"predicted_user_bytes", 204800000},
             {"real_ratio", 1.0},
             {"paper_ratio", 1.0}});
    add_row(report, "memory",
            {{"arm", "collective_du2"},
             {"users", 1000},
             {"tokens_mean", 100.0},
             {"predicted_user_bytes", 1600000},
             {"padding_bytes", 100000},
             {"real_ratio", 0.0073},
             {"paper_ratio", 3.0 / 256}});
    for (std::string const arm : {"full_fp32", "collective_du2"}) {
        for (std::string const stage : {"decode", "total"}) {
            double const scale = stage == "total" ? 1.0 : 0.1;
            add_row(report, "executed_latency",
                    {{"arm", arm},
                     {"pass", 1},
                     {"stage", stage},
                     {"p50_ns", 150e3 * scale},
                     {"p99_ns", 2.5e6 * scale}});
            for (std::string const platform : {"this machine", "h100-node"}) {
                add_row(report, "simulated_latency",
                        {{"arm", arm},
                         {"platform", platform},
                         {"stage", stage},
                         {"p50_ns", platform == "h100-node" ? 33e3 * scale : 140e3 * scale},
                         {"p99_ns", std::nan("")}});
            }
        }
        add_row(report, "executed_cache",
                {{"arm", arm}, {"pass", 1}, {"hit_ratio", 0.951}, {"comparable", 1}});
        add_row(report, "accuracy",
                {{"arm", arm},
                 {"kind", "arm"},
                 {"seeds", 3},
                 {"impressions", 15000},
                 {"auc", 0.71},
                 {"lift_kept", 0.973},
                 {"lift_low", 0.912},
                 {"lift_high", 1.034},
                 {"verdict", arm == "full_fp32" ? "reference" : "undecided"}});
    }
    add_row(report, "accuracy",
            {{"arm", "control.no_history"},
             {"kind", "control"},
             {"seeds", 3},
             {"auc", 0.61},
             {"auc_low", 0.60},
             {"auc_high", 0.62},
             {"gauc", 0.6},
             {"lift_kept", 0.0},
             {"verdict", "worse"}});
    add_row(report, "oracle", {{"metric", "oracle_auc"}, {"value", 0.7512}});
    add_row(report, "fidelity",
            {{"arm", "full_fp32"},
             {"metric", "p99_ns"},
             {"error_relative", 0.031},
             {"repeat_error_relative", 0.012}});
    add_row(report, "fidelity",
            {{"arm", "collective_du2"},
             {"metric", "p99_ns"},
             {"error_relative", -0.08},
             {"repeat_error_relative", 0.05}});
    return report;
}

std::vector<std::string> lines_of(std::string const& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

std::string line_with(std::string const& text, std::string const& start) {
    for (auto const& line : lines_of(text)) {
        if (line.starts_with(start)) return line;
    }
    return "no line starts with " + start;
}

TEST(ComparisonTable, OneLinePerArmWithEveryFigure) {
    auto const text = comparison_table(two_arms());
    auto const line = line_with(text, "collective_du2");
    for (char const* part :
         {"released", "10.0 %", "1.56 KiB", "15 B", "0.73 %", "1.17 %", "150 us", "2.50 ms",
          "95.1 %", "33.0 us", "0.7100", "97.3 % [91.2, 103.4]", "undecided"}) {
        EXPECT_THAT(line, HasSubstr(part));
    }
    EXPECT_THAT(line_with(text, "full_fp32"), HasSubstr("200 KiB  2.00 KiB   100 %   100 %"));
    EXPECT_THAT(line_with(text, "full_fp32"), HasSubstr("reference"));
    // In the spec's order.
    EXPECT_LT(text.find("\nfull_fp32"), text.find("\ncollective_du2"));
    EXPECT_LT(text.find("\ncollective_du2"), text.find("\nitem_table"));
    for (char const* part :
         {"model SIM", "synthetic: 1000 users", "[derived]", "executed [measured]",
          "fleet [simulated]", "fleet: h100-node\n", "3 training seeds, 15,000 test impressions"}) {
        EXPECT_THAT(text, HasSubstr(part));
    }
    EXPECT_THAT(text, HasSubstr("worst arm: p99 -8.0 % (repeat 5.0 %)"));
}

TEST(ComparisonTable, RefusedArmsSayWhy) {
    auto const text = comparison_table(two_arms());
    EXPECT_THAT(line_with(text, "item_table"), HasSubstr("refused"));
    EXPECT_THAT(text, HasSubstr("item_table was refused: K depends on the sequence\n"));
}

TEST(ComparisonTable, ControlsAndOracleHaveTheirOwnBlock) {
    auto const text = comparison_table(two_arms());
    EXPECT_THAT(line_with(text, "control.no_history"), HasSubstr("0.6100 [0.6000, 0.6200]"));
    EXPECT_THAT(line_with(text, "oracle (upper bound)"), HasSubstr("0.7512"));
    EXPECT_GT(text.find("control.no_history"), text.find("controls [measured]"));
}

TEST(ComparisonTable, NoRatioWithoutModelAndScope) {
    for (char const* missing : {"model", "scope"}) {
        Report report;
        add_arm(report, "full_fp32", {{missing, ""}});
        add_row(report, "memory",
                {{"arm", "full_fp32"},
                 {"users", 1},
                 {"tokens_mean", 1.0},
                 {"predicted_user_bytes", 64},
                 {"real_ratio", 1.0},
                 {"paper_ratio", 1.0}});
        EXPECT_THAT(comparison_table(report), Not(HasSubstr("100 %"))) << missing;
        EXPECT_THAT(comparison_table(report), HasSubstr("64 B"));
    }
}

TEST(ComparisonTable, ScopeNamesTheSideOfPoolsOnOneSideAlone) {
    Report report;
    add_arm(report, "coll_k", {{"sides", "k"}});
    add_arm(report, "coll_both", {{"sides", "both"}});
    add_arm(report, "plain", {{"sides", "-"}});
    auto const text = comparison_table(report);
    EXPECT_THAT(line_with(text, "coll_k"), HasSubstr("all/k"));
    for (char const* const arm : {"coll_both", "plain"}) {
        EXPECT_THAT(line_with(text, arm), HasSubstr("all"));
        EXPECT_THAT(line_with(text, arm), Not(HasSubstr("all/"))) << arm;
    }
}

TEST(ComparisonTable, ScopeSaysWhichPoolsStartedWarm) {
    Report report;
    add_arm(report, "coll_full", {{"start", "full"}});
    add_arm(report, "coll_silu", {{"sides", "v"}, {"start", "full_silu"}});
    add_arm(report, "coll_random", {{"start", "random"}});
    add_arm(report, "plain", {{"start", "-"}});
    auto const text = comparison_table(report);
    EXPECT_THAT(line_with(text, "coll_full"), HasSubstr("all/warm"));
    EXPECT_THAT(line_with(text, "coll_silu"), HasSubstr("all/v/warm"));
    for (char const* const arm : {"coll_random", "plain"})
        EXPECT_THAT(line_with(text, arm), Not(HasSubstr("all/"))) << arm;
}

TEST(ComparisonTable, ScopeSaysWhichPoolsHadATeacher) {
    Report report;
    add_arm(report, "coll_taught", {{"teacher", "full"}});
    add_arm(report, "coll_both", {{"sides", "v"}, {"start", "full"}, {"teacher", "full_silu"}});
    add_arm(report, "coll_plain", {{"teacher", "none"}});
    add_arm(report, "plain", {{"teacher", "-"}});
    auto const text = comparison_table(report);
    EXPECT_THAT(line_with(text, "coll_taught"), HasSubstr("all/distil"));
    EXPECT_THAT(line_with(text, "coll_both"), HasSubstr("all/v/warm/distil"));
    for (char const* const arm : {"coll_plain", "plain"})
        EXPECT_THAT(line_with(text, arm), Not(HasSubstr("all/"))) << arm;
}

TEST(ComparisonTable, StarsExecutedTimesThatAreNotComparable) {
    Report report;
    add_arm(report, "full_fp32");
    add_row(
        report, "executed_latency",
        {{"arm", "full_fp32"}, {"pass", 1}, {"stage", "total"}, {"p50_ns", 1e3}, {"p99_ns", 2e3}});
    add_row(report, "executed_cache",
            {{"arm", "full_fp32"}, {"comparable", 0}, {"reason", "4 ranks on 2 cores"}});
    auto const text = comparison_table(report);
    EXPECT_THAT(text, HasSubstr("1.00 us*"));
    EXPECT_THAT(text, HasSubstr("2.00 us*"));
    EXPECT_THAT(text, HasSubstr("* executed times are not comparable: 4 ranks on 2 cores\n"));
}

TEST(ComparisonTable, FitsInto160ColumnsWithLongNamesAndNumbers) {
    auto report = two_arms();
    std::string const name = "collective_released_du2_m10000_index_uint16_fp16_per_user_token_v2";
    add_arm(report, name,
            {{"scope", "released"},
             {"sides", "k"},
             {"start", "full"},
             {"teacher", "full"},
             {"pool_share_of_catalogue", 0.1234}});
    add_row(report, "memory",
            {{"arm", name},
             {"users", 1},
             {"tokens_mean", 1.0},
             {"predicted_user_bytes", std::int64_t{1} << 60},
             {"real_ratio", 123.4},
             {"paper_ratio", 0.0117}});
    add_row(report, "accuracy",
            {{"arm", name},
             {"kind", "arm"},
             {"seeds", 3},
             {"auc", 0.5},
             {"lift_kept", -123.456},
             {"lift_low", -999.1},
             {"lift_high", 123.4},
             {"verdict", "equivalent"}});
    for (auto const& line : lines_of(comparison_table(report))) {
        EXPECT_LE(display_width(line), kTextWidth) << line;
    }
    EXPECT_THAT(comparison_table(report), HasSubstr(".."));
}

TEST(ComparisonTable, AnEmptyReportSaysSo) {
    EXPECT_THAT(comparison_table(Report{}), HasSubstr("no arms"));
}

TEST(Show, PrintsTheNamedTablesOnly) {
    auto const text = show(two_arms(), {"oracle", "memory"});
    EXPECT_THAT(text, HasSubstr("== oracle: "));
    EXPECT_LT(text.find("== oracle"), text.find("== memory:"));
    EXPECT_THAT(text, Not(HasSubstr("== arms")));
    EXPECT_THAT(text, HasSubstr("195 MiB"));   // 204,800,000 bytes
    EXPECT_THAT(text, HasSubstr("measured"));  // provenance under the column
    EXPECT_THAT(text, HasSubstr("- = not measured, or too few samples"));
}

TEST(Show, UnknownTableListsTheKnownOnes) {
    try {
        show(two_arms(), {"memory", "memroy"});
        FAIL() << "an unknown table was shown";
    } catch (Error const& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::usage);
        EXPECT_THAT(error.what(), HasSubstr("memroy"));
        for (auto const& schema : metrics::table_schemas())
            EXPECT_THAT(error.what(), HasSubstr(" " + schema.name));
        for (char const* name : {"summary", "notes", "hash", "provenance", "spec"})
            EXPECT_THAT(error.what(), HasSubstr(name));
    }
}

TEST(Show, KnownTablesThatWereNotWrittenAreSaidToBeMissing) {
    EXPECT_THAT(show(two_arms(), {"popularity"}), HasSubstr("not in this report"));
}

TEST(Show, CutsLongTablesOnlyWhenNobodyAskedForThem) {
    Report report;
    for (int i = 0; i < 100; ++i)
        add_row(report, "popularity", {{"rank", i + 1}, {"share", 1.0 / (i + 2)}});
    EXPECT_THAT(show(report, {}), HasSubstr("76 more rows"));
    EXPECT_THAT(show(report, {"popularity"}), Not(HasSubstr("more rows")));
    EXPECT_THAT(show(report, {"popularity"}), HasSubstr("\n 100"));
}

TEST(Show, EverythingOfAHostileReportIsHarmlessAndFits) {
    auto const report = test::sample_report();
    auto const text = show(report, {});
    for (auto const& line : lines_of(text)) EXPECT_EQ(printable(line), line);
    for (auto const& schema : metrics::table_schemas())
        EXPECT_THAT(text, HasSubstr("== " + schema.name)) << schema.name;
    EXPECT_THAT(text, HasSubstr("(1)"));  // long texts move below the table
    EXPECT_THAT(text, HasSubstr(std::string(5000, 'x')));
    for (char const* part : {"== notes", "zweite", "== provenance", "commit", "00000000000000aa"})
        EXPECT_THAT(text, HasSubstr(part));
    EXPECT_THAT(show(report, {"spec"}), HasSubstr("\n      \"d_u\": 2\n"));
}

}  // namespace
}  // namespace ckvsim::report
