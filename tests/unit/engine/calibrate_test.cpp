#include <gtest/gtest.h>
#include <omp.h>

#include <filesystem>

#include "core/error.hpp"
#include "engine/calibrate_storage.hpp"
#include "engine/calibration.hpp"
#include "serving_fixtures.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::PlainPopulation;
using testing_support::poisson_requests;
using testing_support::serving_arm;

class ThreadCount {
  public:
    explicit ThreadCount(int threads) : before_(omp_get_max_threads()) {
        omp_set_num_threads(threads);
    }
    ~ThreadCount() { omp_set_num_threads(before_); }

  private:
    int before_;
};

void expect_valid(node::CostGrid const& grid, std::string const& stage) {
    EXPECT_EQ(grid.mean_ns.size(), grid.tokens.size() * grid.candidates.size()) << stage;
    for (double const ns : grid.mean_ns) EXPECT_GE(ns, 0.0) << stage;
    ASSERT_EQ(grid.noise_quantiles.size(), 101U) << stage;
    double sum = 0.0;
    for (std::size_t i = 1; i < grid.noise_quantiles.size(); ++i) {
        EXPECT_GE(grid.noise_quantiles[i], grid.noise_quantiles[i - 1]) << stage;
        sum += 0.5 * (grid.noise_quantiles[i] + grid.noise_quantiles[i - 1]);
    }
    EXPECT_NEAR(sum / 100.0, 1.0, 1e-9) << stage << ": the ratios must not change the mean";
}

TEST(Calibrate, WritesEveryStageInAFormThatTheSimulatedTwinTakes) {
    PlainPopulation const population(50);
    auto const arm = serving_arm(population);
    for (int const threads : {1, 2}) {
        ThreadCount const team(threads);
        std::vector<std::string> lines;
        CalibrationParams params;
        params.seconds = 0.0;  // the fewest rounds
        params.arena_bytes = 1 << 20;
        auto const platform = calibrate({arm}, population, params,
                                        [&](std::string const& line) { lines.push_back(line); });
        EXPECT_GE(lines.size(), 2U);
        EXPECT_EQ(platform.kind, node::PlatformKind::measured);
        EXPECT_EQ(platform.workers, static_cast<std::uint32_t>(threads));
        EXPECT_EQ(platform.gpus, 1U);
        EXPECT_GT(platform.hbm_bytes_per_s, 0.0);
        EXPECT_GT(platform.link_bytes_per_s, 0.0);
        EXPECT_GT(platform.flops_per_s, 0.0);
        auto const& costs = platform.costs.at(arm.cost_key);
        for (char const* stage : {"fetch", "prefill", "decode", "score", "host"}) {
            ASSERT_TRUE(costs.contains(stage)) << stage;
            expect_valid(costs.at(stage), stage);
        }
        EXPECT_EQ(costs.contains("decode_alone"), threads > 1);
        auto const& tokens = costs.at("decode").tokens;
        EXPECT_EQ(tokens.front(), 0U);
        EXPECT_EQ(tokens.back(), testing_support::serving_shape().max_tokens);
        ServingRunParams run;
        run.node = {50'000, 50'000, 4, 10.0};
        auto const r = run_simulated(arm, platform, run, {0},
                                     {poisson_requests(population, 500, 50'000.0, 3)});
        EXPECT_EQ(r.requests, 500U);
        EXPECT_GT(r.busy_ns, 0);
    }
}

TEST(Calibrate, AStorageDeviceHasRatesAndALatency) {
    test::TemporaryFolder const folder;
    auto const rates = measure_storage(folder.path());
    EXPECT_GT(rates.read_bytes_per_s, 0.0);
    EXPECT_GT(rates.write_bytes_per_s, 0.0);
    EXPECT_GT(rates.read_latency_ns, 0.0);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    EXPECT_THROW(measure_storage("/proc/nowhere"), BackendError);
}

}  // namespace
}  // namespace ckvsim::engine
