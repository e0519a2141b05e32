// Runs that start warm: two trainings in one, their files, their states.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "model/sim.hpp"
#include "reference_model.hpp"
#include "train/training.hpp"
#include "train/warm_start.hpp"
#include "training_runs.hpp"

namespace ckvsim::train {
namespace {

using test::catalogue_of;

using test::Killed;

class WarmRun : public test::TrainingRuns {
  protected:
    /// Variant 0 starts warm, 1 does not, 2 is what 0 starts from.
    Samples samples(Model model, std::string const& start, std::string const& scope = "all",
                    std::string const& sides = "") {
        return samples_of(model, {{"collective", scope, 1, 16, sides, start},
                                  {"collective", scope, 1, 16, sides},
                                  {start, "released", 0, 0}});
    }
};

// TWIN has no search head: its weight file holds the whole network.
TEST_F(WarmRun, FirstTrainsWhatARunOfItsOwnTrains) {
    for (std::string const start : {"full", "full_silu"}) {
        auto const data = samples(Model::twin, start);
        auto const plain_run = run_of(data, 2);
        auto const plain = train(data, plain_run);
        auto const warm_run = run_of(data, 0);
        auto const warm = train(data, warm_run);
        EXPECT_EQ(warm.start.epochs, plain.epochs);
        EXPECT_EQ(warm.start.best_epoch, plain.best_epoch);
        EXPECT_EQ(warm.start.tune_auc, plain.tune_auc);
        EXPECT_EQ(warm.start.samples, plain.samples);
        EXPECT_EQ(warm.samples, plain.samples + warm.epochs * data.train.size());
        SimNetwork same(data, start_of(warm_run.variant), 1);
        same.set_values(values_in(TensorFile::read(plain_run.path)));
        EXPECT_EQ(warm.start.weights, digest_of(same)) << "bit for bit";
        auto const file = TensorFile::read(warm_run.path);
        EXPECT_EQ(file.text("start"), start);
        EXPECT_EQ(file.text("variant"), "collective");
        EXPECT_EQ(file.integer("train.start_epochs"), plain.epochs);
        EXPECT_EQ(file.integer("train.start_best_epoch"), plain.best_epoch);
        EXPECT_EQ(file.real("train.start_tune_auc"), plain.tune_auc);
        EXPECT_EQ(file.text("train.start_weights"), "digest " + to_hex(digest_of(same)));
        EXPECT_FALSE(TensorFile::read(plain_run.path).attributes.contains("start"));
    }
}

// Epochs and moments of the second training are its own: it is what a network that starts from the
// file of the first does.
TEST_F(WarmRun, ThenTrainsAsFromThatFile) {
    auto data = samples(Model::twin, "full_silu");
    data.schedule.epochs = 1;
    auto const first = run_of(data, 2);
    train(data, first);
    SimNetwork full(data, first.variant, 1);
    full.set_values(values_in(TensorFile::read(first.path)));
    SimNetwork pools(data, run_of(data, 0).variant, 1);
    start_warm(full, data, run_of(data, 0).variant, 1, pools);
    BatchBuilder builder(data);
    Batch batch;
    auto const order = epoch_order(data.train.size(), 1, 1);
    for (std::size_t at = 0; at < order.size(); at += data.schedule.batch) {
        auto const size = std::min<std::size_t>(data.schedule.batch, order.size() - at);
        builder.build(data.train, std::span(order).subspan(at, size), batch);
        pools.train_step(batch);
    }
    auto const run = run_of(data, 0);
    train(data, run);
    auto const stored = values_in(TensorFile::read(run.path));
    auto const expected = pools.values();
    EXPECT_EQ(stored.size(), expected.size());
    for (auto const& [name, values] : stored) EXPECT_EQ(values, expected.at(name)) << name;
}

class WarmRunOfModel : public WarmRun, public testing::WithParamInterface<Model> {};
INSTANTIATE_TEST_SUITE_P(Models, WarmRunOfModel,
                         testing::Values(Model::sim, Model::twin, Model::eta, Model::sdim),
                         [](auto const& of) { return to_string(of.param); });

// As loaded for serving, in double precision, beside the trainer's reference scores.
TEST_P(WarmRunOfModel, WritesWeightsThatServe) {
    std::string const scope = GetParam() == Model::sdim ? "released" : "all";
    for (std::string const sides : {"", "k"}) {
        auto data = samples(GetParam(), "full_silu", scope, sides);
        data.schedule.epochs = 2;
        auto const run = run_of(data, 0);
        train(data, run);
        auto const file = TensorFile::read(run.path);
        auto const weights = model::load_sim_weights(run.path, catalogue_of(data));
        EXPECT_EQ(weights.variant.start, model::Start::full_silu);
        test::ReferenceModel const model(weights);
        auto const offsets = file.tensor("ref.offsets").as<std::uint64_t>();
        auto const tokens = file.tensor("ref.tokens").as<std::uint32_t>();
        auto const candidates = file.tensor("ref.candidate").as<std::uint32_t>();
        auto const contexts = file.tensor("ref.context").as<std::uint32_t>();
        auto const logits = file.tensor("ref.logit").as<float>();
        for (std::size_t s = 0; s < logits.size(); ++s) {
            std::vector<std::uint32_t> chosen;
            if (file.has("ref.topk")) {
                for (auto const place :
                     file.tensor("ref.topk").as<std::uint32_t>().subspan(s * 5, 5))
                    if (place != 0xFFFFFFFF) chosen.push_back(place);
            }
            auto const history = tokens.subspan(offsets[s], offsets[s + 1] - offsets[s]);
            auto const served = model.score(history, candidates[s], contexts[s],
                                            file.has("ref.topk") ? &chosen : nullptr);
            EXPECT_NEAR(1 / (1 + std::exp(-served.logit)), 1 / (1 + std::exp(-double{logits[s]})),
                        1e-5)
                << s;
        }
    }
}

TEST_F(WarmRun, FilesOfOneStartAreNotUpToDateForAnother) {
    auto data = samples(Model::twin, "full");
    data.schedule.epochs = 1;
    auto const warm = run_of(data, 0);
    auto random = run_of(data, 1);
    EXPECT_FALSE(train(data, warm).skipped);
    auto const again = train(data, warm);
    EXPECT_TRUE(again.skipped);
    EXPECT_EQ(again.start.epochs, 1U);
    random.path = warm.path;  // a file that was renamed
    EXPECT_FALSE(train(data, random).skipped);
    EXPECT_TRUE(train(data, random).skipped);
    EXPECT_FALSE(train(data, warm).skipped);
    auto other = warm;
    other.variant.start = Start::full_silu;
    EXPECT_FALSE(train(data, other).skipped);
}

TEST_F(WarmRun, CountsTheStepsOfBothTrainings) {
    auto data = samples(Model::twin, "full");
    data.schedule.epochs = 2;
    auto const run = run_of(data, 0);
    std::uint64_t last = 0;
    train(data, run, {}, [&](std::uint64_t done, std::uint64_t at_most) {
        EXPECT_EQ(done, last + 1);
        EXPECT_EQ(at_most, 2 * steps_of(data));
        last = done;
    });
    EXPECT_EQ(last, 2 * steps_of(data));
    EXPECT_EQ(steps_of(data, run.variant), 2 * steps_of(data));
    EXPECT_EQ(steps_of(data, run_of(data, 1).variant), steps_of(data));
}

TEST_F(WarmRun, EndsInTheSameBytesWhereverItWasKilled) {
    auto data = samples(Model::twin, "full_silu");
    data.schedule.epochs = 3;
    auto const run = run_of(data, 0);
    auto const epoch = steps_of(data) / data.schedule.epochs;
    auto const first = train(data, run).start.steps;
    // Within the first training, at its last step, at the first of the second, within that.
    expect_same_bytes_after_kills(
        data, run, {epoch / 2, first, first + 1, first + epoch, first + epoch + epoch / 2});
}

// A state of the second training is gone on from when the newer one is damaged, and one of the
// first when that is left.
TEST_F(WarmRun, GoesBackToAStateOfTheFirstTraining) {
    auto data = samples(Model::twin, "full");
    data.schedule.epochs = 1;
    auto const run = run_of(data, 0);
    auto const first = train(data, run).start.steps;
    auto const whole = bytes_of(run.path);
    std::filesystem::remove(run.path);
    EXPECT_THROW(train(data, run, {.state_interval_s = 1e-9},
                       [&](std::uint64_t done, std::uint64_t) {
                           if (done == first + 1) throw Killed{};
                       }),
                 Killed);
    // States are written in turn from slot 2 on.
    std::string const newest = run.path + ".state-" + std::to_string(1 + (first + 1) % 2);
    std::filesystem::resize_file(newest, std::filesystem::file_size(newest) / 2);
    std::uint64_t next = 0;
    EXPECT_TRUE(train(data, run, {}, [&](std::uint64_t done, std::uint64_t) {
                    if (next == 0) next = done;
                }).resumed);
    EXPECT_EQ(next, first + 1);
    EXPECT_EQ(bytes_of(run.path), whole);
}

TEST_F(WarmRun, DivergenceNamesTheTrainingThatDiverged) {
    auto data = samples(Model::twin, "full");
    data.schedule.learning_rate = 1e30;
    try {
        train(data, run_of(data, 0));
        FAIL() << "a learning rate of 1e30 converged";
    } catch (DataError const& error) {
        std::string const text = error.what();
        EXPECT_NE(text.find("collective_all_from_full (its start, full), seed 1 diverged"),
                  std::string::npos)
            << text;
    }
}

// A team of one is no team; two ranks hold the same weights and go on from a state of either
// training.
TEST_F(WarmRun, RanksStartFromTheSameWeights) {
    auto data = samples(Model::twin, "full_silu");
    data.schedule.epochs = 2;
    auto const run = run_of(data, 0);
    auto const alone = train(data, run);
    auto const bytes = bytes_of(run.path);
    train_shared(data, run, 1, {}, -1);
    EXPECT_EQ(bytes_of(run.path), bytes);
    auto const two = train_shared(data, run, 2, {}, -1).first;
    auto const whole = bytes_of(run.path);
    EXPECT_EQ(two.start.steps, alone.start.steps);
    EXPECT_NEAR(two.start.tune_auc, alone.start.tune_auc, 5e-3);
    expect_same_bytes_after_failures(data, run, 2, {two.start.steps / 2, two.start.steps + 3},
                                     whole);
}

}  // namespace
}  // namespace ckvsim::train
