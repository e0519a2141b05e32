#include "app/fleet_cases.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "app/fleet_rows.hpp"

namespace ckvsim::app {
namespace {

/// Two nodes of one H100, a light model, one strategy.
class FleetCases : public testing::Test {
  protected:
    FleetCases() {
        platform_.gpus = 1;
        platform_.hbm_bytes = 80e9;
        platform_.hbm_bytes_per_s = 3.35e12;
        platform_.dram_bytes = 2e12;
        platform_.dram_bytes_per_s = 6e11;
        platform_.link_bytes_per_s = 64e9;
        platform_.nic_bytes_per_s = 1e11;
        platform_.flops_per_s = 4.9e14;
        platform_.efficiency = 0.7;
        platform_.batch_overhead_ns = 20000;
        study_.models = {fleet::twin_preset()};
        study_.strategies = {{"full", {.keeping = fleet::Keeping::full}}};
        study_.fleet.users = 2000;
        study_.fleet.nodes = 2;
        study_.fleet.sampled_nodes = 1;
        study_.fleet.traffic.requests_per_second = 1e5;
        study_.requests = 5000;
    }
    FleetOutcome run(double load) {
        study_.fleet.traffic.requests_per_second = load;
        auto const cases = fleet_cases(study_, platform_);
        FleetCaseSetup const setup(study_, platform_, {1.0}, cases.at(0));
        return search_case(study_, cases.at(0), setup);
    }

    node::Platform platform_;
    config::FleetStudy study_;
};

TEST_F(FleetCases, ShortRunsLastSeveralTimesTheSlo) {
    auto const cases = fleet_cases(study_, platform_);
    // 5,000 requests at half of 10^5/s: 0.1 s; four times 30 ms are more.
    EXPECT_DOUBLE_EQ(run_params(study_, cases.at(0)).traffic.duration_s, 0.12);
    study_.least_slos = 0.0;
    EXPECT_DOUBLE_EQ(run_params(study_, cases.at(0)).traffic.duration_s, 0.1);
    study_.requests = 50000;
    study_.least_slos = 4.0;
    EXPECT_DOUBLE_EQ(run_params(study_, cases.at(0)).traffic.duration_s, 1.0);
}

// A run shorter than the SLO answers everything in time, however much comes: only the devices' work
// tells that it cannot go on.
TEST_F(FleetCases, OverloadOfAShortRunDoesNotMeetTheSlo) {
    study_.least_slos = 0.5;
    study_.requests = 100;
    study_.warmup_share = 0.0;
    auto const calm = run(4e5);
    EXPECT_TRUE(meets_slo(study_, calm));
    auto const flooded = run(2e7);
    auto const busy = flooded.busy();
    EXPECT_GT(*std::max_element(busy.begin(), busy.end()), 1.0);
    EXPECT_FALSE(meets_slo(study_, flooded));
}

TEST_F(FleetCases, HighestLoadKeepsEveryDeviceBelowItsLimit) {
    study_.search = config::FleetSearch::max_load;
    auto const found = run(1e5);
    ASSERT_TRUE(found.feasible);
    auto const busy = found.busy();
    double const most = *std::max_element(busy.begin(), busy.end());
    EXPECT_LE(most, 1.0);
    EXPECT_GT(most, 0.5) << "the limit lies where a device is nearly busy all the time";
    // More load than that overloads it.
    study_.search = config::FleetSearch::none;
    EXPECT_FALSE(meets_slo(study_, run(1.1 * found.requests_per_second)));
}

TEST_F(FleetCases, EveryMeasuredRequestIsInOneClassOfEachGrouping) {
    auto const outcome = run(1e5);
    metrics::Report report;
    report_case(report, study_, fleet_cases(study_, platform_).at(0), outcome);
    auto const& table = report.table("fleet_classes");
    auto const column = [&](std::string_view name) {
        auto const& columns = table.schema().columns;
        auto const at = std::find_if(columns.begin(), columns.end(),
                                     [&](auto const& c) { return c.name == name; });
        EXPECT_NE(at, columns.end()) << name;
        return static_cast<std::size_t>(at - columns.begin());
    };
    std::map<std::string, std::int64_t> requests;
    std::map<std::string, std::size_t> classes;
    for (auto const& row : table.rows()) {
        auto const& by = std::get<std::string>(row[column("by")]);
        auto const here = std::get<std::int64_t>(row[column("requests")]);
        EXPECT_GT(here, 0) << by << ": a class that nobody asked from has no row";
        EXPECT_LT(std::get<double>(row[column("from")]), std::get<double>(row[column("to")]));
        requests[by] += here;
        ++classes[by];
    }
    auto const measured = static_cast<std::int64_t>(outcome.result.offered);
    EXPECT_GT(measured, 1000);
    EXPECT_EQ(requests,
              (std::map<std::string, std::int64_t>{{"history", measured}, {"activity", measured}}))
        << "nobody can sign up during this run";
    EXPECT_GT(classes["history"], 1U);
    EXPECT_GT(classes["activity"], 1U);
}

}  // namespace
}  // namespace ckvsim::app
