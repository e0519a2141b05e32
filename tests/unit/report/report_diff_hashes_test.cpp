// Which hashes count when two reports are compared.
#include <gtest/gtest.h>

#include "report/report_diff.hpp"

namespace ckvsim::report {
namespace {

metrics::Report report_with(std::string const& logical, std::string const& scores,
                            std::string const& instruction_set) {
    metrics::Report report;
    report.logical_hash = logical;
    report.scores_hash = scores;
    report.provenance["instruction_set"] = instruction_set;
    report.spec_json = "{}";
    return report;
}

TEST(ReportDiffHashes, LogicalHashCountsEverywhere) {
    auto const left = report_with("1", "a", "AVX2");
    EXPECT_FALSE(diff(left, report_with("2", "a", "AVX2"), false).empty());
    EXPECT_FALSE(diff(left, report_with("2", "a", "AVX3"), false).empty());
}

TEST(ReportDiffHashes, ScoresHashCountsOnOneInstructionSetOnly) {
    auto const left = report_with("1", "a", "AVX2");
    EXPECT_FALSE(diff(left, report_with("1", "b", "AVX2"), false).empty());
    auto const across = diff(left, report_with("1", "b", "AVX3"), false);
    EXPECT_TRUE(across.empty());
    EXPECT_NE(render(across).find("AVX3"), std::string::npos) << render(across);
    EXPECT_TRUE(diff(left, report_with("1", "a", "AVX3"), false).empty());
}

}  // namespace
}  // namespace ckvsim::report
