#include "train/batch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "planted_samples.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::train {
namespace {

Samples planted_samples() {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    planted.file().write(folder.path("a.ckvt"));
    return read_samples(folder.path("a.ckvt"));
}

/// History of a sample, straight from the definition.
std::vector<std::uint32_t> history(Samples const& samples, std::uint32_t row, std::size_t limit) {
    auto const begin =
        samples.timeline_items.begin() +
        static_cast<std::ptrdiff_t>(samples.timeline_offsets[samples.train.user[row]]);
    std::vector<std::uint32_t> items(begin, begin + samples.train.history_end[row]);
    if (items.size() > limit)
        items.erase(items.begin(), items.end() - static_cast<std::ptrdiff_t>(limit));
    return items;
}

std::vector<std::uint32_t> items_of(Batch const& batch, Ragged const& tokens, std::size_t b) {
    std::vector<std::uint32_t> items;
    for (auto const row : tokens.list(b)) items.push_back(batch.items[row]);
    return items;
}

class BothModes : public testing::TestWithParam<BatchBuilder::Mode> {};

TEST_P(BothModes, HoldTheSamplesInOrder) {
    auto const samples = planted_samples();
    BatchBuilder builder(samples, GetParam());
    Batch batch;
    std::vector<std::uint32_t> const rows = {5, 0, 900, 17, 5};
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second time, its tables are dirty
        builder.build(samples.train, rows, batch);
        ASSERT_EQ(batch.size(), rows.size());
        for (std::size_t b = 0; b < rows.size(); ++b) {
            EXPECT_EQ(items_of(batch, batch.long_tokens, b), history(samples, rows[b], 16));
            EXPECT_EQ(items_of(batch, batch.short_tokens, b), history(samples, rows[b], 6));
            EXPECT_EQ(batch.items[static_cast<std::size_t>(batch.candidates[b])],
                      samples.train.item[rows[b]]);
            EXPECT_EQ(batch.labels[b], samples.train.label[rows[b]]);
            EXPECT_EQ(batch.context.ids[static_cast<std::size_t>(batch.context.index[b])],
                      samples.train.context[rows[b]]);
        }
        for (std::size_t f = 0; f < 2; ++f) {
            ASSERT_EQ(batch.features[f].index.size(), batch.items.size());
            for (std::size_t u = 0; u < batch.items.size(); ++u) {
                EXPECT_EQ(
                    batch.features[f].ids[static_cast<std::size_t>(batch.features[f].index[u])],
                    samples.item_features[f][batch.items[u]]);
            }
        }
        EXPECT_EQ(std::accumulate(batch.short_counts.begin(), batch.short_counts.end(), 0.0F),
                  static_cast<float>(batch.short_tokens.rows.size()));
        EXPECT_EQ(std::accumulate(batch.long_counts.begin(), batch.long_counts.end(), 0.0F),
                  static_cast<float>(batch.long_tokens.rows.size()));
        EXPECT_EQ(batch.short_counts.size(), batch.short_items);
        EXPECT_EQ(batch.long_counts.size(), batch.long_items);
        EXPECT_EQ(std::count(batch.long_counts.begin(), batch.long_counts.end(), 0.0F), 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Modes, BothModes,
                         testing::Values(BatchBuilder::Mode::unique_items,
                                         BatchBuilder::Mode::per_token));

TEST(BatchBuilder, UniqueItemsAreDistinctAndTokensAreCounted) {
    auto const samples = planted_samples();
    std::vector<std::uint32_t> rows(64);
    std::iota(rows.begin(), rows.end(), 0U);
    Batch batch;
    BatchBuilder(samples).build(samples.train, rows, batch);
    EXPECT_EQ(std::set(batch.items.begin(), batch.items.end()).size(), batch.items.size());
    EXPECT_LT(batch.items.size(), batch.long_tokens.rows.size());
    Batch tokens;
    BatchBuilder(samples, BatchBuilder::Mode::per_token).build(samples.train, rows, tokens);
    EXPECT_EQ(tokens.items.size(), tokens.long_tokens.rows.size() + rows.size());
}

TEST(EpochOrder, IsAPermutationKeyedBySeedAndEpoch) {
    auto const order = epoch_order(1000, 1, 1);
    auto sorted = order;
    std::sort(sorted.begin(), sorted.end());
    std::vector<std::uint32_t> expected(1000);
    std::iota(expected.begin(), expected.end(), 0U);
    EXPECT_EQ(sorted, expected);
    EXPECT_NE(order, expected);
    EXPECT_EQ(order, epoch_order(1000, 1, 1));
    EXPECT_NE(order, epoch_order(1000, 1, 2));
    EXPECT_NE(order, epoch_order(1000, 2, 1));
}

}  // namespace
}  // namespace ckvsim::train
