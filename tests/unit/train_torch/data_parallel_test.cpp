// Runs shared by ranks, here threads: the objective, the curves, files, resume and failures.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>

#include "core/error.hpp"
#include "core/tensor_file.hpp"
#include "data_parallel_suite.hpp"
#include "team_threads.hpp"
#include "temporary_folder.hpp"
#include "train/ranking.hpp"
#include "train/torch_runtime.hpp"
#include "train/trainer.hpp"

namespace ckvsim::train {
namespace {

class InParts : public testing::TestWithParam<test::DataParallelCase> {};
INSTANTIATE_TEST_SUITE_P(Variants, InParts, testing::ValuesIn(test::data_parallel_cases()),
                         [](auto const& of) { return test::name_of(of.param); });

TEST_P(InParts, ObjectiveAndGradientsAreThoseOfTheWholeBatch) {
    // tests/mpi has 1, 2 and 4.
    test::run_team(3, [&](Team& team) {
        set_operation_threads(1);
        test::SideBySide(team, GetParam()).compare_gradients();
    });
}

class SharedTraining : public testing::Test {
  protected:
    Samples samples(Model model, std::uint32_t users = 400) {
        test::PlantedSamples planted({.users = users});
        planted.set_model(to_string(model));
        planted.set_variants({{"collective", "all", 1, 16}, {"full", "released", 0, 0}});
        planted.file().set("weights_dir", folder_.path("weights"));
        planted.file().write(origin_);
        return read_samples(origin_);
    }
    static TrainingRun run_of(Samples const& samples, std::size_t variant) {
        return {samples.variants[variant], 1, weights_path(samples, samples.variants[variant], 1)};
    }
    /// Results of all ranks, which must be the same, or their messages, likewise.
    struct Outcome {
        RunResult result;
        std::string message;
        ExitCode code = ExitCode::ok;
    };
    Outcome train(Samples const& samples, TrainingRun const& run, int ranks,
                  std::function<void(int rank, std::uint64_t done)> const& on_step = {},
                  RunOptions options = {}) {
        std::vector<Outcome> outcomes(static_cast<std::size_t>(ranks));
        test::run_team(ranks, [&](Team& team) {
            auto& own = outcomes[static_cast<std::size_t>(team.rank())];
            auto mine = options;
            mine.team = &team;
            try {
                own.result =
                    train_run(samples, origin_, run, mine, [&](std::uint64_t done, std::uint64_t) {
                        if (on_step) on_step(team.rank(), done);
                    });
            } catch (TeamError const& error) {
                own.message = error.what();
                own.code = error.exit_code();
            }
        });
        for (auto const& other : outcomes) {
            EXPECT_EQ(other.message, outcomes[0].message);
            EXPECT_EQ(other.code, outcomes[0].code);
            EXPECT_EQ(other.result.tune_auc, outcomes[0].result.tune_auc);
            EXPECT_EQ(other.result.train_loss, outcomes[0].result.train_loss);
            EXPECT_EQ(other.result.epochs, outcomes[0].result.epochs);
            EXPECT_EQ(other.result.best_epoch, outcomes[0].result.best_epoch);
            EXPECT_EQ(other.result.skipped, outcomes[0].result.skipped);
            EXPECT_EQ(other.result.resumed, outcomes[0].result.resumed);
        }
        return outcomes[0];
    }
    static std::string bytes_of(std::string const& path) {
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    test::TemporaryFolder folder_;
    std::string origin_ = folder_.path("samples.ckvt");
};

// The first epoch's mean loss and the AUC behind it, before two ways of rounding part.
TEST_F(SharedTraining, ReachesWhatOneProcessReaches) {
    auto data = samples(Model::sim);
    data.schedule.epochs = 1;
    auto const run = run_of(data, 0);
    auto const alone = train_run(data, origin_, run, {}, {});
    for (int const ranks : {2, 3, 4}) {
        auto const shared = train(data, run, ranks).result;
        EXPECT_NEAR(shared.train_loss, alone.train_loss, 1e-4 * alone.train_loss) << ranks;
        EXPECT_NEAR(shared.tune_auc, alone.tune_auc, 2e-3) << ranks;
        EXPECT_EQ(shared.samples, alone.samples);
        EXPECT_EQ(TensorFile::read(run.path).integer("train.ranks"), ranks);
    }
}

TEST_F(SharedTraining, FilesOfAnotherNumberOfRanksAreNotUpToDate) {
    auto data = samples(Model::sim);
    data.schedule.epochs = 1;
    auto const run = run_of(data, 1);
    EXPECT_FALSE(train(data, run, 2).result.skipped);
    auto const first = bytes_of(run.path);
    EXPECT_TRUE(train(data, run, 2).result.skipped);
    EXPECT_FALSE(train(data, run, 3).result.skipped);
    EXPECT_FALSE(train_run(data, origin_, run, {}, {}).skipped);
    EXPECT_FALSE(TensorFile::read(run.path).attributes.contains("train.ranks"));
    EXPECT_FALSE(train(data, run, 2).result.skipped);
    EXPECT_EQ(bytes_of(run.path), first) << "same ranks, same bytes";
}

// Three batches of tune samples for two ranks: the AUC is that of all of them under the weights.
TEST_F(SharedTraining, TheTuneAucIsThatOfAllSamples) {
    auto data = samples(Model::twin, 1500);
    data.schedule.epochs = 1;
    ASSERT_GT(data.tune.size(), 2U * 2048U);
    auto const run = run_of(data, 1);
    auto const result = train(data, run, 2).result;
    auto const file = TensorFile::read(run.path);
    std::vector<std::vector<float>> values;
    for (bool const tables : {false, true}) {
        for (auto const& [name, tensor] : file.tensors) {
            if (name.starts_with("ref.") || name.starts_with("embed.") != tables) continue;
            auto const flat = tensor.as<float>();
            values.emplace_back(flat.begin(), flat.end());
        }
    }
    SimNetwork network(data, run.variant, 1);
    ASSERT_EQ(values.size(), network.snapshot().size());
    network.restore(values);
    set_operation_threads(1);
    BatchBuilder builder(data);
    Batch batch;
    std::vector<float> logits;
    for (std::uint32_t at = 0; at < data.tune.size(); at += 2048) {
        std::vector<std::uint32_t> rows(std::min<std::size_t>(2048, data.tune.size() - at));
        std::iota(rows.begin(), rows.end(), at);
        builder.build(data.tune, rows, batch);
        auto const part = network.predict(batch);
        logits.insert(logits.end(), part.begin(), part.end());
    }
    EXPECT_EQ(result.tune_auc, auc(logits, data.tune.label));
    EXPECT_EQ(result.tune_logloss, logloss(logits, data.tune.label));
}

// Rank 1 fails alone: all leave with its message, and the next command goes on from rank 0's state.
TEST_F(SharedTraining, AFailureOnOneRankEndsAllAndIsGoneOnFrom) {
    auto data = samples(Model::sim);
    data.schedule.epochs = 3;
    auto const run = run_of(data, 0);
    train(data, run, 2);
    auto const whole = bytes_of(run.path);
    std::filesystem::remove(run.path);
    auto const failed = train(data, run, 2,
                              [](int rank, std::uint64_t done) {
                                  if (rank == 1 && done == 30)
                                      throw BackendError("the disk of rank 1 is on fire");
                              },
                              {.state_interval_s = 1e-9});
    EXPECT_EQ(failed.message,
              "training of collective_all, seed 1, rank 1 of 2: the disk of rank 1 is on fire");
    EXPECT_EQ(failed.code, ExitCode::backend);
    EXPECT_FALSE(std::filesystem::exists(run.path));
    std::uint64_t first = 0;
    auto const result = train(data, run, 2, [&](int rank, std::uint64_t done) {
                            if (rank == 0 && first == 0) first = done;
                        }).result;
    EXPECT_TRUE(result.resumed);
    EXPECT_EQ(first, 31U);
    EXPECT_EQ(bytes_of(run.path), whole);
    EXPECT_FALSE(std::filesystem::exists(run.path + ".state-1"));
    EXPECT_FALSE(std::filesystem::exists(run.path + ".state-2"));
}

TEST_F(SharedTraining, AFileThatCannotBeWrittenEndsAll) {
    auto data = samples(Model::sim);
    data.schedule.epochs = 1;
    auto run = run_of(data, 1);
    std::ofstream(folder_.path("in_the_way")) << "a file";
    run.path = folder_.path("in_the_way") + "/weights.ckvt";
    auto const failed = train(data, run, 2);
    EXPECT_EQ(failed.code, ExitCode::backend) << failed.message;
    EXPECT_NE(failed.message.find("rank 0 of 2"), std::string::npos) << failed.message;
    EXPECT_NE(failed.message.find("in_the_way"), std::string::npos) << failed.message;
}

TEST_F(SharedTraining, DivergenceIsSeenByAllAlike) {
    auto data = samples(Model::sim);
    data.schedule.learning_rate = 1e30;
    auto const run = run_of(data, 1);
    auto const failed = train(data, run, 3);
    EXPECT_EQ(failed.code, ExitCode::data);
    EXPECT_NE(failed.message.find("full_released, seed 1 diverged"), std::string::npos)
        << failed.message;
    EXPECT_EQ(failed.message.find("rank"), std::string::npos) << failed.message;
    EXPECT_FALSE(std::filesystem::exists(run.path));
}

TEST_F(SharedTraining, EveryRankNeedsASample) {
    auto data = samples(Model::sim);
    data.schedule.batch = 2;
    auto const failed = train(data, run_of(data, 0), 3);
    EXPECT_EQ(failed.code, ExitCode::usage);
    EXPECT_NE(failed.message.find("training.batch = 2 is less than the number of ranks, 3"),
              std::string::npos)
        << failed.message;
}

TEST_F(SharedTraining, RunsFollowEachOther) {
    auto data = samples(Model::sim);
    data.schedule.epochs = 1;
    std::vector<TrainingRun> const runs = {run_of(data, 0), run_of(data, 1)};
    std::mutex mutex;
    std::vector<std::size_t> done;
    test::run_team(2, [&](Team& team) {
        train_runs(
            data, origin_, runs, 2, {.team = &team}, [](auto...) {},
            [&](std::size_t i, RunResult const&) {
                std::lock_guard const lock(mutex);
                done.push_back(i);
            });
    });
    EXPECT_EQ(done, (std::vector<std::size_t>{0, 0, 1, 1}));
    for (auto const& run : runs) EXPECT_TRUE(std::filesystem::exists(run.path));
}

}  // namespace
}  // namespace ckvsim::train
