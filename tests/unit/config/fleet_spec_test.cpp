#include "config/fleet_spec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "core/error.hpp"
#include "spec_cases.hpp"

namespace ckvsim::config {
namespace {

/// A small valid study, in which every kind of key occurs.
std::string base_study() {
    return R"({
  "schema_version": 1,
  "study": "fleet",
  "name": "base",
  "seed": 7,
  "users": {"activity": {"sigma": 0.5, "classes": 8},
            "history": {"median": 200, "sigma": 0.7, "shortest": 2, "longest": 900}},
  "traffic": {"requests_per_second": 5000, "requests": 20000, "warmup_share": 0.1},
  "catalogue_items": 50000,
  "candidates": 64,
  "models": [
    {"name": "twin", "class": "item", "max_interactions": 500},
    {"name": "hstu", "class": "sequence", "tokens_per_interaction": 2,
     "sites": [{"last": 0, "rows": 0, "layers": 2}], "tower": [16]}
  ],
  "strategies": [
    {"name": "full", "keeping": "full", "type": "int8"},
    {"name": "coll", "keeping": "collective", "d_u": 2, "m": 300, "index_bytes": 2},
    {"name": "table", "keeping": "item_table"}
  ],
  "fleet": {
    "users": 10000, "nodes": 4,
    "routing": {"kind": "bounded_loads", "window_ms": 5, "slack": 0.1},
    "batching": {"max_batch": 8},
    "tiers": {"policy": "clock", "admission": "second_visit", "ttl_s": 60, "hbm_bytes": 1000000},
    "start": "cold", "slo_ms": 20
  },
  "sweep": {"candidates": [16, 32], "tiers": ["hbm", "hbm_dram"], "policies": ["lru", "sieve"]},
  "shed_limit": 0.01,
  "files": {"platform": "p.json"}
})";
}

std::vector<ConfigProblem> problems_of(std::string const& text,
                                       std::vector<std::string> const& overrides = {}) {
    try {
        parse_fleet_study(text, "test.json", overrides);
    } catch (ConfigError const& error) {
        return error.problems();
    }
    return {};
}

std::string render(std::vector<ConfigProblem> const& problems) {
    return ConfigError("test.json", problems).what();
}

TEST(FleetStudy, ReadsWhatIsWritten) {
    auto const study = parse_fleet_study(base_study(), "test.json");
    EXPECT_EQ(study.fleet.seed, 7U);
    EXPECT_EQ(study.fleet.users, 10000U);
    EXPECT_EQ(study.fleet.nodes, 4U);
    EXPECT_EQ(study.fleet.activity, (fleet::ActivityParams{.sigma = 0.5, .classes = 8}));
    EXPECT_EQ(study.fleet.history, (fleet::HistoryParams{200, 0.7, 2, 900}));
    EXPECT_EQ(study.fleet.traffic.requests_per_second, 5000.0);
    EXPECT_EQ(study.requests, 20000.0);
    EXPECT_EQ(study.warmup_share, 0.1);
    ASSERT_EQ(study.models.size(), 2U);
    EXPECT_EQ(study.models[0].sites, fleet::twin_preset().sites) << "the default";
    EXPECT_EQ(study.models[1].model_class, fleet::ModelClass::sequence);
    EXPECT_EQ(study.models[1].sites, (std::vector<fleet::Site>{{0, 0, 2}}));
    EXPECT_EQ(study.models[1].tower, (std::vector<std::uint32_t>{16}));
    ASSERT_EQ(study.strategies.size(), 3U);
    EXPECT_EQ(study.strategies[0].keeping.type, fleet::StoredType::int8);
    EXPECT_EQ(study.strategies[1].keeping.m, 300U);
    EXPECT_EQ(study.fleet.routing.kind, fleet::RoutingKind::bounded_loads);
    EXPECT_EQ(study.fleet.routing.slack, 0.1);
    EXPECT_EQ(study.tiers.policy, fleet::EvictionPolicy::clock);
    EXPECT_EQ(study.tiers.admission, fleet::Admission::second_visit);
    EXPECT_EQ(study.tiers.ttl_s, 60.0);
    EXPECT_EQ(study.fleet.start, fleet::StartState::cold);
    EXPECT_EQ(study.sweep.tiers, (std::vector<FleetTiers>{FleetTiers::hbm, FleetTiers::hbm_dram}));
    EXPECT_EQ(study.output, "results/local/base.h5");
    EXPECT_EQ(study.platform_path, "p.json");
}

TEST(FleetStudy, ADumpReadsBackAsTheSameStudy) {
    auto const study = parse_fleet_study(base_study(), "test.json");
    auto const dump = dump_fleet_study(study);
    EXPECT_TRUE(is_fleet_study(dump));
    EXPECT_EQ(parse_fleet_study(dump, "dump"), study) << dump;
    EXPECT_EQ(dump_fleet_study(parse_fleet_study(dump, "dump")), dump);
    auto const other = parse_fleet_study(base_study(), "test.json", {"/fleet/nodes=5"});
    EXPECT_EQ(other.fleet.nodes, 5U);
    EXPECT_NE(dump_fleet_study(other), dump);
}

TEST(FleetStudy, IsToldFromASpecByItsStudyKey) {
    EXPECT_TRUE(is_fleet_study(base_study()));
    EXPECT_TRUE(is_fleet_study(R"({"study": "fleet"})"));
    EXPECT_FALSE(is_fleet_study(test::base_spec()));
    EXPECT_FALSE(is_fleet_study(R"({"study": "other"})"));
    EXPECT_FALSE(is_fleet_study(R"({"study": 1})"));
    EXPECT_FALSE(is_fleet_study(R"({"study": "fleet")"));
    EXPECT_FALSE(is_fleet_study(R"(["study", "fleet"])"));
    EXPECT_FALSE(is_fleet_study(""));
    EXPECT_FALSE(is_fleet_study_file("/nonexistent/study.json"));
    EXPECT_FALSE(is_fleet_study_file(CKVSIM_SOURCE_DIR "/workloads/specs"));
    EXPECT_FALSE(is_fleet_study_file(CKVSIM_SOURCE_DIR "/workloads/specs/ci.json"));
    EXPECT_TRUE(is_fleet_study_file(CKVSIM_SOURCE_DIR "/workloads/specs/fleet-ci.json"));
}

TEST(FleetStudy, TheCommittedStudiesAreValid) {
    for (auto const* name : {"fleet-ci", "fleet-10m", "fleet-1e9", "fleet-nodes", "fleet-regimes",
                             "fleet-refresh", "fleet-crash", "bench-fleet-10m"}) {
        auto const path = std::string(CKVSIM_SOURCE_DIR "/workloads/specs/") + name + ".json";
        ASSERT_TRUE(is_fleet_study_file(path)) << path;
        FleetStudy study;
        ASSERT_NO_THROW(study = load_fleet_study(path)) << path;
        EXPECT_EQ(study.name, name);
        EXPECT_EQ(parse_fleet_study(dump_fleet_study(study), "dump"), study) << path;
    }
}

TEST(FleetStudy, AnOverrideCannotMakeItAnotherKindOfStudy) {
    EXPECT_TRUE(problems_of(base_study(), {"/study=fleet"}).empty());
    for (auto const* value : {"other", "\"\"", "1", "null", "[\"fleet\"]"}) {
        auto const problems = problems_of(base_study(), {std::string("/study=") + value});
        ASSERT_EQ(problems.size(), 1U) << value;
        EXPECT_EQ(problems[0].pointer, "/study");
        EXPECT_NE(problems[0].message.find(std::string("--set '/study=") + value),
                  std::string::npos)
            << problems[0].message;
    }
    EXPECT_NE(problems_of(base_study(), {"/study=other"})[0].message.find("allowed: fleet"),
              std::string::npos);
}

TEST(FleetStudy, ASearchHasNoBurstsOrFlashCrowds) {
    for (auto const* shape :
         {"/traffic/bursts={\"multiplier\": 3}",
          "/traffic/flash_crowds=[{\"start_s\": 0.1, \"duration_s\": 1, \"multiplier\": 2, "
          "\"user_share\": 0.1}]"}) {
        std::vector<std::string> overrides = {"/fleet/routing={\"kind\": \"home\"}", shape};
        EXPECT_TRUE(problems_of(base_study(), overrides).empty()) << "a sweep may have them";
        overrides.emplace_back("/search=\"max_load\"");
        auto const problems = problems_of(base_study(), overrides);
        ASSERT_EQ(problems.size(), 1U) << render(problems);
        EXPECT_EQ(problems[0].pointer, "/search");
        EXPECT_NE(problems[0].suggestion.find("sweep requests_per_second"), std::string::npos);
    }
}

struct BrokenStudy {
    char const* name;
    std::string from;
    std::string to;
    std::string pointer;
    std::string reason;  ///< part of message or suggestion
};
void PrintTo(BrokenStudy const& broken, std::ostream* out) { *out << broken.name; }

class BrokenStudies : public testing::TestWithParam<BrokenStudy> {};

TEST_P(BrokenStudies, AreRefusedAtTheRightPlaceWithAReason) {
    auto const& broken = GetParam();
    auto const problems = problems_of(test::with(base_study(), broken.from, broken.to));
    ASSERT_FALSE(problems.empty()) << "accepted";
    EXPECT_TRUE(std::any_of(problems.begin(), problems.end(), [&](ConfigProblem const& p) {
        return p.pointer == broken.pointer &&
               (p.message + "; " + p.suggestion).find(broken.reason) != std::string::npos;
    })) << render(problems);
    EXPECT_EQ(problems.size(), 1U) << "one mistake, one problem: " << render(problems);
}

std::vector<BrokenStudy> const kBroken = {
    {"trailing_comma", "\"p.json\"}", "\"p.json\",}", "", "no trailing commas"},
    {"duplicate_key", "\"seed\": 7,", "\"seed\": 7, \"seed\": 8,", "/seed", "more than once"},
    {"not_an_object", base_study(), "[1]", "", "starts with {"},
    {"zones_beyond_one", "\"requests\": 20000",
     "\"requests\": 20000, \"diurnal\": {\"amplitude\": 0.5, \"zones\": "
     "[{\"utc_offset_h\": 0, \"share\": 0.7}, {\"utc_offset_h\": 8, \"share\": 0.7}]}",
     "/traffic/diurnal/zones", "must add up to 1"},
    {"negative_least_slos", "\"warmup_share\": 0.1", "\"least_slos\": -1", "/traffic/least_slos",
     "0"},
    {"unknown_key", "\"nodes\": 4", "\"node\": 4, \"nodes\": 4", "/fleet/node",
     "did you mean \"nodes\""},
    {"unknown_key_in_model", "\"class\": \"item\"", "\"klass\": \"item\"", "/models/0/klass",
     "did you mean \"class\""},
    {"key_of_another_layout", "\"shed_limit\": 0.01", "\"arms\": []", "/arms", "unknown key"},
    {"missing_traffic", "\"requests_per_second\": 5000, ", "", "/traffic/requests_per_second",
     "missing"},
    {"missing_users", "\"users\": 10000, ", "", "/fleet/users", "missing"},
    {"missing_platform", "\"platform\": \"p.json\"", "", "/files/platform", "missing"},
    {"missing_keeping", ", \"keeping\": \"item_table\"", "", "/strategies/2/keeping", "missing"},
    {"no_models", "{\"name\": \"twin\", \"class\": \"item\", \"max_interactions\": 500},", "1,",
     "/models/0", "object"},
    {"wrong_kind", "\"candidates\": 64", "\"candidates\": \"64\"", "/candidates", "integer"},
    {"fraction_of_a_node", "\"nodes\": 4", "\"nodes\": 4.5", "/fleet/nodes", "integer"},
    {"negative_rate", "5000", "-1", "/traffic/requests_per_second",
     "-1 is not allowed; allowed: > 0"},
    {"share_of_one", "\"warmup_share\": 0.1", "\"warmup_share\": 1", "/traffic/warmup_share",
     "1 is not allowed; allowed: >= 0 and < 1"},
    {"unknown_policy", "\"clock\"", "\"clok\"", "/fleet/tiers/policy", "clock"},
    {"unknown_tier_in_sweep", "\"hbm_dram\"]", "\"dram\"]", "/sweep/tiers/1", "hbm_dram"},
    {"repeated_sweep_value", "[16, 32]", "[16, 16]", "/sweep/candidates/1", "repeats element 0"},
    {"odd_index_width", "\"index_bytes\": 2", "\"index_bytes\": 3", "/strategies/1/index_bytes",
     "4"},
    {"later_version", "\"schema_version\": 1", "\"schema_version\": 2", "/schema_version",
     "2 is not allowed; allowed: 1 .. 1"},
    // Keys without effect.
    {"pool_key_without_pools", "\"type\": \"int8\"", "\"type\": \"int8\", \"m\": 5",
     "/strategies/0/m", "has no effect here (it applies when keeping = collective"},
    {"width_without_pools", "\"keeping\": \"item_table\"",
     "\"keeping\": \"item_table\", \"index_bytes\": 1", "/strategies/2/index_bytes",
     "has no effect here"},
    {"slack_of_another_routing", "\"kind\": \"bounded_loads\"", "\"kind\": \"two_choices\"",
     "/fleet/routing/slack", "it applies when kind = bounded_loads"},
    {"spill_of_another_routing", "\"slack\": 0.1", "\"spill_ms\": 3", "/fleet/routing/spill_ms",
     "it applies when kind = spill_over"},
    // Combinations.
    {"more_nodes_than_users", "\"users\": 10000", "\"users\": 3", "/fleet/users",
     "fewer users than nodes"},
    {"too_many_users_a_node", "\"users\": 10000, \"nodes\": 4",
     "\"users\": 9000000000, \"nodes\": 2", "/fleet/users", "more than 4e9 users on a node"},
    {"history_upside_down", "\"shortest\": 2", "\"shortest\": 901", "/users/history/shortest",
     "above longest"},
    {"sample_of_a_routed_fleet", "\"nodes\": 4", "\"nodes\": 4, \"sampled_nodes\": 2",
     "/fleet/sampled_nodes", "users stay at home"},
    {"search_of_a_routed_fleet", "\"shed_limit\"", "\"search\": \"max_load\", \"shed_limit\"",
     "/search", "stay at home"},
    {"same_model_name", "\"name\": \"hstu\"", "\"name\": \"twin\"", "/models/1/name",
     "names must differ"},
    {"same_strategy_name", "\"name\": \"table\"", "\"name\": \"full\"", "/strategies/2/name",
     "names must differ"},
    {"strategy_that_fits_no_model", "\"class\": \"item\"", "\"class\": \"event\"", "/strategies/2",
     "does not apply"},
    {"int8_of_collective", "\"d_u\": 2,", "\"d_u\": 2, \"type\": \"int8\",", "/strategies/1",
     "int8"},
    {"index_too_narrow", "\"index_bytes\": 2", "\"index_bytes\": 1", "/strategies/1",
     "cannot name 300"},
    {"d_u_of_the_whole_width", "\"d_u\": 2", "\"d_u\": 256", "/strategies/1", "d_u"},
};

INSTANTIATE_TEST_SUITE_P(FleetStudy, BrokenStudies, testing::ValuesIn(kBroken),
                         [](auto const& tested) { return std::string(tested.param.name); });

/// The base with users who stay at home, so that searches are allowed.
std::string home_study() {
    return test::with(base_study(), R"({"kind": "bounded_loads", "window_ms": 5, "slack": 0.1})",
                      R"({"kind": "home"})");
}

TEST(FleetStudy, ASearchAndItsAxisExcludeEachOther) {
    EXPECT_TRUE(problems_of(home_study()).empty());
    EXPECT_TRUE(problems_of(home_study(), {"/search=\"nodes\""}).empty());
    auto const nodes = problems_of(home_study(), {"/search=\"nodes\"", "/sweep/nodes=[2,4]"});
    ASSERT_EQ(nodes.size(), 1U) << render(nodes);
    EXPECT_EQ(nodes[0].pointer, "/sweep/nodes");
    auto const load =
        problems_of(home_study(), {"/search=\"max_load\"", "/sweep/requests_per_second=[1000]"});
    ASSERT_EQ(load.size(), 1U) << render(load);
    EXPECT_EQ(load[0].pointer, "/sweep/requests_per_second");
    EXPECT_TRUE(problems_of(home_study(), {"/search=\"max_load\"", "/sweep/nodes=[2,4]"}).empty());
}

TEST(FleetStudy, AnAxisIsCheckedLikeTheBaseValue) {
    EXPECT_EQ(problems_of(base_study(), {"/sweep/nodes=[2, 20000]"})
                  .at(0)
                  .message.find("fewer users than nodes"),
              0U);
    EXPECT_EQ(problems_of(base_study(), {"/sweep/users=[3, 20000]"})
                  .at(0)
                  .message.find("fewer users than nodes"),
              0U);
    EXPECT_TRUE(problems_of(base_study(), {"/sweep/users=[4, 20000]"}).empty());
    EXPECT_FALSE(
        problems_of(home_study(), {"/fleet/sampled_nodes=2", "/sweep/routing=[\"random\"]"})
            .empty());
    EXPECT_TRUE(problems_of(home_study(), {"/fleet/sampled_nodes=2"}).empty());
}

/// The base study at home with these events.
std::vector<ConfigProblem> with_events(std::string const& events,
                                       std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(), {"/fleet/routing={}", "/sweep={}", "/events=" + events});
    return problems_of(base_study(), overrides);
}

TEST(FleetStudy, EventsAreReadWithTheirDefaults) {
    auto const study = parse_fleet_study(
        base_study(), "test.json",
        {R"(/events=[{"kind": "refresh", "at": 0.25, "rolling": 0.5, "rolling_by": "users"},
                     {"kind": "crash", "mean_between": 0.5, "duration": 0.1, "nodes": [1, 3]}])"});
    ASSERT_EQ(study.fleet.events.size(), 2U);
    EXPECT_EQ(
        study.fleet.events[0],
        (fleet::FleetEvent{.at = 0.25, .rolling = 0.5, .rolling_by = fleet::RollingBy::users}));
    EXPECT_EQ(study.fleet.events[1].kind, fleet::EventKind::crash);
    EXPECT_EQ(study.fleet.events[1].nodes, (std::vector<std::uint32_t>{1, 3}));
    EXPECT_EQ(study.fleet.events[1].mean_between, 0.5);
    EXPECT_EQ(parse_fleet_study(dump_fleet_study(study), "dump"), study);
}

TEST(FleetStudy, EventsThatCannotBeAreRefusedWithTheReason) {
    struct Case {
        char const* events;
        std::vector<std::string> overrides;
        char const* pointer;
        char const* words;
    };
    std::vector<Case> const cases = {
        {R"([{"kind": "flood", "at": 0.1}])", {}, "/events/0/kind", "tier_loss"},
        {R"([{"kind": "refresh"}])", {}, "/events/0/at", "missing"},
        {R"([{"kind": "crash", "at": 0.1}])", {}, "/events/0/duration", "missing"},
        {R"([{"kind": "crash", "at": 0.1, "duration": 0}])", {}, "/events/0/duration", "0"},
        {R"([{"kind": "crash", "at": 0.1, "duration": 0.1, "slowdown": 2}])",
         {},
         "/events/0/slowdown",
         "kind = slow"},
        {R"([{"kind": "refresh", "at": 1.0}])", {}, "/events/0/at", "after the end"},
        {R"([{"kind": "refresh", "at": 0.6, "rolling": 0.4}])",
         {},
         "/events/0/at",
         "not over before the end"},
        {R"([{"kind": "refresh", "at": 0.6, "mean_between": 0.4}])",
         {},
         "/events/0/mean_between",
         "kind is not refresh, scale_in, scale_out, catalogue or new_users"},
        {R"([{"kind": "slow", "at": 0.6, "duration": 0.1, "nodes": [4]}])",
         {},
         "/events/0/nodes",
         "node 4 is not one of the 4 nodes that are simulated: 0, 1, 2, 3"},
        {R"([{"kind": "slow", "at": 0.6, "duration": 0.1, "nodes": [1]}])",
         {"/fleet/sampled_nodes=2"},
         "/events/0/nodes",
         "node 1 is not one of the 2 nodes that are simulated: 0, 2"},
        {R"([{"kind": "slow", "at": 0.6, "duration": 0.1, "nodes": [1]}])",
         {"/search=max_load"},
         "/events/0/nodes",
         "a search simulates one node"},
        {R"([{"kind": "slow", "clock": "seconds", "at": 2, "duration": 1}])",
         {"/search=max_load"},
         "/events/0/clock",
         "use clock = fraction"},
        {R"([{"kind": "slow", "at": 0.6, "duration": 0.1, "nodes": [1], "share": 0.5}])",
         {},
         "/events/0/share",
         "nodes is empty"},
        {R"([{"kind": "crash", "at": 0.2, "duration": 0.2, "nodes": [1]},
             {"kind": "crash", "at": 0.3, "duration": 0.2, "nodes": [0, 1]}])",
         {},
         "/events/1/at",
         "before it has returned from event 0"},
        {R"([{"kind": "scale_in", "at": 0.2, "nodes": [1]}])",
         {},
         "/events/0/kind",
         "nowhere to go"},
        {R"([{"kind": "scale_out", "at": 0.2}])",
         {"/fleet/routing/kind=random"},
         "/events/0/kind",
         "all nodes would be away"},
        {R"([{"kind": "tier_loss", "at": 0.2, "duration": 0.2}])",
         {"/fleet/tiers/inclusive=true"},
         "/events/0/kind",
         "copies"},
        {R"([{"kind": "tier_loss", "at": 0.2, "duration": 0.2, "tier": "nvme"}])",
         {"/fleet/tiers/nvme=false"},
         "/events/0/kind",
         "no entry lives on flash"},
        {R"([{"kind": "refresh", "at": 0.2, "changed_share": 0.2}])",
         {R"(/strategies=[{"name": "full", "keeping": "full"}])"},
         "/events/0/changed_share",
         "no strategy keeps codes"},
        {R"([{"kind": "catalogue", "at": 0.2}])", {}, "/events/0/growth", "missing"},
        {R"([{"kind": "catalogue", "at": 0.2, "growth": 0.1, "share": 0.5}])",
         {},
         "/events/0/nodes",
         "on some nodes only"},
        {R"([{"kind": "catalogue", "at": 0.2, "growth": 0.1},
             {"kind": "catalogue", "at": 0.3, "growth": 0.1}])",
         {},
         "/events/1/kind",
         "grows in event 0 already"},
        {R"([{"kind": "crash", "at": 0.2, "duration": 0.1, "swap_share": 0.1}])",
         {},
         "/events/0/swap_share",
         "kind = refresh or catalogue"},
        {R"([{"kind": "new_users", "at": 0.2}])", {}, "/events/0/users_share", "missing"},
        {R"([{"kind": "new_users", "at": 0.2, "users_share": 0}])",
         {},
         "/events/0/users_share",
         "0"},
        {R"([{"kind": "new_users", "at": 0.2, "users_share": 1}])",
         {},
         "/events/0/users_share",
         "1"},
        {R"([{"kind": "new_users", "at": 0.2, "rolling": 0.9, "users_share": 0.1}])",
         {},
         "/events/0/at",
         "not over before the end"},
        {R"([{"kind": "new_users", "at": 0.2, "users_share": 0.1, "duration": 0.1}])",
         {},
         "/events/0/duration",
         "new_users"},
        {R"([{"kind": "refresh", "at": 0.2, "users_share": 0.1}])",
         {},
         "/events/0/users_share",
         "kind = new_users"},
    };
    for (auto const& c : cases) {
        auto const problems = with_events(c.events, c.overrides);
        ASSERT_EQ(problems.size(), 1U) << c.events << render(problems);
        EXPECT_NE(problems[0].pointer.find(c.pointer), std::string::npos) << render(problems);
        EXPECT_NE(render(problems).find(c.words), std::string::npos) << render(problems);
    }
    EXPECT_TRUE(with_events(R"([{"kind": "crash", "at": 0.2, "duration": 0.1, "nodes": [1]},
                                {"kind": "crash", "at": 0.3, "duration": 0.1, "nodes": [1]},
                                {"kind": "crash", "at": 0.25, "duration": 0.1, "nodes": [0]}])")
                    .empty());
}

TEST(FleetStudy, TheFirstVisitNeedsATierBelow) {
    auto const study = test::with(base_study(), R"("tiers": ["hbm", "hbm_dram"], )", "");
    EXPECT_TRUE(problems_of(study).empty());
    EXPECT_TRUE(problems_of(study, {"/fleet/tiers/dram=false"}).empty());
    auto const none = problems_of(study, {"/fleet/tiers/dram=false", "/fleet/tiers/nvme=false"});
    ASSERT_EQ(none.size(), 1U) << render(none);
    EXPECT_NE(none[0].message.find("second_visit"), std::string::npos);
}

TEST(FleetStudy, DocumentsNameEveryKey) {
    auto const schema = fleet_schema_json();
    auto const markdown = fleet_markdown();
    for (auto const* key : {"requests_per_second", "tokens_per_interaction", "index_bytes",
                            "sampled_nodes", "item_zipf", "prefetch_lead_ms", "shed_limit"}) {
        EXPECT_NE(schema.find("\"" + std::string(key) + "\""), std::string::npos) << key;
        EXPECT_NE(markdown.find(key), std::string::npos) << key;
    }
}

}  // namespace
}  // namespace ckvsim::config
