// Runs with a teacher: what is trained first, what is learnt of it, files and states.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <span>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "model/sim.hpp"
#include "train/phases.hpp"
#include "train/ranking.hpp"
#include "train/training.hpp"
#include "training_runs.hpp"

namespace ckvsim::train {
namespace {

class DistilRun : public test::TrainingRuns {
  protected:
    static constexpr std::size_t kTaught = 0;
    static constexpr std::size_t kPlain = 1;
    static constexpr std::size_t kFull = 2;
    static constexpr std::size_t kSilu = 3;
    /// Variant kTaught has a teacher and perhaps a warm start; the others stand alone. TWIN has no
    /// search head: its weight file holds the whole network.
    Samples samples(std::string const& teacher, std::string const& start = "",
                    Model model = Model::twin) {
        std::string const scope = model == Model::sdim ? "released" : "all";
        std::vector<test::PlantedSamples::Variant> variants = {
            {"collective", scope, 1, 16, "", start, teacher},
            {"collective", scope, 1, 16, "", start},
            {"full", "released", 0, 0}};
        if (model != Model::hstu) variants.push_back({"full_silu", "released", 0, 0});
        return samples_of(model, variants);
    }
};

TEST_F(DistilRun, TeacherIsTrainedAsInARunOfItsOwn) {
    for (std::string const teacher : {"full", "full_silu"}) {
        auto const data = samples(teacher);
        auto const plain_run = run_of(data, teacher == "full" ? kFull : kSilu);
        auto const plain = train(data, plain_run);
        auto const run = run_of(data, kTaught);
        auto const result = train(data, run);
        EXPECT_EQ(result.teacher.epochs, plain.epochs);
        EXPECT_EQ(result.teacher.best_epoch, plain.best_epoch);
        EXPECT_EQ(result.teacher.tune_auc, plain.tune_auc);
        EXPECT_EQ(result.teacher.samples, plain.samples);
        EXPECT_EQ(result.start.epochs, 0U);
        EXPECT_EQ(result.samples, plain.samples + result.epochs * data.train.size());
        SimNetwork same(data, teacher_of(run.variant), 1);
        same.set_values(values_in(TensorFile::read(plain_run.path)));
        EXPECT_EQ(result.teacher.weights, digest_of(same)) << "bit for bit";
        auto const file = TensorFile::read(run.path);
        EXPECT_EQ(file.text("teacher"), teacher);
        EXPECT_EQ(file.text("variant"), "collective");
        EXPECT_EQ(file.real("train.distil_weight"), 0.5);
        EXPECT_EQ(file.real("train.distil_temperature"), 2.0);
        EXPECT_EQ(file.integer("train.teacher_epochs"), plain.epochs);
        EXPECT_EQ(file.integer("train.teacher_best_epoch"), plain.best_epoch);
        EXPECT_EQ(file.real("train.teacher_tune_auc"), plain.tune_auc);
        EXPECT_EQ(file.text("train.teacher_weights"), "digest " + to_hex(digest_of(same)));
        auto const others = TensorFile::read(plain_run.path).attributes;
        for (char const* const key : {"teacher", "train.distil_weight", "train.teacher_epochs"})
            EXPECT_FALSE(others.contains(key)) << "as before there were teachers: " << key;
    }
}

// In one batch, as the trainer scores: equal to the last bit. Samples are shuffled, each keeps its
// teacher's score.
TEST_F(DistilRun, ThenItsScoresOfTheSameSamplesAreLearnt) {
    auto data = samples("full");
    data.schedule.epochs = 1;
    auto const teacher_run = run_of(data, kFull);
    train(data, teacher_run);
    SimNetwork teacher(data, teacher_run.variant, 1);
    teacher.set_values(values_in(TensorFile::read(teacher_run.path)));
    BatchBuilder builder(data);
    Batch batch;
    std::vector<std::uint32_t> all(data.train.size());
    std::iota(all.begin(), all.end(), 0U);
    builder.build(data.train, all, batch);
    auto const scores = teacher.predict(batch);
    SimNetwork pools(data, run_of(data, kTaught).variant, 1);
    auto const order = epoch_order(data.train.size(), 1, 1);
    for (std::size_t at = 0; at < order.size(); at += data.schedule.batch) {
        auto const size = std::min<std::size_t>(data.schedule.batch, order.size() - at);
        auto const rows = std::span(order).subspan(at, size);
        builder.build(data.train, rows, batch);
        for (auto const sample : rows) batch.teacher.push_back(scores[sample]);
        pools.train_step(batch);
    }
    auto const run = run_of(data, kTaught);
    train(data, run);
    auto const stored = values_in(TensorFile::read(run.path));
    auto const expected = pools.values();
    EXPECT_EQ(stored.size(), expected.size());
    for (auto const& [name, values] : stored) EXPECT_EQ(values, expected.at(name)) << name;
}

// Of the best epoch, in evaluation, in the split's order.
TEST_F(DistilRun, ScoresAreThoseOfTheTeachersEvaluation) {
    auto data = samples("full", "", Model::sim);
    data.schedule.epochs = 2;
    Team alone;
    Compute const compute;
    Training training(data, origin_, data.variants[kFull], 1, alone, compute);
    auto const result = training.fit([] {});
    EXPECT_EQ(auc(training.scores(data.tune), data.tune.label), result.tune_auc);
    auto const scores = training.scores(data.train);
    ASSERT_EQ(scores.size(), data.train.size());
    BatchBuilder builder(data);
    Batch batch;
    for (std::uint32_t const sample : {0U, 1U, 77U, 1599U}) {
        std::vector<std::uint32_t> const rows = {sample};
        builder.build(data.train, rows, batch);
        EXPECT_NEAR(training.network().predict(batch)[0], scores[sample], 1e-5) << sample;
    }
}

TEST_F(DistilRun, WeightOfZeroGivesTheWeightsWithoutATeacher) {
    for (std::string const start : {"", "full"}) {
        auto data = samples("full", start);
        data.schedule.epochs = 2;
        auto const plain = run_of(data, kPlain);
        auto const run = run_of(data, kTaught);
        ASSERT_NE(plain.path, run.path);
        train(data, plain);
        auto const expected = values_in(TensorFile::read(plain.path));
        train(data, run);
        EXPECT_NE(values_in(TensorFile::read(run.path)), expected);
        data.schedule.distil_weight = 0;
        EXPECT_FALSE(train(data, run).skipped) << "a file of another weight";
        EXPECT_EQ(values_in(TensorFile::read(run.path)), expected);
    }
}

TEST_F(DistilRun, StartAndTeacherAreTrainedOnceWhereTheyAreOneVariant) {
    auto data = samples("full", "full");
    data.schedule.epochs = 2;
    auto const one = train(data, run_of(data, kTaught));
    EXPECT_EQ(one.start.weights, one.teacher.weights);
    EXPECT_EQ(one.start.steps, one.teacher.steps);
    EXPECT_EQ(one.samples, 4 * data.train.size());
    auto const file = TensorFile::read(run_of(data, kTaught).path);
    EXPECT_EQ(file.text("train.start_weights"), file.text("train.teacher_weights"));

    data = samples("full", "full_silu");
    data.schedule.epochs = 2;
    auto const two = train(data, run_of(data, kTaught));
    EXPECT_EQ(two.teacher.weights, one.teacher.weights) << "whatever the start";
    EXPECT_EQ(two.start.weights, train(data, run_of(data, kPlain)).start.weights)
        << "whoever teaches";
    EXPECT_NE(two.start.weights, two.teacher.weights);
    EXPECT_EQ(two.samples, 6 * data.train.size());
}

TEST_F(DistilRun, CountsTheStepsOfAllTrainings) {
    for (auto const& [start, trainings] :
         {std::pair{"", 2U}, std::pair{"full", 2U}, std::pair{"full_silu", 3U}}) {
        auto data = samples("full", start);
        data.schedule.epochs = 1;
        auto const run = run_of(data, kTaught);
        EXPECT_EQ(run.variant.trainings(), trainings);
        std::uint64_t last = 0;
        train(data, run, {}, [&](std::uint64_t done, std::uint64_t at_most) {
            EXPECT_EQ(done, last + 1);
            EXPECT_EQ(at_most, trainings * steps_of(data));
            last = done;
        });
        EXPECT_EQ(last, trainings * steps_of(data));
        EXPECT_EQ(steps_of(data, run.variant), last);
    }
}

TEST_F(DistilRun, EndsInTheSameBytesWhereverItWasKilled) {
    for (std::string const start : {"", "full", "full_silu"}) {
        auto data = samples("full", start);
        data.schedule.epochs = 2;
        auto const run = run_of(data, kTaught);
        auto const epoch = steps_of(data) / data.schedule.epochs;
        auto const first = train(data, run).teacher.steps;
        // Within the teacher's training, at its last step, behind it, and within the second epoch
        // of what follows; of three trainings in the last, too.
        std::vector<std::uint64_t> steps = {epoch / 2, first, first + 1, first + epoch + 3};
        if (start == "full_silu") steps.insert(steps.end(), {2 * first, 2 * first + epoch + 3});
        expect_same_bytes_after_kills(data, run, steps);
    }
}

TEST_F(DistilRun, RanksLearnFromTheSameScores) {
    auto data = samples("full_silu", "full");
    data.schedule.epochs = 2;
    auto const run = run_of(data, kTaught);
    auto const alone = train(data, run);
    auto const bytes = bytes_of(run.path);
    train_shared(data, run, 1, {}, -1);
    EXPECT_EQ(bytes_of(run.path), bytes);
    auto const two = train_shared(data, run, 2, {}, -1).first;
    auto const whole = bytes_of(run.path);
    EXPECT_EQ(two.teacher.steps, alone.teacher.steps);
    EXPECT_NEAR(two.teacher.tune_auc, alone.teacher.tune_auc, 5e-3);
    EXPECT_NEAR(two.tune_auc, alone.tune_auc, 2e-2);
    expect_same_bytes_after_failures(
        data, run, 2,
        {two.teacher.steps / 2, two.teacher.steps + 3, two.teacher.steps + two.start.steps + 3},
        whole);
}

TEST_F(DistilRun, FilesOfOneTeacherAreNotUpToDateForAnother) {
    auto data = samples("full");
    data.schedule.epochs = 1;
    auto const run = run_of(data, kTaught);
    auto plain = run_of(data, kPlain);
    EXPECT_FALSE(train(data, run).skipped);
    auto const again = train(data, run);
    EXPECT_TRUE(again.skipped);
    EXPECT_EQ(again.teacher.epochs, 1U);
    plain.path = run.path;  // a file that was renamed
    EXPECT_FALSE(train(data, plain).skipped);
    EXPECT_TRUE(train(data, plain).skipped);
    data.schedule.distil_weight = 0.7;
    EXPECT_TRUE(train(data, plain).skipped) << "it has no teacher whose weight that would be";
    EXPECT_FALSE(train(data, run).skipped);
    data.schedule.distil_temperature = 4;
    EXPECT_FALSE(train(data, run).skipped);
    EXPECT_TRUE(train(data, run).skipped);
    auto other = run;
    other.variant.teacher = Teacher::full_silu;
    EXPECT_FALSE(train(data, other).skipped);
}

TEST_F(DistilRun, DivergenceNamesTheTrainingThatDiverged) {
    for (auto const& [start, words] :
         {std::pair{"", "collective_all_distil_full (its teacher, full), seed 1 diverged"},
          std::pair{"full", "(its teacher and start, full), seed 1 diverged"}}) {
        auto data = samples("full", start);
        data.schedule.learning_rate = 1e30;
        try {
            train(data, run_of(data, kTaught));
            FAIL() << "a learning rate of 1e30 converged";
        } catch (DataError const& error) {
            EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
        }
    }
}

class DistilRunOfModel : public DistilRun, public testing::WithParamInterface<Model> {};
INSTANTIATE_TEST_SUITE_P(Models, DistilRunOfModel,
                         testing::Values(Model::sim, Model::twin, Model::eta, Model::sdim,
                                         Model::hstu),
                         [](auto const& of) { return to_string(of.param); });

// With a weight of 1 labels reach the pools through the teacher alone.
TEST_P(DistilRunOfModel, TeachesWhatItKnows) {
    auto data = samples("full", "", GetParam());
    data.schedule.epochs = 4;
    data.schedule.distil_weight = 1;
    auto const run = run_of(data, kTaught);
    auto const result = train(data, run);
    EXPECT_GT(result.teacher.tune_auc, 0.6) << "0.5 is chance, its standard error 0.015";
    EXPECT_GT(result.tune_auc, 0.6);
    auto const weights = model::load_sim_weights(run.path, test::catalogue_of(data));
    EXPECT_EQ(weights.variant.teacher, model::Teacher::full);
    EXPECT_EQ(weights.variant.start, model::Start::random);
}

}  // namespace
}  // namespace ckvsim::train
