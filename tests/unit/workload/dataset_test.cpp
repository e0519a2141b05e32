#include "workload/dataset.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/error.hpp"
#include "workload/perturbed.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Three users, four items; user 1 has no impressions, user 2 no stored history.
Dataset valid() {
    Dataset d;
    d.name = "hand-made";
    d.history_kind = "clicks";
    d.catalogue.items = 4;
    d.catalogue.feature_names = {"item", "category"};
    d.catalogue.feature_vocabularies = {5, 3};
    d.catalogue.features = {{0, 1, 2, 3, 4}, {0, 1, 1, 2, 0}};
    d.context_vocabulary = 2;
    d.original_user_ids = {10, 20, 30};
    d.original_item_ids = {-1, 5, 6, 7, 8};
    d.history_offsets = {0, 2, 3, 3};
    d.history_items = {1, 2, 4};
    d.impression_offsets = {0, 4, 4, 5};
    d.impression_items = {3, 4, 1, 2, 2};
    d.impression_times_ms = {1000, 1999, 2000, 3000, -1};
    d.impression_contexts = {0, 1, 0, 0, 1};
    d.impression_labels = {1, 0, 0, 1, 1};
    d.impression_splits = {0, 0, 1, 2, 2};
    return d;
}

std::string problem(Dataset const& dataset) {
    try {
        check_dataset(dataset, "origin");
    } catch (DataError const& error) {
        return error.what();
    }
    return "";
}

TEST(Dataset, AValidOneIsAccepted) { EXPECT_EQ(problem(valid()), ""); }

TEST(Dataset, EveryBrokenInvariantIsNamed) {
    struct Case {
        char const* expected;
        std::function<void(Dataset&)> damage;
    };
    std::vector<Case> const cases = {
        {"catalogue is empty", [](Dataset& d) { d.catalogue.items = 0; }},
        {"differ in number", [](Dataset& d) { d.catalogue.feature_names.pop_back(); }},
        {"differ in number", [](Dataset& d) { d.catalogue.features.clear(); }},
        {"lacks rows", [](Dataset& d) { d.catalogue.features[1].pop_back(); }},
        {"outside its vocabulary", [](Dataset& d) { d.catalogue.features[1][2] = 3; }},
        {"is not the item id", [](Dataset& d) { d.catalogue.features[0][2] = 1; }},
        {"one row per item", [](Dataset& d) { d.original_item_ids.pop_back(); }},
        {"-1 for padding", [](Dataset& d) { d.original_item_ids[0] = 0; }},
        {"item ids are not ascending", [](Dataset& d) { d.original_item_ids[2] = 5; }},
        {"no users", [](Dataset& d) { d.original_user_ids.clear(); }},
        {"user ids are not in strictly", [](Dataset& d) { d.original_user_ids[1] = 10; }},
        {"history offsets need", [](Dataset& d) { d.history_offsets.pop_back(); }},
        {"history offsets need", [](Dataset& d) { d.history_offsets.clear(); }},
        {"history offsets do not",
         [](Dataset& d) {
             d.history_offsets = {0, 3, 2, 3};
         }},
        {"history offsets do not", [](Dataset& d) { d.history_offsets[0] = 1; }},
        {"history offsets do not", [](Dataset& d) { d.history_items.pop_back(); }},
        {"impression offsets do not", [](Dataset& d) { d.impression_offsets[3] = 4; }},
        {"history holds item 0", [](Dataset& d) { d.history_items[0] = 0; }},
        {"history holds item 5", [](Dataset& d) { d.history_items[0] = 5; }},
        {"impression holds item 9", [](Dataset& d) { d.impression_items[4] = 9; }},
        {"columns differ", [](Dataset& d) { d.impression_labels.pop_back(); }},
        {"columns differ", [](Dataset& d) { d.impression_times_ms.push_back(9); }},
        {"context vocabulary is empty", [](Dataset& d) { d.context_vocabulary = 0; }},
        {"growth rule", [](Dataset& d) { d.history_growth = static_cast<HistoryGrowth>(3); }},
        {"context outside", [](Dataset& d) { d.impression_contexts[3] = 2; }},
        {"label above 1", [](Dataset& d) { d.impression_labels[1] = 2; }},
        {"unknown split", [](Dataset& d) { d.impression_splits[1] = 3; }},
        {"user 0 are not in time order", [](Dataset& d) { d.impression_times_ms[1] = 999; }},
    };
    for (auto const& [expected, damage] : cases) {
        Dataset dataset = valid();
        damage(dataset);
        EXPECT_THAT(problem(dataset), HasSubstr(expected));
        EXPECT_THAT(problem(dataset), testing::StartsWith("origin: "));
        EXPECT_THROW(make_dataset_population(dataset), DataError);
    }
}

TEST(Dataset, TheDigestSeesEveryArray) {
    std::vector<std::function<void(Dataset&)>> const changes = {
        [](Dataset& d) { d.catalogue.feature_names[1] = "genre"; },
        [](Dataset& d) { d.catalogue.feature_vocabularies[1] = 4; },
        [](Dataset& d) { d.catalogue.features[1][4] = 1; },
        [](Dataset& d) { d.context_vocabulary = 3; },
        [](Dataset& d) { d.history_growth = HistoryGrowth::none; },
        [](Dataset& d) { d.original_user_ids[2] = 31; },
        [](Dataset& d) { d.original_item_ids[4] = 9; },
        [](Dataset& d) { d.history_offsets[1] = 1; },
        [](Dataset& d) { d.history_items[1] = 3; },
        [](Dataset& d) { d.impression_offsets[1] = 3; },
        [](Dataset& d) { d.impression_items[0] = 1; },
        [](Dataset& d) { d.impression_times_ms[0] = 1001; },
        [](Dataset& d) { d.impression_contexts[0] = 1; },
        [](Dataset& d) { d.impression_labels[0] = 0; },
        [](Dataset& d) { d.impression_splits[0] = 1; },
    };
    auto const reference = digest_dataset(valid());
    EXPECT_EQ(digest_dataset(valid()), reference);
    for (std::size_t i = 0; i < changes.size(); ++i) {
        Dataset dataset = valid();
        changes[i](dataset);
        EXPECT_NE(digest_dataset(dataset), reference) << "change " << i;
    }
}

TEST(DatasetPopulation, ExposuresOfEarlierSecondsAreHistory) {
    auto const population = make_dataset_population(valid());
    EXPECT_EQ(population->users(), 3U);
    EXPECT_EQ(population->context_vocabulary(), 2U);
    EXPECT_FALSE(population->has_true_logits());
    UserRecord record;
    population->load(0, record);
    EXPECT_THAT(record.timeline, ElementsAre(1, 2, 3, 4, 1, 2));
    EXPECT_EQ(record.base_length, 2U);
    ASSERT_EQ(record.impressions.size(), 4U);
    std::vector<std::uint32_t> ends;
    for (auto const& impression : record.impressions) ends.push_back(impression.history_end);
    EXPECT_THAT(ends, ElementsAre(2, 2, 4, 5)) << "1000 and 1999 ms share a second";
    EXPECT_EQ(record.impressions[1].context, 1U);
    EXPECT_EQ(record.impressions[3].label, 1U);
    EXPECT_EQ(record.impressions[2].split, Split::tune);
    population->load(2, record);
    EXPECT_EQ(record.base_length, 0U);
    EXPECT_EQ(record.impressions[0].history_end, 0U);
}

TEST(DatasetPopulation, GrowthDecidesWhatExtendsTheHistory) {
    Dataset dataset = valid();
    dataset.history_growth = HistoryGrowth::positives;
    UserRecord record;
    make_dataset_population(dataset)->load(0, record);
    EXPECT_THAT(record.timeline, ElementsAre(1, 2, 3, 2));
    std::vector<std::uint32_t> ends;
    for (auto const& impression : record.impressions) ends.push_back(impression.history_end);
    EXPECT_THAT(ends, ElementsAre(2, 2, 3, 3));
    dataset.history_growth = HistoryGrowth::none;
    make_dataset_population(dataset)->load(0, record);
    EXPECT_THAT(record.timeline, ElementsAre(1, 2));
    for (auto const& impression : record.impressions) EXPECT_EQ(impression.history_end, 2U);
}

TEST(DatasetPopulation, LoadReplacesWhatWasThere) {
    auto const population = make_dataset_population(valid());
    UserRecord record;
    population->load(0, record);
    record.true_logits = {1.0};
    population->load(1, record);
    EXPECT_THAT(record.timeline, ElementsAre(4));
    EXPECT_TRUE(record.impressions.empty());
    EXPECT_TRUE(record.true_logits.empty());
    std::vector<ItemId> history = {9, 9};
    population->load_history(0, history);
    EXPECT_THAT(history, ElementsAre(1, 2));
    EXPECT_EQ(population->history_length(0), 2U);
    EXPECT_EQ(population->history_length(2), 0U);
}

TEST(SecondOf, Floors) {
    EXPECT_EQ(second_of(1999), 1);
    EXPECT_EQ(second_of(0), 0);
    EXPECT_EQ(second_of(-1), -1);
    EXPECT_EQ(second_of(-1000), -1);
    EXPECT_EQ(second_of(-1001), -2);
}

TEST(Perturbed, ChangesExactlyOneToken) {
    auto const base = make_dataset_population(valid());
    auto const changed = perturb_token(make_dataset_population(valid()), 0, 1);
    std::vector<ItemId> before;
    std::vector<ItemId> after;
    for (UserId user = 0; user < 3; ++user) {
        base->load_history(user, before);
        changed->load_history(user, after);
        if (user == 0) before[1] = 3;
        EXPECT_EQ(after, before);
    }
    UserRecord record;
    changed->load(0, record);
    EXPECT_THAT(record.timeline, ElementsAre(1, 3, 3, 4, 1, 2));
    auto const last = perturb_token(make_dataset_population(valid()), 1, 0);
    last->load_history(1, after);
    EXPECT_THAT(after, ElementsAre(1)) << "the last item wraps to the first";
    EXPECT_THROW(perturb_token(make_dataset_population(valid()), 3, 0), InternalError);
    EXPECT_THROW(perturb_token(make_dataset_population(valid()), 0, 2), InternalError);
}

}  // namespace
}  // namespace ckvsim::workload
