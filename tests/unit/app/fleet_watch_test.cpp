#include "app/fleet_watch.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/file_lock.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::app {
namespace {

FleetCase sample_case() {
    FleetCase item;
    item.number = 3;
    item.model.name = "twin";
    item.arm.name = "full \"fp16\"\n\xff";  // a name that could break a line
    item.fleet.users = 1000;
    return item;
}

FleetOutcome sample_outcome(std::size_t requests) {
    FleetOutcome outcome;
    outcome.nodes = 2;
    outcome.result.offered = requests;
    outcome.result.found[static_cast<std::size_t>(fleet::Residence::none)] = requests / 4;
    for (std::size_t i = 0; i < requests; ++i)
        outcome.result.latency[static_cast<std::size_t>(fleet::FleetStage::total)].add(2'000'000);
    return outcome;
}

std::vector<nlohmann::json> lines_of(std::string const& path) {
    std::vector<nlohmann::json> lines;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
}

TEST(FleetWatch, FinishedCasesAreReadableWhileTheRunGoesOnAndGoneAfterIt) {
    test::TemporaryFolder const folder;
    std::string const report = folder.path("deeper/r.h5");
    Progress progress(true);
    FleetWatch watch(progress, report, 0, 8);
    EXPECT_TRUE(is_locked(partial_results_path(report, 0))) << "whoever follows sees that it lives";
    watch.finished(sample_case(), sample_outcome(4000), 1.5);
    auto lines = lines_of(partial_results_path(report, 0));
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[0].at("state"), "begun");
    EXPECT_EQ(lines[0].at("cases"), 8);
    lines.erase(lines.begin());
    EXPECT_EQ(lines[0].at("state"), "finished");
    EXPECT_EQ(lines[0].at("case"), 3);
    EXPECT_EQ(lines[0].at("cases"), 8);
    EXPECT_EQ(lines[0].at("strategy"), "full \"fp16\"\n\xef\xbf\xbd");
    EXPECT_DOUBLE_EQ(lines[0].at("hit_ratio"), 0.75);
    EXPECT_NEAR(lines[0].at("p99_ms"), 2.0, 0.05);
    watch.finished(sample_case(), sample_outcome(4), 0.5);
    auto const more = lines_of(partial_results_path(report, 0));
    ASSERT_EQ(more.size(), 3U);
    EXPECT_TRUE(more[2].at("p99_ms").is_null()) << "four requests have no 99th percentile";
    watch.complete();
    EXPECT_FALSE(std::filesystem::exists(partial_results_path(report, 0)));
}

TEST(FleetWatch, AFailedRunLeavesItsFinishedCases) {
    test::TemporaryFolder const folder;
    std::string const report = folder.path("r.h5");
    Progress progress(true);
    try {
        FleetWatch watch(progress, report, 2, 8);
        watch.finished(sample_case(), sample_outcome(4000), 1.5);
        throw std::runtime_error("planted");
    } catch (std::runtime_error const&) {
    }
    EXPECT_EQ(lines_of(folder.path("r.h5.partial-2.jsonl")).size(), 1U);
}

TEST(FleetWatch, AFileThatCannotBeWrittenDoesNotEndTheRun) {
    test::TemporaryFolder const folder;
    std::ofstream(folder.path("file")) << "not a folder";
    Progress progress(true);
    FleetWatch watch(progress, folder.path("file/r.h5"), 0, 8);
    EXPECT_NO_THROW(watch.finished(sample_case(), sample_outcome(4000), 1.5));
    EXPECT_NO_THROW(watch.complete());
}

TEST(FleetWatch, OldSideFilesOfTheReportAreRemovedAndOthersStay) {
    test::TemporaryFolder const folder;
    for (auto const* name : {"r.h5.partial.jsonl", "r.h5.partial-7.jsonl", "r.h5.partial",
                             "r2.h5.partial.jsonl", "notes.jsonl"})
        std::ofstream(folder.path(name)) << "x";
    remove_partial_results(folder.path("r.h5"));
    EXPECT_FALSE(std::filesystem::exists(folder.path("r.h5.partial.jsonl")));
    EXPECT_FALSE(std::filesystem::exists(folder.path("r.h5.partial-7.jsonl")));
    for (auto const* name : {"r.h5.partial", "r2.h5.partial.jsonl", "notes.jsonl"})
        EXPECT_TRUE(std::filesystem::exists(folder.path(name))) << name;
}

}  // namespace
}  // namespace ckvsim::app
