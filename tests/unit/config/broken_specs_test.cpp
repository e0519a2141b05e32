// Every way to break a spec that we know of: each must be refused at the right pointer with a
// message that says why.
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "config/spec.hpp"
#include "core/error.hpp"
#include "spec_cases.hpp"

namespace ckvsim::config {
namespace {

struct BrokenSpec {
    char const* name;
    std::string from;
    std::string to;
    std::string pointer;
    std::string reason;  ///< part of message or suggestion
};
void PrintTo(BrokenSpec const& broken, std::ostream* out) { *out << broken.name; }

std::vector<ConfigProblem> problems_of(std::string const& text,
                                       std::vector<std::string> const& overrides = {}) {
    try {
        parse_spec(text, "test.json", overrides);
    } catch (ConfigError const& error) {
        return error.problems();
    }
    return {};
}

bool has(std::vector<ConfigProblem> const& problems, std::string const& pointer,
         std::string const& reason) {
    return std::any_of(problems.begin(), problems.end(), [&](ConfigProblem const& problem) {
        return problem.pointer == pointer &&
               (problem.message + "; " + problem.suggestion).find(reason) != std::string::npos;
    });
}

std::string render(std::vector<ConfigProblem> const& problems) {
    return ConfigError("test.json", problems).what();
}

std::vector<BrokenSpec> const kSyntax = {
    {"line_comment", "\"seed\": 7,", "\"seed\": 7, // seed", "", "line 4, column 14"},
    {"block_comment", "{\n", "{ /* spec */\n", "", "line 1, column 3"},
    {"trailing_comma_object", "\"p.json\"}", "\"p.json\",}", "", "no trailing commas"},
    {"trailing_comma_array", "[1, 2]", "[1, 2,]", "", "line 7"},
    {"byte_order_mark", "{\n", "\xEF\xBB\xBF{\n", "", "byte order mark"},
    {"invalid_utf8", "\"base\"", "\"ba\xC3\x28\"", "", "line 3, column 14: invalid UTF-8"},
    {"overlong_utf8", "\"base\"", "\"\xC0\xAF\"", "", "invalid UTF-8"},
    {"surrogate_utf8", "\"base\"", "\"\xED\xA0\x80\"", "", "invalid UTF-8"},
    {"nan_literal", "\"seed\": 7", "\"seed\": NaN", "", "line 4"},
    {"infinity_literal", "0.1", "-Infinity", "", "line 7"},
    {"number_beyond_double", "0.1", "1e400", "", "line 7"},
    {"single_quotes", "\"base\"", "'base'", "", "strings in double quotes"},
    {"text_after_the_end", "\"p.json\"}\n}", "\"p.json\"}\n} {}", "", "line 20"},
    {"truncated", "\"p.json\"}\n}", "\"p.json\"", "", "line 19"},
    {"duplicate_key", "\"seed\": 7,", "\"seed\": 7, \"seed\": 8,", "/seed", "more than once"},
    {"duplicate_nested_key", "\"heads\": 2", "\"heads\": 2, \"heads\": 4", "/model/heads",
     "more than once"},
    {"duplicate_section", "\"seed\": 7,", "\"seed\": 7, \"model\": {\"heads\": {\"x\": 1}},",
     "/model", "more than once"},
};

std::vector<BrokenSpec> const kKeys = {
    {"unknown_key", "\"heads\": 2", "\"head\": 2", "/model/head", "did you mean \"heads\""},
    {"unknown_section", "\"training\"", "\"trainin\"", "/trainin", "did you mean \"training\""},
    {"unknown_key_in_arm", "\"d_u\": 1", "\"du\": 1", "/arms/1/weights/du", "did you mean \"d_u\""},
    {"unknown_far_key", "\"heads\": 2", "\"zzzzzzzzzzzz\": 2", "/model/zzzzzzzzzzzz",
     "known here: kind, feature_dim"},
    {"key_with_slash", "\"heads\": 2", "\"a/b~\": 2", "/model/a~1b~0", "unknown key"},
    {"missing_version", "\"schema_version\": 1,", "", "/schema_version", "missing"},
    {"missing_name", "\"name\": \"base\",", "", "/name", "missing"},
    {"missing_workload_kind", "\"kind\": \"synthetic\",", "", "/workload/kind", "missing"},
    {"missing_arm_name", "\"name\": \"coll\",", "", "/arms/1/name", "missing"},
    {"missing_weights", "\"weights\": {\"variant\": \"full\"},", "", "/arms/0/weights", "missing"},
    {"missing_strategy", ", \"strategy\": {\"kind\": \"full\"}", "", "/arms/0/strategy", "missing"},
    {"missing_platform", "\"platform\": \"p.json\"", "", "/files/platform",
     "executed or simulated runs are on"},
    {"dataset_without_path",
     "{\"kind\": \"synthetic\", \"synthetic\": {\"users\": 100, "
     "\"items\": 200, \"clusters\": 10}}",
     "{\"kind\": \"dataset\"}", "/workload/dataset_path", "missing"},
    {"synthetic_keys_with_dataset", "\"kind\": \"synthetic\"",
     "\"dataset_path\": \"d.h5\", \"kind\": \"dataset\"", "/workload/synthetic",
     "kind = synthetic"},
    {"dataset_path_with_synthetic", "\"kind\": \"synthetic\"",
     "\"dataset_path\": \"d.h5\", \"kind\": \"synthetic\"", "/workload/dataset_path",
     "has no effect here"},
    {"pool_on_full_weights", "{\"variant\": \"full\"}", "{\"variant\": \"full\", \"m\": 5}",
     "/arms/0/weights/m", "variant = collective"},
    {"sides_of_full_weights", "{\"variant\": \"full\"}",
     "{\"variant\": \"full\", \"sides\": \"both\"}", "/arms/0/weights/sides",
     "variant = collective"},
    {"start_of_full_weights", "{\"variant\": \"full\"}",
     "{\"variant\": \"full\", \"start\": \"full\"}", "/arms/0/weights/start",
     "variant = collective"},
    {"unknown_start", "\"d_u\": 1", "\"d_u\": 1, \"start\": \"warm\"", "/arms/1/weights/start",
     "random, full, full_silu"},
    {"teacher_of_full_weights", "{\"variant\": \"full\"}",
     "{\"variant\": \"full\", \"teacher\": \"none\"}", "/arms/0/weights/teacher",
     "variant = collective"},
    {"unknown_teacher", "\"d_u\": 1", "\"d_u\": 1, \"teacher\": \"collective\"",
     "/arms/1/weights/teacher", "none, full, full_silu"},
    {"unknown_sides", "\"d_u\": 1", "\"d_u\": 1, \"sides\": \"q\"", "/arms/1/weights/sides",
     "both, k, v"},
    {"search_dim_of_twin", "\"heads\": 2", "\"heads\": 2, \"kind\": \"twin\", \"search_dim\": 8",
     "/model/search_dim", "kind = sim"},
    {"hash_bits_of_sim", "\"heads\": 2", "\"heads\": 2, \"hash_bits\": 16", "/model/hash_bits",
     "kind is eta or sdim"},
    {"hash_bits_between", "\"heads\": 2", "\"heads\": 2, \"kind\": \"eta\", \"hash_bits\": 24",
     "/model/hash_bits", "8, 16, 32, 64"},
    {"hash_bits_beyond_a_byte", "\"heads\": 2",
     "\"heads\": 2, \"kind\": \"sdim\", \"hash_bits\": 9", "/model/hash_bits", "1 .. 8"},
    {"hashes_of_eta", "\"heads\": 2", "\"heads\": 2, \"kind\": \"eta\", \"hashes\": 4",
     "/model/hashes", "kind = sdim"},
    {"too_many_hashes", "\"heads\": 2", "\"heads\": 2, \"kind\": \"sdim\", \"hashes\": 65",
     "/model/hashes", "1 .. 64"},
    {"top_k_of_sdim", "\"heads\": 2", "\"heads\": 2, \"kind\": \"sdim\"", "/model/top_k",
     "kind is neither sdim nor hstu"},
    {"scope_all_of_sdim", "\"heads\": 2, \"top_k\": 8", "\"heads\": 2, \"kind\": \"sdim\"",
     "/arms/1/weights/scope", "use 'released'"},
    {"window_of_items", "{\"kind\": \"full\"}",
     "{\"kind\": \"full\"}, \"window\": {\"policy\": \"slide\"}, \"measure\": [\"accuracy\"]",
     "/arms/0/window/policy", "K and V belong to items"},
    {"window_and_latency", "{\"kind\": \"full\"}",
     "{\"kind\": \"full\"}, \"window\": {\"policy\": \"slide\"}, \"measure\": [\"latency\"]",
     "/arms/0/measure", "latency is that of an arm that only appends"},
    {"block_of_a_sliding_window", "{\"kind\": \"full\"}",
     "{\"kind\": \"full\"}, \"window\": {\"policy\": \"slide\", \"block_tokens\": 4}",
     "/arms/0/window/block_tokens", "policy = reencode or drop_block"},
    {"unknown_model", "\"heads\": 2", "\"heads\": 2, \"kind\": \"din\"", "/model/kind",
     "sim, twin"},
    {"index_on_full_strategy", "{\"kind\": \"full\"}", "{\"kind\": \"full\", \"index_bytes\": 2}",
     "/arms/0/strategy/index_bytes", "kind = collective"},
    {"rank_on_full_strategy", "{\"kind\": \"full\"}", "{\"kind\": \"full\", \"rank\": 2}",
     "/arms/0/strategy/rank", "kind = low_rank"},
    {"subspaces_on_low_rank", "{\"kind\": \"full\"}", "{\"kind\": \"low_rank\", \"subspaces\": 2}",
     "/arms/0/strategy/subspaces", "kind = vq"},
    {"value_type_on_recompute", "{\"kind\": \"full\"}",
     "{\"kind\": \"recompute\", \"value_type\": \"fp16\"}", "/arms/0/strategy/value_type",
     "kind is not recompute"},
    {"speed_factor_on_poisson", "\"duration_s\": 2", "\"speed_factor\": 2",
     "/measurements/executed/traffic/speed_factor", "kind = original"},
    {"path_on_poisson", "\"duration_s\": 2", "\"path\": \"r.bin\"",
     "/measurements/executed/traffic/path", "kind = recorded"},
    {"recorded_without_path", "{\"kind\": \"poisson\", \"duration_s\": 2}",
     "{\"kind\": \"recorded\"}", "/measurements/executed/traffic/path", "missing"},
    {"recorded_with_empty_path", "{\"kind\": \"poisson\", \"duration_s\": 2}",
     "{\"kind\": \"recorded\", \"path\": \"\"}", "/measurements/executed/traffic/path",
     "not allowed"},
    {"rate_on_recorded", "{\"kind\": \"poisson\", \"duration_s\": 2}",
     "{\"kind\": \"recorded\", \"path\": \"r\", \"requests_per_second\": 5}",
     "/measurements/executed/traffic/requests_per_second", "kind = poisson"},
    {"diurnal_on_recorded", "{\"kind\": \"poisson\", \"duration_s\": 2}",
     "{\"kind\": \"recorded\", \"path\": \"r\", \"diurnal\": {\"amplitude\": 0.5}}",
     "/measurements/executed/traffic/diurnal", "kind = poisson"},
    {"zones_without_amplitude", "\"duration_s\": 2",
     "\"diurnal\": {\"zones\": [{\"utc_offset_h\": 8, \"share\": 1}]}",
     "/measurements/executed/traffic/diurnal/zones", "amplitude > 0"},
    {"gap_without_bursts", "\"duration_s\": 2", "\"bursts\": {\"mean_gap_s\": 3}",
     "/measurements/executed/traffic/bursts/mean_gap_s", "multiplier > 1"},
    {"flash_crowd_without_share", "\"duration_s\": 2",
     "\"flash_crowds\": [{\"start_s\": 0, \"duration_s\": 1, \"multiplier\": 2}]",
     "/measurements/executed/traffic/flash_crowds/0/user_share", "missing"},
    {"unknown_traffic_key", "\"duration_s\": 2", "\"burst\": {\"multiplier\": 2}",
     "/measurements/executed/traffic/burst", "did you mean \"bursts\"?"},
};

std::vector<BrokenSpec> const kTypes = {
    {"number_as_string", "\"seed\": 7", "\"seed\": \"7\"", "/seed", "write it without quotes"},
    {"string_as_number", "\"base\"", "5", "/name", "5 is a number, expected a string"},
    {"null_value", "\"seed\": 7", "\"seed\": null", "/seed", "null"},
    {"boolean_as_number", "\"seed\": 7", "\"seed\": true", "/seed", "expected an integer"},
    {"number_as_boolean", "\"user_counts\"", "\"enabled\": 1, \"user_counts\"",
     "/measurements/memory/enabled", "expected true or false"},
    {"array_as_object", "{\"max_batch\": 4}", "[4]", "/fleet/node", "expected an object"},
    {"object_as_array", "[1, 2]", "{\"a\": 1}", "/training/seeds", "expected an array"},
    {"arm_is_number", "\"arms\": [", "\"arms\": [3, ", "/arms/0", "expected an object"},
    {"real_for_integer", "\"heads\": 2", "\"heads\": 2.5", "/model/heads",
     "2.5 is not written as an integer"},
    {"exponent_for_integer", "\"users\": 100", "\"users\": 1e3", "/workload/synthetic/users",
     "for example 1000"},
    {"choice_as_number", "\"variant\": \"full\"", "\"variant\": 1", "/arms/0/weights/variant",
     "expected a string"},
    {"string_in_number_list", "[1, 2]", "[1, \"2\"]", "/training/seeds/1", "expected an integer"},
};

std::vector<BrokenSpec> const kRanges = {
    {"negative_unsigned", "\"seed\": 7", "\"seed\": -7", "/seed", "-7 is not allowed"},
    {"beyond_64_bits", "\"seed\": 7", "\"seed\": 18446744073709551616", "/seed",
     "18446744073709551616 is not allowed"},
    {"beyond_32_bits", "\"items\": 200", "\"items\": 4294967296", "/workload/synthetic/items",
     "1 .. 4294967294"},
    {"zero_heads", "\"heads\": 2", "\"heads\": 0", "/model/heads", "1 .. 256"},
    {"zero_users", "\"users\": 100", "\"users\": 0", "/workload/synthetic/users", "1 .. "},
    {"dropout_one", "\"dropout\": 0.1", "\"dropout\": 1.0", "/training/dropout", ">= 0 and < 1"},
    {"distil_weight_above_one", "\"dropout\": 0.1", "\"distil_weight\": 1.5",
     "/training/distil_weight", ">= 0 and <= 1"},
    {"temperature_of_zero", "\"dropout\": 0.1", "\"distil_temperature\": 0",
     "/training/distil_temperature", ">= 0.01 and <= 100"},
    {"negative_duration", "\"duration_s\": 2", "\"duration_s\": -2",
     "/measurements/executed/traffic/duration_s", "> 0"},
    {"empty_pool", "\"m\": 20", "\"m\": 0", "/arms/1/weights/m", "1 .. "},
    {"code_of_nine_bits", "{\"kind\": \"full\"}", "{\"kind\": \"vq\", \"code_bits\": 9}",
     "/arms/0/strategy/code_bits", "1 .. 8"},
    {"index_width_three", "\"index_bytes\": 1", "\"index_bytes\": 3",
     "/arms/1/strategy/index_bytes", "allowed: 1, 2, 4"},
    {"zero_batch", "\"max_batch\": 4", "\"max_batch\": 0", "/fleet/node/max_batch", "1 .. "},
    {"empty_arms", "\"arms\": [", "\"arms\": [], \"x\": [", "/arms", "1 .. 256 elements"},
    {"no_seeds", "[1, 2]", "[]", "/training/seeds", "an array of 0"},
    {"repeated_seed", "[1, 2]", "[1, 2, 1]", "/training/seeds/2", "repeats element 0"},
    {"no_measurement", "[\"memory\", \"accuracy\"]", "[]", "/arms/1/measure", "1 .. 3"},
    {"repeated_measurement", "[\"memory\", \"accuracy\"]", "[\"memory\", \"memory\"]",
     "/arms/1/measure/1", "repeats"},
    {"zero_tower_width", "\"tower\": [8]", "\"tower\": [8, 0]", "/model/tower/1", "1 .. 65536"},
    {"newer_schema", "\"schema_version\": 1", "\"schema_version\": 2", "/schema_version",
     "update ckvsim"},
    {"older_schema", "\"schema_version\": 1", "\"schema_version\": 0", "/schema_version", "1 .. 1"},
    {"empty_name", "\"base\"", "\"\"", "/name", "1 .. 64 bytes"},
    {"name_is_a_path", "\"base\"", "\"../base\"", "/name", "letters, digits"},
    {"name_hides", "\"base\"", "\"..\"", "/name", "starts with '.'"},
    {"arm_name_with_space", "\"name\": \"full\"", "\"name\": \"full kv\"", "/arms/0/name",
     "letters, digits"},
    {"zero_byte_in_path", "\"p.json\"", "\"p\\u0000.json\"", "/files/platform", "not allowed"},
    {"unknown_choice", "\"variant\": \"full\"", "\"variant\": \"ful\"", "/arms/0/weights/variant",
     "did you mean \"full\""},
    {"unknown_control", "\"m1\"", "\"m2\"", "/measurements/accuracy/controls/1", "random_indices"},
};

std::vector<BrokenSpec> const kRules = {
    {"duplicate_arm_names", "\"name\": \"coll\"", "\"name\": \"full\"", "/arms/1/name",
     "already names arm 0"},
    {"arm_named_like_a_control", "\"name\": \"coll\"", "\"name\": \"control.m1\"", "/arms/1/name",
     "control."},
    {"d_u_reaches_d", "\"d_u\": 1", "\"d_u\": 16", "/arms/1/weights/d_u", "0 .. 15"},
    {"index_too_narrow", "\"m\": 20", "\"m\": 257", "/arms/1/strategy/index_bytes",
     "cannot hold pool index 256"},
    {"rank_above_d", "{\"kind\": \"full\"}", "{\"kind\": \"low_rank\", \"rank\": 17}",
     "/arms/0/strategy/rank", "allowed: 1 .. 16"},
    {"subspaces_that_do_not_divide", "{\"kind\": \"full\"}", "{\"kind\": \"vq\", \"subspaces\": 3}",
     "/arms/0/strategy/subspaces", "do not divide attention_dim 16"},
    {"int8_coefficients", "{\"kind\": \"full\"}",
     "{\"kind\": \"low_rank\", \"value_type\": \"int8\"}", "/arms/0/strategy/value_type",
     "use fp16"},
    {"int4_pools", "\"index_bytes\": 1", "\"index_bytes\": 1, \"value_type\": \"int4\"",
     "/arms/1/strategy/value_type", "use int8"},
    {"low_rank_on_collective", "{\"kind\": \"collective\", \"index_bytes\": 1}",
     "{\"kind\": \"low_rank\"}", "/arms/1/strategy/kind", "use strategy 'collective'"},
    {"collective_on_full", "{\"kind\": \"full\"}", "{\"kind\": \"collective\"}",
     "/arms/0/strategy/kind", "trained without a pool"},
    {"full_on_collective", "{\"kind\": \"collective\", \"index_bytes\": 1}", "{\"kind\": \"full\"}",
     "/arms/1/strategy/kind", "use strategy 'collective'"},
    {"table_on_no_history", "{\"variant\": \"full\"}", "{\"variant\": \"no_history\"}",
     "/arms/0/strategy/kind", "use strategy 'recompute'"},
    {"heads_do_not_divide", "\"heads\": 2", "\"heads\": 3", "/model/heads", "do not divide"},
    {"top_k_above_tokens", "\"top_k\": 8", "\"top_k\": 65", "/model/top_k", "1 .. 64"},
    {"clusters_above_items", "\"clusters\": 10", "\"clusters\": 201",
     "/workload/synthetic/clusters", "only 200 items"},
    {"history_min_above_cap", "\"users\": 100",
     "\"users\": 100, \"history_min\": 9, \"history_cap\": 8", "/workload/synthetic/history_min",
     "above history_cap 8"},
    {"interests_reversed", "\"users\": 100", "\"users\": 100, \"interests_min\": 7",
     "/workload/synthetic/interests_min", "above interests_max 6"},
    {"interests_above_clusters", "\"clusters\": 10", "\"clusters\": 5",
     "/workload/synthetic/interests_max", "only 5 clusters"},
    {"shares_beyond_one", "\"users\": 100", "\"users\": 100, \"train_share\": 0.95",
     "/workload/synthetic/train_share", "more than 1"},
    {"probabilities_beyond_one", "\"users\": 100", "\"users\": 100, \"repeat_probability\": 0.95",
     "/workload/synthetic/repeat_probability", "more than 1"},
    {"nobody_to_test", "\"users\": 100", "\"users\": 100, \"train_share\": 0.9",
     "/workload/synthetic/train_share", "no user to test on"},
    {"nobody_to_train", "\"users\": 100", "\"users\": 100, \"train_share\": 0",
     "/workload/synthetic/train_share", "no user to train on"},
    {"original_on_synthetic", "{\"kind\": \"poisson\", \"duration_s\": 2}",
     "{\"kind\": \"original\"}", "/measurements/executed/traffic/kind", "use \"poisson\""},
    {"warmup_longer_than_run", "\"warmup_s\": 0.5", "\"warmup_s\": 2",
     "/measurements/executed/warmup_s", "below 2"},
    {"endless_requests", "\"duration_s\": 2", "\"duration_s\": 2e6",
     "/measurements/executed/traffic/requests_per_second", "more than 1e9 requests"},
    {"endless_flash_crowd", "\"duration_s\": 2",
     "\"duration_s\": 1e5, \"flash_crowds\": [{\"start_s\": 0, \"duration_s\": 1e5, "
     "\"multiplier\": "
     "1e4, \"user_share\": 0.5}]",
     "/measurements/executed/traffic/requests_per_second", "or the flash crowds"},
    {"zones_beyond_one", "\"duration_s\": 2",
     "\"diurnal\": {\"amplitude\": 0.5, \"zones\": [{\"utc_offset_h\": 0, \"share\": 0.6}, "
     "{\"utc_offset_h\": 8, \"share\": 0.6}]}",
     "/measurements/executed/traffic/diurnal/zones", "add up to 1.2"},
    {"amplitude_beyond_one", "\"duration_s\": 2", "\"diurnal\": {\"amplitude\": 1.5}",
     "/measurements/executed/traffic/diurnal/amplitude", "allowed"},
    {"hour_24", "\"duration_s\": 2", "\"diurnal\": {\"amplitude\": 0.5, \"start_hour\": 24}",
     "/measurements/executed/traffic/diurnal/start_hour", "< 24"},
    {"endless_bursts", "\"duration_s\": 2",
     "\"bursts\": {\"multiplier\": 2, \"mean_burst_s\": 1e-6, \"mean_gap_s\": 1e-6}",
     "/measurements/executed/traffic/bursts/mean_burst_s", "more than 500000 bursts"},
    {"flash_crowd_after_the_end", "\"duration_s\": 2",
     "\"duration_s\": 2, \"flash_crowds\": [{\"start_s\": 2, \"duration_s\": 1, \"multiplier\": 2, "
     "\"user_share\": 0.5}]",
     "/measurements/executed/traffic/flash_crowds/0/start_s", "after the traffic's end"},
    {"more_nodes_than_shards", "\"nodes\": 2", "\"nodes\": 5000", "/fleet/nodes",
     "only 4096 shards"},
};

class BrokenSpecTest : public testing::TestWithParam<BrokenSpec> {};

TEST_P(BrokenSpecTest, IsRefusedAtItsPointer) {
    auto const& broken = GetParam();
    auto const problems = problems_of(test::with(test::base_spec(), broken.from, broken.to));
    ASSERT_FALSE(problems.empty()) << "was accepted";
    EXPECT_TRUE(has(problems, broken.pointer, broken.reason)) << render(problems);
}

auto const kNameOf = [](testing::TestParamInfo<BrokenSpec> const& info) {
    return std::string(info.param.name);
};
INSTANTIATE_TEST_SUITE_P(Syntax, BrokenSpecTest, testing::ValuesIn(kSyntax), kNameOf);
INSTANTIATE_TEST_SUITE_P(Keys, BrokenSpecTest, testing::ValuesIn(kKeys), kNameOf);
INSTANTIATE_TEST_SUITE_P(Types, BrokenSpecTest, testing::ValuesIn(kTypes), kNameOf);
INSTANTIATE_TEST_SUITE_P(Ranges, BrokenSpecTest, testing::ValuesIn(kRanges), kNameOf);
INSTANTIATE_TEST_SUITE_P(Rules, BrokenSpecTest, testing::ValuesIn(kRules), kNameOf);

TEST(BrokenSpec, TheBaseItselfIsValid) {
    EXPECT_EQ(render(problems_of(test::base_spec())), render({}));
}

TEST(BrokenSpec, TwinTakesTheEncodingsOfSim) {
    auto const of_twin = [](char const* strategy) {
        return problems_of(test::with(test::base_spec(), "{\"kind\": \"full\"}", strategy),
                           {"/model/kind=twin"});
    };
    for (char const* const taken :
         {"{\"kind\": \"full\"}", "{\"kind\": \"full\", \"value_type\": \"int8\"}",
          "{\"kind\": \"vq\"}"})
        EXPECT_EQ(render(of_twin(taken)), render({}));
}

TEST(BrokenSpec, RowsOfHstuThatAreOnlyPutTogetherAreNotTimed) {
    auto const hstu = test::with(test::base_spec(), "\"top_k\": 8", "\"kind\": \"hstu\"");
    EXPECT_EQ(render(problems_of(hstu)), render({}));
    for (std::string const kind : {"low_rank", "vq"}) {
        auto const coded = "{\"kind\": \"" + kind + "\"}";
        auto const timed = problems_of(test::with(hstu, "{\"kind\": \"full\"}", coded));
        EXPECT_TRUE(has(timed, "/arms/0/measure", "for its accuracy and bytes alone"))
            << render(timed);
        EXPECT_EQ(timed.size(), 1U) << render(timed);
        auto const untimed = test::with(hstu, "{\"kind\": \"full\"}",
                                        coded + ", \"measure\": [\"memory\", \"accuracy\"]");
        EXPECT_EQ(render(problems_of(untimed)), render({}));
        auto const of_sim = test::with(test::base_spec(), "{\"kind\": \"full\"}", coded);
        EXPECT_EQ(render(problems_of(of_sim)), render({})) << "sim is timed";
    }
}

TEST(BrokenSpec, AllProblemsAreReportedAtOnce) {
    auto text = test::with(test::base_spec(), "\"heads\": 2", "\"heads\": 3, \"hds\": 1");
    text = test::with(text, "\"d_u\": 1", "\"d_u\": 99");
    text = test::with(text, "\"seed\": 7", "\"seed\": -1, \"seed\": 2");
    text = test::with(text, "\"max_batch\": 4", "\"max_batch\": 0");
    auto const problems = problems_of(text);
    EXPECT_TRUE(has(problems, "/model/heads", "do not divide")) << render(problems);
    EXPECT_TRUE(has(problems, "/model/hds", "heads")) << render(problems);
    EXPECT_TRUE(has(problems, "/arms/1/weights/d_u", "0 .. 15")) << render(problems);
    EXPECT_TRUE(has(problems, "/seed", "more than once")) << render(problems);
    EXPECT_TRUE(has(problems, "/seed", "-1 is not allowed")) << render(problems);
    EXPECT_TRUE(has(problems, "/fleet/node/max_batch", "0 is not allowed")) << render(problems);
    EXPECT_EQ(problems.size(), 6U) << render(problems);
}

TEST(BrokenSpec, ABrokenValueDoesNotCauseMisleadingRules) {
    auto const problems =
        problems_of(test::with(test::base_spec(), "\"attention_dim\": 16", "\"attention_dim\": 0"));
    ASSERT_EQ(problems.size(), 1U) << render(problems);
    EXPECT_EQ(problems[0].pointer, "/model/attention_dim");
}

TEST(BrokenSpec, DeepNestingIsRefusedNotFollowed) {
    std::string const deep(200000, '[');
    EXPECT_TRUE(has(problems_of(deep), "", "nested deeper than 32"));
    std::string objects;
    for (int i = 0; i < 40; ++i) objects += "{\"a\":";
    EXPECT_TRUE(has(problems_of(objects), "", "nested deeper than 32"));
}

TEST(BrokenSpec, AHugeTextIsRefusedBeforeItIsParsed) {
    auto const text = test::with(test::base_spec(), "{\n", "{" + std::string(2 << 20, ' '));
    EXPECT_TRUE(has(problems_of(text), "", "largest file accepted"));
}

TEST(BrokenSpec, ManyProblemsAreCounted) {
    std::string unknown;
    for (int i = 0; i < 500; ++i) unknown += "\"unknown_" + std::to_string(i) + "\": 0, ";
    auto const problems = problems_of(test::with(test::base_spec(), "{\n", "{" + unknown));
    ASSERT_EQ(problems.size(), 101U);
    EXPECT_EQ(problems.back().message, "400 more problems");
}

TEST(BrokenSpec, OtherTextsAreNoSpecs) {
    for (char const* text : {"", "   ", "5", "[]", "null", "\"spec\"", "{", "\xFF"}) {
        EXPECT_FALSE(problems_of(text).empty()) << text;
    }
    EXPECT_TRUE(has(problems_of("[1]"), "", "an array of 1 is not an object"));
}

TEST(BrokenSpec, MessagesNameTheFileAndTheNumberOfProblems) {
    try {
        parse_spec("{}", "some/spec.json");
        FAIL();
    } catch (ConfigError const& error) {
        std::string const what = error.what();
        EXPECT_TRUE(what.starts_with("some/spec.json: 5 problems")) << what;
        EXPECT_EQ(error.exit_code(), ExitCode::config);
    }
}

struct BrokenOverride {
    char const* name;
    std::string text;
    std::string pointer;
    std::string reason;
};
void PrintTo(BrokenOverride const& broken, std::ostream* out) { *out << broken.name; }

class BrokenOverrideTest : public testing::TestWithParam<BrokenOverride> {};

TEST_P(BrokenOverrideTest, NamesTheOverride) {
    auto const& broken = GetParam();
    auto const problems = problems_of(test::base_spec(), {broken.text});
    ASSERT_FALSE(problems.empty()) << "was accepted";
    EXPECT_TRUE(has(problems, broken.pointer, broken.reason)) << render(problems);
    EXPECT_TRUE(has(problems, broken.pointer, "--set '" + broken.text + "'")) << render(problems);
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenOverrideTest,
    testing::Values(
        BrokenOverride{"no_value", "/seed", "", "is not /json/pointer=value"},
        BrokenOverride{"no_slash", "seed=1", "", "is not /json/pointer=value"},
        BrokenOverride{"no_name", "/=1", "", "is not /json/pointer=value"},
        BrokenOverride{"bad_escape", "/a~2=1", "", "is not /json/pointer=value"},
        BrokenOverride{"unknown_key", "/sed=1", "/sed", "did you mean \"seed\""},
        BrokenOverride{"unknown_nested", "/a/b/c=1", "/a", "unknown key"},
        BrokenOverride{"wrong_type", "/seed=abc", "/seed", "expected an integer"},
        BrokenOverride{"nan", "/training/dropout=nan", "/training/dropout", "expected a number"},
        BrokenOverride{"no_such_arm", "/arms/2/name=x", "/arms/2", "count from 0 to 1"},
        BrokenOverride{"index_is_text", "/arms/first/name=x", "/arms/first", "no such element"},
        BrokenOverride{"below_a_number", "/seed/x=1", "/seed/x", "has no keys"},
        BrokenOverride{"breaks_a_rule", "/model/attention_dim=1", "/arms/1/weights/d_u", "0 .. 0"},
        BrokenOverride{"no_longer_applies", "/arms/1/weights/variant=full", "/arms/1/weights/m",
                       "has no effect here"}),
    [](auto const& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace ckvsim::config
