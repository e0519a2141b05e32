// Runs of the trainer on planted samples, to their weight files and back.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/tensor_file.hpp"
#include "model/sim.hpp"
#include "planted_samples.hpp"
#include "samples_catalogue.hpp"
#include "team_threads.hpp"
#include "temporary_folder.hpp"
#include "train/trainer.hpp"

namespace ckvsim::test {

/// Thrown by a step callback: the run ends as by a kill, with the states it has written.
struct Killed {};

class TrainingRuns : public testing::Test {
  protected:
    /// Whose weight files load as those of a served model.
    train::Samples samples_of(train::Model model,
                              std::vector<PlantedSamples::Variant> const& variants) {
        PlantedSamples planted;
        planted.set_model(to_string(model));
        planted.set_variants(variants);
        planted.file().set("weights_dir", folder_.path("weights"));
        planted.file().write(origin_);
        auto read = train::read_samples(origin_);
        read.catalogue_digest = to_hex(model::catalogue_digest(catalogue_of(read)));
        return read;
    }
    static train::TrainingRun run_of(train::Samples const& samples, std::size_t variant,
                                     std::uint64_t seed = 1) {
        return {samples.variants[variant], seed,
                weights_path(samples, samples.variants[variant], seed)};
    }
    train::RunResult train(train::Samples const& samples, train::TrainingRun const& run,
                           train::RunOptions const& options = {},
                           train::StepCallback const& on_step = {}) {
        return train_run(samples, origin_, run, options, on_step);
    }
    /// On ranks that are threads; what all return, or the message that all throw. An interval below
    /// 0 trains anew.
    std::pair<train::RunResult, std::string> train_shared(train::Samples const& samples,
                                                          train::TrainingRun const& run, int ranks,
                                                          train::StepCallback const& on_step,
                                                          double interval_s) {
        std::vector<train::RunResult> results(static_cast<std::size_t>(ranks));
        std::vector<std::string> messages(results.size());
        run_team(ranks, [&](train::Team& team) {
            auto const rank = static_cast<std::size_t>(team.rank());
            try {
                results[rank] = train(samples, run,
                                      {.force = interval_s < 0,
                                       .state_interval_s = std::max(interval_s, 0.0),
                                       .team = &team},
                                      rank == 0 ? on_step : train::StepCallback());
            } catch (train::TeamError const& error) {
                messages[rank] = error.what();
            }
        });
        for (std::size_t r = 1; r < results.size(); ++r) {
            EXPECT_EQ(messages[r], messages[0]);
            EXPECT_EQ(results[r].tune_auc, results[0].tune_auc);
            EXPECT_EQ(results[r].start.weights, results[0].start.weights);
            EXPECT_EQ(results[r].teacher.weights, results[0].teacher.weights);
        }
        return {results[0], messages[0]};
    }
    /// Kills the run behind each of `steps`, goes on, and expects the bytes of a run that nobody
    /// stopped.
    void expect_same_bytes_after_kills(train::Samples const& samples, train::TrainingRun const& run,
                                       std::vector<std::uint64_t> const& steps) {
        auto const result = train(samples, run, {.force = true});
        EXPECT_FALSE(result.resumed);
        auto const whole = bytes_of(run.path);
        for (auto const step : steps) {
            std::filesystem::remove(run.path);
            EXPECT_THROW(train(samples, run, {.state_interval_s = 1e-9},
                               [&](std::uint64_t done, std::uint64_t) {
                                   if (done == step) throw Killed{};
                               }),
                         Killed);
            ASSERT_FALSE(std::filesystem::exists(run.path));
            std::uint64_t next = 0;
            auto const resumed = train(samples, run, {}, [&](std::uint64_t done, std::uint64_t) {
                if (next == 0) next = done;
            });
            EXPECT_TRUE(resumed.resumed);
            EXPECT_EQ(next, step + 1) << "steps before the kill were done again";
            EXPECT_EQ(bytes_of(run.path), whole) << "killed at step " << step;
            EXPECT_EQ(resumed.samples, result.samples);
            EXPECT_EQ(resumed.start.weights, result.start.weights);
            EXPECT_EQ(resumed.teacher.weights, result.teacher.weights);
            for (char const* const slot : {".state-1", ".state-2"})
                EXPECT_FALSE(std::filesystem::exists(run.path + slot));
        }
    }
    /// Lets the first rank fail behind each of `steps`, goes on, and expects the bytes `whole`.
    void expect_same_bytes_after_failures(train::Samples const& samples,
                                          train::TrainingRun const& run, int ranks,
                                          std::vector<std::uint64_t> const& steps,
                                          std::string const& whole) {
        for (auto const step : steps) {
            std::filesystem::remove(run.path);
            auto const failed = train_shared(
                samples, run, ranks,
                [&](std::uint64_t done, std::uint64_t) {
                    if (done == step) throw BackendError("on fire");
                },
                1e-9);
            EXPECT_NE(failed.second.find("on fire"), std::string::npos);
            EXPECT_TRUE(train_shared(samples, run, ranks, {}, 0).first.resumed);
            EXPECT_EQ(bytes_of(run.path), whole) << step;
        }
    }
    static std::string bytes_of(std::string const& path) {
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    /// Weights by tensor name.
    static std::map<std::string, std::vector<float>> values_in(TensorFile const& file) {
        std::map<std::string, std::vector<float>> values;
        for (auto const& [name, tensor] : file.tensors) {
            if (name.starts_with("ref.") || tensor.dtype != DType::f32) continue;
            auto const flat = tensor.as<float>();
            values[name].assign(flat.begin(), flat.end());
        }
        return values;
    }
    TemporaryFolder folder_;
    std::string origin_ = folder_.path("samples.ckvt");
};

}  // namespace ckvsim::test
