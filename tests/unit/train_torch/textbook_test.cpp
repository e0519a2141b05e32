// The trainer's step against the textbook's (tests/support/textbook_network.hpp), which shares no
// kernel with it: batches of rows per token, logits of every token, automatic differentiation.
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <tuple>

#include "core/error.hpp"
#include "network_fixtures.hpp"
#include "textbook_memory.hpp"
#include "textbook_network.hpp"

namespace ckvsim::train {
namespace {

using test::planted_samples;
using test::TextbookNetwork;
using test::variant_of;
using test::warm_up;

std::vector<std::uint32_t> first_rows(std::size_t count) {
    std::vector<std::uint32_t> rows(count);
    std::iota(rows.begin(), rows.end(), 0U);
    return rows;
}

/// Masks of the two come from different generators.
Samples without_dropout(Model model, bool straight_through = false) {
    auto samples = planted_samples(straight_through, model);
    samples.schedule.dropout = 0;
    return samples;
}

class Textbook : public testing::TestWithParam<std::tuple<Model, VariantSpec, bool>> {};

TEST_P(Textbook, HasTheTrainersLossesAndGradients) {
    auto const& [model, variant, straight_through] = GetParam();
    auto const samples = without_dropout(model, straight_through);
    SimNetwork network(samples, variant, 1);
    warm_up(network, samples);
    TextbookNetwork textbook(samples, variant);
    textbook.restore(network.snapshot());
    std::map<std::string, std::vector<float>> ours;
    std::map<std::string, std::vector<float>> theirs;
    auto const batch = test::batch_of(samples, BatchBuilder::Mode::unique_items, 64);
    auto const a = network.gradients(batch, ours);
    auto const b = textbook.gradients(samples.train, first_rows(64), 64, theirs);
    EXPECT_NEAR(a.click, b.click, 1e-6);
    EXPECT_NEAR(a.search, b.search, 1e-6);
    EXPECT_NEAR(a.peak, b.peak, 1e-5 * a.peak);
    EXPECT_NEAR(a.balance, b.balance, 1e-5 * a.balance + 1e-6);
    // A softmax does not see what all keys have in common: with one pool row alone its gradient is
    // rounding.
    auto const apart = test::difference(ours, theirs, variant.m == 1 ? 1e-3 : 0.0);
    EXPECT_LT(apart.relative, 1e-4) << apart.tensor;
}

INSTANTIATE_TEST_SUITE_P(
    VariantsOfSim, Textbook,
    testing::Combine(testing::Values(Model::sim),
                     testing::Values(variant_of(Kind::collective, Scope::all, 1, 16),
                                     variant_of(Kind::collective, Scope::all, 0, 7),
                                     variant_of(Kind::collective, Scope::all, 3, 1)),
                     testing::Bool()));

// Without own values keys are equal and the choice among them is open.
INSTANTIATE_TEST_SUITE_P(
    VariantsOfTwin, Textbook,
    testing::Combine(testing::Values(Model::twin),
                     testing::Values(variant_of(Kind::collective, Scope::all, 1, 16),
                                     variant_of(Kind::collective, Scope::all, 3, 1)),
                     testing::Bool()));

// All losses but the balance loss are means over the whole batch, however it is cut.
TEST(TextbookStep, MicroBatchesAddUpToTheBatch) {
    auto samples = without_dropout(Model::sim);
    samples.schedule.balance_weight = 0;
    auto const variant = variant_of(Kind::collective, Scope::all, 1, 16);
    SimNetwork network(samples, variant, 1);
    warm_up(network, samples);
    TextbookNetwork textbook(samples, variant);
    textbook.restore(network.snapshot());
    std::map<std::string, std::vector<float>> at_once;
    std::map<std::string, std::vector<float>> in_parts;
    auto const a = textbook.gradients(samples.train, first_rows(64), 64, at_once);
    auto const b = textbook.gradients(samples.train, first_rows(64), 10, in_parts);
    EXPECT_NEAR(a.click, b.click, 1e-6);
    EXPECT_NEAR(a.peak, b.peak, 1e-5 * a.peak);
    auto const apart = test::difference(at_once, in_parts);
    EXPECT_LT(apart.relative, 1e-4) << apart.tensor;
}

// Both take the same Adam step: the next gradients are the same again.
TEST(TextbookStep, MovesWeightsAsTheTrainerDoes) {
    auto const samples = without_dropout(Model::twin);
    auto const variant = variant_of(Kind::collective, Scope::all, 1, 16);
    SimNetwork network(samples, variant, 1);
    TextbookNetwork textbook(samples, variant);
    textbook.restore(network.snapshot());
    auto const batch = test::batch_of(samples, BatchBuilder::Mode::unique_items, 64);
    network.train_step(batch);
    auto const step = textbook.train_step(samples.train, first_rows(64), 64);
    EXPECT_EQ(step.micro_batches, 1U);
    std::map<std::string, std::vector<float>> ours;
    std::map<std::string, std::vector<float>> theirs;
    network.gradients(batch, ours);
    textbook.gradients(samples.train, first_rows(64), 64, theirs);
    auto const apart = test::difference(ours, theirs);
    // Adam's first step divides by the gradient's own size: where that is small, rounding is not.
    EXPECT_LT(apart.relative, 1e-3) << apart.tensor;
}

TEST(TextbookStep, SamplesWithoutAnyHistoryTrain) {
    auto samples = without_dropout(Model::sim);
    for (auto& end : samples.train.history_end) end = 0;
    TextbookNetwork textbook(samples, variant_of(Kind::collective, Scope::all, 1, 16));
    std::map<std::string, std::vector<float>> gradients;
    auto const losses = textbook.gradients(samples.train, first_rows(8), 8, gradients);
    EXPECT_GT(losses.click, 0);
    EXPECT_EQ(losses.peak, 0);
}

/// Counts what libtorch's tensors hold, beside the allocator that it replaces while it lives.
class CountingAllocator : public c10::Allocator {
  public:
    CountingAllocator() : below_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 1); }
    ~CountingAllocator() override { c10::SetCPUAllocator(below_, 1); }
    CountingAllocator(CountingAllocator const&) = delete;
    CountingAllocator& operator=(CountingAllocator const&) = delete;
    c10::DataPtr allocate(std::size_t bytes) const override {
        held_ += bytes;
        peak_ = std::max(peak_, held_.load());
        auto* const block = new Block{below_->allocate(bytes), bytes};
        return {block->memory.get(), block, &CountingAllocator::free_block, c10::Device(c10::kCPU)};
    }
    [[nodiscard]] std::size_t held() const { return held_; }
    [[nodiscard]] std::size_t peak() const { return peak_; }

  private:
    struct Block {
        c10::DataPtr memory;
        std::size_t bytes;
    };
    static void free_block(void* context) {
        auto* const block = static_cast<Block*>(context);
        held_ -= block->bytes;
        delete block;
    }
    c10::Allocator* below_;
    static inline std::atomic<std::size_t> held_ = 0;
    mutable std::size_t peak_ = 0;
};

// What bench_training begins its search with: a peak below the real one, so that no size that fits
// is passed over, and not far below.
TEST(TextbookStep, PeakBytesAreThoseOfTheTokensTimesPoolTensors) {
    auto const samples = without_dropout(Model::sim);
    auto const variant = variant_of(Kind::collective, Scope::all, 1, 4096);
    auto const rows = first_rows(64);
    double tokens = 0;
    double short_tokens = 0;
    for (auto const row : rows) {
        auto const length = std::min(samples.train.history_end[row], samples.shape.max_tokens);
        tokens += length;
        short_tokens += std::min(length, samples.shape.short_tokens);
    }
    CountingAllocator const allocator;
    TextbookNetwork textbook(samples, variant);
    auto const before = allocator.held();
    textbook.train_step(samples.train, rows, rows.size());
    auto const expected = TextbookNetwork::peak_bytes(variant, tokens, short_tokens);
    auto const measured = static_cast<double>(allocator.peak() - before);
    EXPECT_GE(measured, expected);
    EXPECT_LE(measured, 1.2 * expected);
}

TEST(MicroBatchPeaks, TheLargestIsHalvedUntilItFits) {
    std::vector<std::uint32_t> asked;
    auto const peaks = test::micro_batch_peaks({16, test::kLargest}, 2048, [&](std::uint32_t size) {
        asked.push_back(size);
        std::uint32_t const first = size == test::kLargest ? 1000 : size;
        return test::MicroBatchPeak{first, 2.0 * first, first <= 300};
    });
    EXPECT_EQ(asked, (std::vector<std::uint32_t>{16, test::kLargest, 500, 250}));
    ASSERT_EQ(peaks.size(), 4U);
    EXPECT_FALSE(peaks[2].fits);
    EXPECT_EQ(peaks[3].micro_batch, 250U);
    EXPECT_EQ(peaks[3].peak_mib, 500.0);
    EXPECT_TRUE(peaks[3].fits);
}

TEST(MicroBatchPeaks, EverySizeIsMeasuredOnceAndNoneAboveTheBatch) {
    std::vector<std::uint32_t> asked;
    auto const peak_of = [&](std::uint32_t size) {
        asked.push_back(size);
        return test::MicroBatchPeak{size == test::kLargest ? 64 : size, 1.0, true};
    };
    EXPECT_EQ(test::micro_batch_peaks({16, 128, 64, test::kLargest}, 64, peak_of).size(), 2U);
    EXPECT_EQ(asked, (std::vector<std::uint32_t>{16, 64, test::kLargest}));
}

TEST(MicroBatchPeaks, WhereNothingFitsTheSearchEndsAtOneSample) {
    // 3 is known when the search passes it.
    auto const peaks = test::micro_batch_peaks({3, test::kLargest}, 64, [](std::uint32_t size) {
        return test::MicroBatchPeak{size == test::kLargest ? 5 : size, 9.0, false};
    });
    std::vector<std::uint32_t> sizes;
    for (auto const& peak : peaks) sizes.push_back(peak.micro_batch);
    EXPECT_EQ(sizes, (std::vector<std::uint32_t>{3, 5, 2, 1}));
}

TEST(TextbookStep, OtherModelsAndVariantsAreRefused) {
    auto const pools = variant_of(Kind::collective, Scope::all, 1, 16);
    EXPECT_THROW(TextbookNetwork(planted_samples(false, Model::hstu), pools), InternalError);
    EXPECT_THROW(TextbookNetwork(planted_samples(), variant_of(Kind::full)), InternalError);
    TextbookNetwork textbook(planted_samples(), pools);
    EXPECT_THROW(textbook.restore({{1.0F}}), InternalError);
}

TEST(GradientDifference, IsRelativeToTheTensorsLargestValue) {
    using Gradients = std::map<std::string, std::vector<float>>;
    Gradients const expected = {{"a", {10.0F, 1.0F}}, {"b", {2.0F}}};
    EXPECT_EQ(test::difference(expected, expected).relative, 0);
    auto const apart = test::difference(expected, {{"a", {10.0F, 0.0F}}, {"b", {1.9F}}});
    EXPECT_NEAR(apart.relative, 0.1, 1e-6);
    EXPECT_EQ(apart.tensor, "a");
    Gradients const tiny = {{"a", {10.0F, 1.0F}}, {"b", {1e-6F, 0.0F}}};
    Gradients const other = {{"a", {10.0F, 1.0F}}, {"b", {0.0F, 0.0F}}};
    EXPECT_NEAR(test::difference(tiny, other).relative, 1.0, 1e-6);
    EXPECT_NEAR(test::difference(tiny, other, 1e-3).relative, 1e-4, 1e-9);
    EXPECT_NEAR(test::difference({{"bias", {1e-6F}}}, {{"bias", {0.0F}}}).relative, 1e-4, 1e-9);
    EXPECT_TRUE(std::isinf(test::difference(expected, {{"a", {10.0F, 1.0F}}}).relative));
    Gradients const broken = {{"a", {10.0F, NAN}}, {"b", {2.0F}}};
    EXPECT_TRUE(std::isinf(test::difference(expected, broken).relative));
}

}  // namespace
}  // namespace ckvsim::train
