#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <ostream>

#include "config/spec.hpp"
#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "spec_cases.hpp"

namespace ckvsim::config {
namespace {

std::string const kNominal = std::string(CKVSIM_SOURCE_DIR) + "/workloads/platforms/h100-node.json";

node::Platform measured() {
    node::Platform platform;
    platform.name = "a machine";
    platform.kind = node::PlatformKind::measured;
    platform.source = "measured in a test";
    platform.hbm_bytes_per_s = 15.5e9 / 3.0;
    platform.gpus = 1;
    platform.fetch_overlaps_decode = false;
    node::CostGrid grid;
    grid.tokens = {0, 16, 128};
    grid.candidates = {1, 128};
    grid.mean_ns = {1.5, 2.25, 3e3, 1e6 / 7.0, 5, 6};
    grid.batch_overhead_ns = 120.5;
    grid.noise_quantiles = {0.9, 1.0, 1.3};
    platform.costs["full/fp32"] = {{"decode", grid}, {"score", grid}};
    platform.costs["recompute~/x"]["prefill"] = grid;
    return platform;
}

/// Writes and removes a file in the test folder.
class PlatformFile {
  public:
    PlatformFile() : path_(testing::TempDir() + "platform_file_test.json") {}
    ~PlatformFile() { std::filesystem::remove(path_); }
    PlatformFile(PlatformFile const&) = delete;
    PlatformFile& operator=(PlatformFile const&) = delete;
    [[nodiscard]] std::string const& path() const { return path_; }

  private:
    std::string path_;
};

std::string measured_text() {
    PlatformFile file;
    write_platform(measured(), file.path());
    return read_file(file.path());
}

TEST(PlatformFile, WrittenPlatformsAreReadExactly) {
    PlatformFile file;
    write_platform(measured(), file.path());
    auto read = load_platform(file.path());
    auto const text = read_file(file.path());
    EXPECT_EQ(read.digest, to_hex(hash_bytes(text.data(), text.size())));
    read.digest.clear();
    EXPECT_EQ(read, measured());
}

TEST(PlatformFile, TheDigestFollowsTheBytes) {
    auto const text = measured_text();
    auto const digest = parse_platform(text, "a").digest;
    EXPECT_EQ(parse_platform(text, "b").digest, digest);
    EXPECT_NE(parse_platform(text + "\n", "a").digest, digest);
}

TEST(PlatformFile, TheCommittedNodeIsAnH100Server) {
    auto const platform = load_platform(kNominal);
    EXPECT_EQ(platform.kind, node::PlatformKind::nominal);
    EXPECT_EQ(platform.gpus, 8U);
    EXPECT_EQ(platform.hbm_bytes, 80e9);
    EXPECT_EQ(platform.hbm_bytes_per_s, 3.35e12);
    EXPECT_EQ(platform.dram_bytes, 2e12);
    EXPECT_EQ(platform.link_bytes_per_s, 64e9);
    EXPECT_TRUE(platform.costs.empty());
    EXPECT_GE(platform.constant_sources.size(), 11U);
}

TEST(PlatformFile, PricesAndPowersNeedSourcesAndEachOther) {
    auto const text = read_file(kNominal);
    EXPECT_GT(load_platform(kNominal).cost_per_node_hour, 0.0);
    EXPECT_EQ(load_platform(kNominal).currency, "USD");
    EXPECT_EQ(load_platform(kNominal).idle_watts, 0.0) << "not given, not guessed";
    auto const refused = [&](std::string const& from, std::string const& to,
                             std::string const& key) {
        try {
            parse_platform(test::with(text, from, to), "p.json");
            ADD_FAILURE() << to;
        } catch (ConfigError const& error) {
            EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
        }
    };
    refused("\"currency\": \"USD\",", "", "/currency");
    refused("\"busy_watts\": 10200", "\"busy_watts\": 10200, \"idle_watts\": 2000",
            "/constant_sources/idle_watts");
    refused("\"busy_watts\": 10200", "\"busy_watts\": 10, \"idle_watts\": 2000", "/busy_watts");
    refused("\"cost_per_node_hour\": 98.32", "\"cost_per_node_hour\": -1", "/cost_per_node_hour");
}

TEST(PlatformFile, APlatformThatCouldNotBeReadBackIsNotWritten) {
    PlatformFile file;
    auto broken = measured();
    broken.costs["full/fp32"]["decode"].mean_ns[2] = std::nan("");
    EXPECT_THROW(write_platform(broken, file.path()), InternalError);
    broken = measured();
    broken.costs["full/fp32"]["decode"].mean_ns.pop_back();
    EXPECT_THROW(write_platform(broken, file.path()), InternalError);
    EXPECT_FALSE(std::filesystem::exists(file.path()));
}

TEST(PlatformFile, FilesThatCannotBeReadAreDataErrors) {
    EXPECT_THROW(load_platform("/nowhere/platform.json"), DataError);
    EXPECT_THROW(load_platform("/"), DataError);
}

struct BrokenPlatform {
    char const* name;
    std::string from;
    std::string to;
    std::string pointer;
    std::string reason;
};
void PrintTo(BrokenPlatform const& broken, std::ostream* out) { *out << broken.name; }

void expect_refused(std::string const& text, BrokenPlatform const& broken) {
    try {
        parse_platform(text, "test.json");
        FAIL() << "was accepted";
    } catch (ConfigError const& error) {
        auto const& problems = error.problems();
        EXPECT_TRUE(std::any_of(
            problems.begin(), problems.end(),
            [&](ConfigProblem const& problem) {
                return problem.pointer == broken.pointer &&
                       (problem.message + "; " + problem.suggestion).find(broken.reason) !=
                           std::string::npos;
            }))
            << error.what();
    }
}

class BrokenMeasuredTest : public testing::TestWithParam<BrokenPlatform> {};
TEST_P(BrokenMeasuredTest, IsRefusedAtItsPointer) {
    expect_refused(test::with(measured_text(), GetParam().from, GetParam().to), GetParam());
}

std::string const kDecode = "/costs/full~1fp32/decode";
INSTANTIATE_TEST_SUITE_P(
    All, BrokenMeasuredTest,
    testing::Values(
        BrokenPlatform{"foreign", "ckvsim-platform-1", "something-else", "/format",
                       "no platform file of this version"},
        BrokenPlatform{"no_format", "\"format\"", "\"formats\"", "/format", "missing"},
        BrokenPlatform{"missing_constant", "\"gpus\": 1,", "", "/gpus", "missing"},
        BrokenPlatform{"missing_costs", "\"costs\"", "\"cost\"", "/costs", "missing"},
        BrokenPlatform{"unknown_key", "\"gpus\": 1,", "\"gpus\": 1, \"gpu\": 2,", "/gpu",
                       "did you mean \"gpus\""},
        BrokenPlatform{"unknown_kind", "\"measured\"", "\"guessed\"", "/kind", "measured, nominal"},
        BrokenPlatform{"no_accelerator", "\"gpus\": 1,", "\"gpus\": 0,", "/gpus", "1 .. 1024"},
        BrokenPlatform{"negative_bandwidth", "\"link_bytes_per_s\": ", "\"link_bytes_per_s\": -",
                       "/link_bytes_per_s", "> 0"},
        BrokenPlatform{"efficiency_above_one", "\"efficiency\": 0.7", "\"efficiency\": 1.7",
                       "/efficiency", "> 0 and <= 1"},
        BrokenPlatform{"boolean_as_text", "\"fetch_overlaps_decode\": false",
                       "\"fetch_overlaps_decode\": \"false\"", "/fetch_overlaps_decode",
                       "expected true or false"},
        BrokenPlatform{"unsorted_tokens", "[0, 16, 128]", "[0, 128, 16]", kDecode + "/tokens",
                       "not strictly ascending"},
        BrokenPlatform{"repeated_candidates", "[1, 128]", "[128, 128]", kDecode + "/candidates",
                       "not strictly ascending"},
        BrokenPlatform{"wrong_length", "[1.5, 2.25, ", "[2.25, ", kDecode + "/mean_ns",
                       "5 values, but 3 tokens x 2 candidates need 6"},
        BrokenPlatform{"negative_cost", "[1.5, ", "[-1.5, ", kDecode + "/mean_ns/0", ">= 0"},
        BrokenPlatform{"missing_in_grid", "\"batch_overhead_ns\": 120.5,", "",
                       kDecode + "/batch_overhead_ns", "missing"},
        BrokenPlatform{"unsorted_quantiles", "[0.9, 1, 1.3]", "[1, 0.9, 1.3]",
                       kDecode + "/noise_quantiles", "not ascending"},
        BrokenPlatform{"no_quantiles", "[0.9, 1, 1.3]", "[]", kDecode + "/noise_quantiles",
                       "1 .. 10000 elements"},
        BrokenPlatform{"fractional_tokens", "[0, 16, 128]", "[0, 1.5, 128]", kDecode + "/tokens/1",
                       "integer"},
        BrokenPlatform{"unknown_stage", "\"decode\"", "\"decoed\"", "/costs/full~1fp32/decoed",
                       "did you mean \"decode\""},
        BrokenPlatform{"stage_is_a_list", "\"prefill\": {", "\"append\": [], \"prefill\": {",
                       "/costs/recompute~0~1x/append", "expected an object"},
        BrokenPlatform{"repeated_stage", "\"decode\": {", "\"decode\": {}, \"decode\": {", kDecode,
                       "more than once"}),
    [](auto const& tested) { return std::string(tested.param.name); });

class BrokenNominalTest : public testing::TestWithParam<BrokenPlatform> {};
TEST_P(BrokenNominalTest, IsRefusedAtItsPointer) {
    expect_refused(test::with(read_file(kNominal), GetParam().from, GetParam().to), GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenNominalTest,
    testing::Values(
        BrokenPlatform{"constant_without_source", "\"efficiency\": \"", "\"efficient\": \"",
                       "/constant_sources/efficiency", "names its source"},
        BrokenPlatform{"source_without_constant", "\"efficiency\": \"", "\"efficient\": \"",
                       "/constant_sources/efficient", "did you mean \"efficiency\""},
        BrokenPlatform{"empty_source",
                       "\"dram_bytes\": \"NVIDIA DGX H100 data sheet: 2 TB system "
                       "memory\"",
                       "\"dram_bytes\": \"\"", "/constant_sources/dram_bytes", "not allowed"}),
    [](auto const& tested) { return std::string(tested.param.name); });

TEST(BrokenPlatform, AReportOrAnySpecIsForeign) {
    for (std::string const text : {"[]", "", "{}", "null", "\x89HDF\r\n"}) {
        EXPECT_THROW(parse_platform(text, "test.json"), ConfigError) << text;
    }
    EXPECT_THROW(parse_platform(test::base_spec(), "test.json"), ConfigError);
}

}  // namespace
}  // namespace ckvsim::config
