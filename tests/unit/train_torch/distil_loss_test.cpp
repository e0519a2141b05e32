// The click term with a teacher, its gradient and its weight, against the formula in double
// precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "network_fixtures.hpp"
#include "train/batch.hpp"
#include "train/sim_network.hpp"

namespace ckvsim::train {
namespace {

using test::batch_of;
using test::planted_samples;
using test::pools_of;
using test::warm_up;

VariantSpec taught(Model model) {
    auto variant = pools_of(model, 1, 16);
    variant.teacher = Teacher::full;
    return variant;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// -(p log q + (1 - p) log(1 - q)), q = sigmoid(logit).
double cross_entropy(double logit, double p) {
    double const q = sigmoid(logit);
    return -(p * std::log(q) + (1 - p) * std::log(1 - q));
}

class DistilLoss : public testing::TestWithParam<Model> {
  protected:
    /// Training scores as evaluation does: plain pool rows, no dropout.
    void SetUp() override {
        samples_.schedule.dropout = 0;
        batch_ = batch_of(samples_, BatchBuilder::Mode::unique_items, 64);
        for (std::size_t b = 0; b < batch_.size(); ++b)
            batch_.teacher.push_back(3.0F * std::sin(static_cast<float>(b)) - 0.5F);
    }
    /// Both with the weights of some steps that nobody taught.
    void warm(SimNetwork& untaught, SimNetwork& network) {
        warm_up(untaught, samples_);
        network.restore(untaught.snapshot());
    }
    Samples samples_ = planted_samples(true, GetParam());
    Batch batch_;
};
INSTANTIATE_TEST_SUITE_P(Models, DistilLoss,
                         testing::Values(Model::sim, Model::twin, Model::eta, Model::sdim,
                                         Model::hstu),
                         [](auto const& of) { return to_string(of.param); });

// No other term of the objective reaches the last bias: its gradient is the mean of the click
// term's by the logit.
TEST_P(DistilLoss, ValueAndGradientAreThoseOfTheFormula) {
    std::string const last = "tower." + std::to_string(samples_.shape.tower.size()) + ".b";
    for (auto const& [weight, temperature] :
         {std::pair{0.5, 1.0}, {0.3, 3.0}, {1.0, 0.5}, {0.0, 2.0}}) {
        samples_.schedule.distil_weight = weight;
        samples_.schedule.distil_temperature = temperature;
        SimNetwork untaught(samples_, pools_of(GetParam(), 1, 16), 1);
        SimNetwork network(samples_, taught(GetParam()), 1);
        warm(untaught, network);
        auto const logits = network.predict(batch_);
        double click = 0;
        double distil = 0;
        double gradient = 0;
        for (std::size_t b = 0; b < logits.size(); ++b) {
            double const z = logits[b];
            double const label = batch_.labels[b];
            double const p = sigmoid(batch_.teacher[b] / temperature);
            click += cross_entropy(z, label);
            distil += temperature * temperature * cross_entropy(z / temperature, p);
            gradient += (1 - weight) * (sigmoid(z) - label) +
                        weight * temperature * (sigmoid(z / temperature) - p);
        }
        auto const size = static_cast<double>(logits.size());
        std::map<std::string, std::vector<float>> gradients;
        auto const losses = network.gradients(batch_, gradients);
        EXPECT_NEAR(losses.click, click / size, 1e-5);
        EXPECT_NEAR(losses.distil, distil / size, 1e-5 * std::max(1.0, distil / size));
        ASSERT_EQ(gradients.at(last).size(), 1U);
        EXPECT_NEAR(gradients.at(last)[0], gradient / size, 1e-6)
            << "weight " << weight << ", temperature " << temperature;
        EXPECT_GT(std::abs(gradient / size), 1e-4) << "nothing to compare";
    }
}

// At temperature 1 the term is the cross-entropy with the mixed target: of a teacher who is sure of
// the labels it is that with the labels, and so is every parameter's gradient.
TEST_P(DistilLoss, SureTeacherOfTheLabelsTeachesThem) {
    samples_.schedule.distil_weight = 0.5;
    samples_.schedule.distil_temperature = 1;
    SimNetwork untaught(samples_, pools_of(GetParam(), 1, 16), 1);
    SimNetwork network(samples_, taught(GetParam()), 1);
    warm(untaught, network);
    for (std::size_t b = 0; b < batch_.size(); ++b)
        batch_.teacher[b] = batch_.labels[b] > 0 ? 40.0F : -40.0F;
    std::map<std::string, std::vector<float>> expected;
    std::map<std::string, std::vector<float>> gradients;
    auto const plain = untaught.gradients(batch_, expected);
    auto const losses = network.gradients(batch_, gradients);
    EXPECT_NEAR(losses.distil, plain.click, 1e-6);
    EXPECT_EQ(plain.distil, 0);
    ASSERT_EQ(gradients.size(), expected.size());
    for (auto const& [name, gradient] : expected) {
        double scale = 0;
        for (auto const g : gradient) scale = std::max(scale, std::abs(double{g}));
        for (std::size_t i = 0; i < gradient.size(); ++i)
            ASSERT_NEAR(gradients.at(name)[i], gradient[i], 1e-7 + 1e-5 * scale) << name << i;
    }
}

// The head of SIM's search learns from the labels whatever the weight.
TEST_P(DistilLoss, LabelsTeachTheSearchAlone) {
    samples_.schedule.distil_weight = 1;
    auto inverted = batch_;
    for (float& label : inverted.labels) label = 1 - label;
    SimNetwork network(samples_, taught(GetParam()), 1);
    std::map<std::string, std::vector<float>> a;
    std::map<std::string, std::vector<float>> b;
    network.gradients(batch_, a);
    network.gradients(inverted, b);
    ASSERT_EQ(a.size(), b.size());
    for (auto const& [name, gradient] : a) {
        if (name.starts_with("search")) {
            EXPECT_NE(gradient, b.at(name)) << name;
        } else {
            EXPECT_EQ(gradient, b.at(name)) << name;
        }
    }
}

TEST_P(DistilLoss, WeightOfZeroIsTrainingWithoutATeacher) {
    samples_.schedule.distil_weight = 0;
    samples_.schedule.dropout = 0.1;
    SimNetwork plain(samples_, pools_of(GetParam(), 1, 16), 1);
    SimNetwork network(samples_, taught(GetParam()), 1);
    for (int step = 0; step < 5; ++step) {
        plain.train_step(batch_);
        network.train_step(batch_);
    }
    EXPECT_EQ(network.snapshot(), plain.snapshot());
    samples_.schedule.distil_weight = 0.01;
    SimNetwork other(samples_, taught(GetParam()), 1);
    for (int step = 0; step < 5; ++step) other.train_step(batch_);
    EXPECT_NE(other.snapshot(), plain.snapshot());
}

TEST(DistilBatch, NeedsALogitOfTheTeacherForEverySample) {
    auto const samples = planted_samples(false, Model::twin);
    SimNetwork network(samples, taught(Model::twin), 1);
    auto batch = batch_of(samples, BatchBuilder::Mode::unique_items, 8);
    EXPECT_THROW(network.train_step(batch), InternalError);
    batch.teacher.assign(7, 0.0F);
    EXPECT_THROW(network.train_step(batch), InternalError);
    batch.teacher.push_back(0.0F);
    network.train_step(batch);
    std::vector<std::uint32_t> const rows = {5, 3};
    BatchBuilder(samples).build(samples.train, rows, batch);
    EXPECT_TRUE(batch.teacher.empty()) << "those of the batch before";
}

}  // namespace
}  // namespace ckvsim::train
