// Portable operations against the kernels, on the CPU: the same objective, gradients, choices and
// weights, to the order of sums. No GPU takes part: what its libraries round otherwise is not seen.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/archive.hpp"
#include "core/error.hpp"
#include "data_parallel_suite.hpp"
#include "network_fixtures.hpp"
#include "team_threads.hpp"
#include "train/sim_network.hpp"
#include "train/torch_runtime.hpp"

namespace ckvsim::train {
namespace {

using test::planted_samples;
using test::pools_of;
using test::total_of;
using test::variant_of;

/// Small pieces, so that a batch has many.
Compute in_pieces(std::int64_t piece_elements = 512, Precision precision = Precision::fp32) {
    return {"cpu", OperationKind::portable, precision, piece_elements};
}

// A sum of n terms in another order is off by some sqrt(n) half units of 6e-8: 1e-6 of the largest
// entry for gradients that add up hundreds of tokens, and ten times that where they pass a softmax.
constexpr double kTolerance = 1e-5;

void expect_near(std::vector<float> const& found, std::vector<float> const& expected,
                 double tolerance, std::string const& where) {
    ASSERT_EQ(found.size(), expected.size()) << where;
    double scale = 0;
    for (auto const g : expected) scale = std::max(scale, std::abs(double{g}));
    for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(found[i], expected[i], 1e-7 + tolerance * scale) << where << " " << i;
}

struct Sizes {
    std::uint32_t first;
    std::uint32_t size;
};
// Samples 0 to 3 are of a user without a history.
constexpr Sizes kBatches[] = {{0, 3}, {2, 3}, {0, 64}, {100, 1}};

class Portable : public testing::TestWithParam<std::tuple<Model, VariantSpec>> {};

TEST_P(Portable, HasTheKernelsObjectiveGradientsAndChoices) {
    auto const& [model, variant] = GetParam();
    for (bool const straight_through : {false, true}) {
        auto const samples = planted_samples(straight_through, model);
        SimNetwork kernels(samples, variant, 1);
        test::warm_up(kernels, samples);
        BatchBuilder builder(samples);
        Batch batch;
        for (auto const piece : {std::int64_t{1}, std::int64_t{512}, std::int64_t{1} << 24}) {
            SimNetwork other(samples, variant, 1, in_pieces(piece));
            ByteBuffer state;
            kernels.save_state(state);
            ByteView source(state.bytes);
            other.load_state(source);
            EXPECT_EQ(other.snapshot(), kernels.snapshot());
            EXPECT_EQ(other.state_layout(), kernels.state_layout());
            for (auto const& [first, size] : kBatches) {
                std::vector<std::uint32_t> rows(size);
                std::iota(rows.begin(), rows.end(), first);
                builder.build(samples.train, rows, batch);
                auto const where = "pieces of " + std::to_string(piece) + ", " +
                                   std::to_string(size) + " samples from " + std::to_string(first);
                std::map<std::string, std::vector<float>> expected;
                std::map<std::string, std::vector<float>> found;
                auto const a = kernels.gradients(batch, expected);
                auto const b = other.gradients(batch, found);
                EXPECT_NEAR(a.click, b.click, kTolerance * a.click) << where;
                EXPECT_NEAR(a.search, b.search, kTolerance * a.search) << where;
                EXPECT_NEAR(a.peak, b.peak, kTolerance * a.peak) << where;
                EXPECT_NEAR(a.balance, b.balance, kTolerance * std::max(1.0, a.balance)) << where;
                ASSERT_EQ(found.size(), expected.size()) << where;
                for (auto const& [name, gradient] : expected)
                    expect_near(found.at(name), gradient, kTolerance, where + ", " + name);
                Ragged chosen;
                Ragged expected_choice;
                auto const logits = kernels.predict(batch, &expected_choice);
                expect_near(other.predict(batch, &chosen), logits, kTolerance, where);
                EXPECT_EQ(chosen.rows, expected_choice.rows) << where;
                EXPECT_EQ(chosen.offsets, expected_choice.offsets) << where;
            }
        }
        if (variant.kind != Kind::collective) break;  // nothing is straight
    }
}

// Adam too: every step from equal weights and moments, then from where each has come to.
TEST_P(Portable, TakesTheKernelsSteps) {
    auto const& [model, variant] = GetParam();
    auto const samples = planted_samples(false, model);
    SimNetwork kernels(samples, variant, 1);
    SimNetwork other(samples, variant, 1, in_pieces());
    EXPECT_EQ(other.snapshot(), kernels.snapshot()) << "the start";
    BatchBuilder builder(samples);
    Batch batch;
    auto const order = epoch_order(samples.train.size(), 1, 1);
    double worst_step = 0;
    double worst_loss = 0;
    for (std::size_t step = 0; step < 12; ++step) {
        builder.build(samples.train, std::span(order).subspan(step * 64, 64), batch);
        if (step < 8) {
            ByteBuffer state;
            kernels.save_state(state);
            ByteView source(state.bytes);
            other.load_state(source);
        }
        auto const expected = total_of(kernels.train_step(batch), samples.schedule);
        auto const found = total_of(other.train_step(batch), samples.schedule);
        worst_loss = std::max(worst_loss, std::abs(found - expected) / expected);
        if (step >= 8) continue;
        auto const before = kernels.snapshot();
        auto const after = other.snapshot();
        for (std::size_t p = 0; p < before.size(); ++p) {
            for (std::size_t i = 0; i < before[p].size(); ++i)
                worst_step = std::max(worst_step, std::abs(double{after[p][i]} - before[p][i]));
        }
    }
    std::printf("losses differ by at most %.2g, weights after a step by %.2g\n", worst_loss,
                worst_step);
    EXPECT_LE(worst_loss, 1e-5);
    // Adam divides a gradient by its own size, so that a step may differ by more than its gradient:
    // seen 7e-6 of a rate of 5e-3.
    EXPECT_LE(worst_step, 0.02 * samples.schedule.learning_rate);
}

std::string case_name(testing::TestParamInfo<std::tuple<Model, VariantSpec>> const& of) {
    auto const& [model, variant] = of.param;
    return to_string(model) + "_" + to_string(variant.kind) + "_" + to_string(variant.scope) + "_" +
           to_string(variant.sides) + "_du" + std::to_string(variant.d_u) + "_m" +
           std::to_string(variant.m);
}

INSTANTIATE_TEST_SUITE_P(
    Variants, Portable,
    testing::Combine(testing::Values(Model::sim, Model::twin, Model::eta),
                     testing::Values(variant_of(Kind::full), variant_of(Kind::full_silu),
                                     variant_of(Kind::collective, Scope::released, 1, 16),
                                     variant_of(Kind::collective, Scope::all, 0, 7),
                                     variant_of(Kind::collective, Scope::all, 2, 7, Sides::v),
                                     variant_of(Kind::mean_pool))),
    case_name);
INSTANTIATE_TEST_SUITE_P(VariantsOfSdim, Portable,
                         testing::Combine(testing::Values(Model::sdim),
                                          testing::Values(variant_of(Kind::full),
                                                          variant_of(Kind::collective,
                                                                     Scope::released, 1, 16))),
                         case_name);
INSTANTIATE_TEST_SUITE_P(VariantsOfHstu, Portable,
                         testing::Combine(testing::Values(Model::hstu),
                                          testing::Values(variant_of(Kind::full),
                                                          variant_of(Kind::collective, Scope::all,
                                                                     3, 16),
                                                          variant_of(Kind::mean_pool))),
                         case_name);

class PortableModel : public testing::TestWithParam<Model> {};
INSTANTIATE_TEST_SUITE_P(Models, PortableModel,
                         testing::Values(Model::sim, Model::twin, Model::eta, Model::sdim,
                                         Model::hstu),
                         [](auto const& of) { return to_string(of.param); });

// Ranks of which some have no token, or no sample, against one process.
TEST_P(PortableModel, SharesBatchesAmongRanks) {
    auto const widest = GetParam() == Model::sdim ? Scope::released : Scope::all;
    test::run_team(3, [&](Team& team) {
        VariantSpec variant{Kind::collective, widest, 1, 16, "collective"};
        test::SideBySide(team, {GetParam(), variant}, in_pieces()).compare_gradients();
        variant.teacher = Teacher::full;
        test::SideBySide(team, {GetParam(), variant}, in_pieces()).compare_gradients();
    });
}

// bf16 has 8 bits: an operand is off by 2^-8 = 0.4 % at most, sums of products by less, and what
// follows them is smooth but for choices, which few tokens decide. Every step starts from equal
// weights: left alone, HSTU's click loss is some 5 % off after 25 steps, that of the others 1.3 %.
TEST_P(PortableModel, Bf16StaysNearFp32) {
    auto samples = planted_samples(false, GetParam());
    auto const variant = pools_of(GetParam(), 1, 16);
    std::int64_t const piece = Compute{}.piece_elements;
    SimNetwork exact(samples, variant, 1, in_pieces(piece));
    SimNetwork rounded(samples, variant, 1, in_pieces(piece, Precision::bf16));
    BatchBuilder builder(samples);
    Batch batch;
    auto const order = epoch_order(samples.train.size(), 1, 1);
    double worst = 0;
    bool differ = false;
    for (std::size_t step = 0; step < 20; ++step) {
        builder.build(samples.train, std::span(order).subspan(step * 64, 64), batch);
        ByteBuffer state;
        exact.save_state(state);
        ByteView source(state.bytes);
        rounded.load_state(source);
        auto const expected = total_of(exact.train_step(batch), samples.schedule);
        auto const found = total_of(rounded.train_step(batch), samples.schedule);
        worst = std::max(worst, std::abs(found - expected) / expected);
        differ = differ || found != expected;
    }
    // What serving is held to is not rounded.
    exact.set_values(rounded.values());
    EXPECT_EQ(rounded.predict(batch), exact.predict(batch));
    TensorFile of_rounded;
    TensorFile of_exact;
    rounded.store(of_rounded);
    exact.store(of_exact);
    ASSERT_EQ(of_rounded.tensors.size(), of_exact.tensors.size());
    for (auto const& [name, tensor] : of_exact.tensors)
        EXPECT_EQ(of_rounded.tensors.at(name).data, tensor.data) << name;
    std::printf("losses of bf16 differ by at most %.2g\n", worst);
    EXPECT_TRUE(differ) << "bf16 changed nothing";
    EXPECT_LE(worst, 0.02);
}

TEST(Device, OneThatIsNotThereIsNamed) {
    require_device("cpu");
    if (cuda_devices() > 0) GTEST_SKIP() << "this machine has a CUDA device";
    try {
        require_device("cuda:0");
        FAIL() << "a device that nobody has";
    } catch (BackendError const& error) {
        EXPECT_NE(std::string(error.what()).find("--device cuda:0: libtorch"), std::string::npos)
            << error.what();
        EXPECT_NE(std::string(error.what()).find("no CUDA device"), std::string::npos);
    }
}

}  // namespace
}  // namespace ckvsim::train
