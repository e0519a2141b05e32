#include "app/plan_options.hpp"

#include <gtest/gtest.h>

#include <set>

#include "core/error.hpp"

namespace ckvsim::app {
namespace {

PlanOptions small_options() {
    PlanOptions options;
    options.spec = std::string(CKVSIM_SOURCE_DIR) + "/workloads/specs/fleet-ci.json";
    options.overrides = {"/files/platform=" + std::string(CKVSIM_SOURCE_DIR) +
                         "/workloads/platforms/h100-node.json"};
    return options;
}

/// Message of the refusal of these options.
template <class Failure>
std::string refusal(PlanOptions const& options) {
    try {
        make_plan(options);
    } catch (Failure const& error) {
        return error.what();
    }
    ADD_FAILURE() << "not refused";
    return "";
}

bool holds(std::string const& text, std::string const& part) {
    return text.find(part) != std::string::npos;
}

TEST(PlanSlo, UnitsOfTime) {
    EXPECT_DOUBLE_EQ(parse_slo("p99=30ms"), 30.0);
    EXPECT_DOUBLE_EQ(parse_slo("p99=0.05s"), 50.0);
    EXPECT_DOUBLE_EQ(parse_slo("p99=2500us"), 2.5);
}

TEST(PlanSlo, EverythingElseIsRefused) {
    for (char const* text : {"", "30ms", "p99=", "p99=30", "p99=ms", "p99=-3ms", "p99=0ms",
                             "p99=nanms", "p99=infs", "p99=30msx", "mean=3ms", "p99 = 30ms"})
        EXPECT_THROW(parse_slo(text), Error) << text;
    try {
        parse_slo("p50=30ms");
        ADD_FAILURE();
    } catch (Error const& error) {
        EXPECT_TRUE(holds(error.what(), "only p99")) << error.what();
        EXPECT_EQ(error.exit_code(), ExitCode::usage);
    }
}

TEST(PlanOptionsTest, TheLoadPerUserStaysWhenUsersVary) {
    auto options = small_options();
    options.users = "1e6,1e5";
    auto const plan = make_plan(options);  // the spec: 20,000/s for 200,000 users
    for (auto const& item : plan.cases)
        EXPECT_DOUBLE_EQ(item.fleet.traffic.requests_per_second,
                         0.1 * static_cast<double>(item.fleet.users));
    EXPECT_TRUE(holds(plan.load_words, "0.1 requests/s per user")) << plan.load_words;
    options.rps_per_user = "0.5";
    for (auto const& item : make_plan(options).cases)
        EXPECT_DOUBLE_EQ(item.fleet.traffic.requests_per_second,
                         0.5 * static_cast<double>(item.fleet.users));
}

TEST(PlanOptionsTest, AGivenLoadIsTheSameForAllUsers) {
    auto options = small_options();
    options.users = "1e6,1e5";
    options.rps = "5000,250000";
    std::set<double> loads;
    for (auto const& item : make_plan(options).cases)
        loads.insert(item.fleet.traffic.requests_per_second);
    EXPECT_EQ(loads, (std::set<double>{5000.0, 250000.0}));
}

TEST(PlanOptionsTest, ChainsHoldEveryQuestionOnceWithUsersAscending) {
    auto options = small_options();
    options.users = "1e6,1e5,3e5";
    options.nodes = "2,4";
    auto const plan = make_plan(options);
    EXPECT_EQ(plan.jobs.size(), plan.cases.size() * 3);
    std::set<std::size_t> seen;
    for (auto const& chain : plan.chains) {
        std::uint64_t users = 0;
        for (auto const number : chain) {
            EXPECT_TRUE(seen.insert(number).second);
            auto const& item = plan.cases[plan.jobs[number].case_number];
            EXPECT_GT(item.fleet.users, users);
            users = item.fleet.users;
            EXPECT_EQ(item.arm.name, plan.cases[plan.jobs[chain[0]].case_number].arm.name);
            EXPECT_EQ(item.model.name, plan.cases[plan.jobs[chain[0]].case_number].model.name);
        }
    }
    EXPECT_EQ(seen.size(), plan.jobs.size());
}

TEST(PlanOptionsTest, TheDigestNamesThePlan) {
    auto const base = make_plan(small_options()).digest;
    EXPECT_EQ(make_plan(small_options()).digest, base);
    std::set<std::string> digests = {base};
    auto const differs = [&](auto&& change) {
        auto options = small_options();
        change(options);
        EXPECT_TRUE(digests.insert(make_plan(options).digest).second);
    };
    differs([](PlanOptions& o) { o.slo = "p99=29ms"; });
    differs([](PlanOptions& o) { o.users = "1e6"; });
    differs([](PlanOptions& o) { o.rps = "1000"; });
    differs([](PlanOptions& o) { o.rps_per_user = "0.7"; });
    differs([](PlanOptions& o) { o.nodes = "3"; });
    differs([](PlanOptions& o) { o.replicates = 3; });
    differs([](PlanOptions& o) { o.requests = "2e5"; });
    differs([](PlanOptions& o) { o.sample_users = "32768"; });
    differs([](PlanOptions& o) { o.check = 4; });
    differs([](PlanOptions& o) { o.finalists = false; });
    differs([](PlanOptions& o) { o.overrides.emplace_back("/seed=9"); });
    auto elsewhere = small_options();
    elsewhere.output = "other.h5";
    elsewhere.threads = 3;
    EXPECT_EQ(make_plan(elsewhere).digest, base) << "where the report goes is no part of the plan";
}

TEST(PlanOptionsTest, RefusalsSayWhatToDo) {
    auto const usage = [](auto&& change) {
        auto options = small_options();
        change(options);
        return refusal<Error>(options);
    };
    EXPECT_TRUE(holds(usage([](auto& o) { o.rps = "1", o.rps_per_user = "2"; }), "one of them"));
    EXPECT_TRUE(holds(usage([](auto& o) { o.rps = "-4"; }), "above 0"));
    EXPECT_TRUE(holds(usage([](auto& o) { o.rps = "1,,2"; }), "--rps"));
    EXPECT_TRUE(holds(usage([](auto& o) { o.nodes = "100000"; }), "1 to 65536"));
    EXPECT_TRUE(holds(usage([](auto& o) { o.requests = "100"; }), "2000"));
    EXPECT_TRUE(holds(usage([](auto& o) { o.sample_users = "10"; }), "1024"));
}

TEST(PlanOptionsTest, FleetsThatOneNodeCannotStandForAreRefused) {
    auto const refused = [](std::string const& override_text, std::string const& key) {
        auto options = small_options();
        options.overrides.push_back(override_text);
        EXPECT_TRUE(holds(refusal<ConfigError>(options), key)) << override_text;
    };
    refused("/fleet/routing/kind=random", "/fleet/routing/kind");
    refused("/sweep/routing=[\"home\",\"two_choices\"]", "/fleet/routing/kind");
    refused("/traffic/diurnal/amplitude=0.5", "/traffic");
    refused("/fleet/start=cold", "/fleet/start");
}

}  // namespace
}  // namespace ckvsim::app
