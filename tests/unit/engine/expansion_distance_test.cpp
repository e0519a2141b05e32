// A good expansion stays near the noise floor; a bad one (shuffled items) is seen.
#include "engine/expansion_distance.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "metrics/distribution_distance.hpp"

namespace ckvsim::engine {
namespace {

constexpr std::uint32_t kGroup = 200;  ///< items a group

/// Users who like one of ten groups of items, popularity falling inside a group, 15 % repeats.
workload::Dataset grouped_dataset(std::uint32_t users) {
    workload::Dataset data;
    data.name = "grouped";
    data.history_kind = "test";
    constexpr std::uint32_t kItems = 10 * kGroup;
    data.catalogue.items = kItems;
    data.catalogue.feature_names = {"item_id", "category"};
    data.catalogue.feature_vocabularies = {kItems + 1, 11};
    data.catalogue.features.assign(2, std::vector<std::uint32_t>(kItems + 1));
    data.original_item_ids.push_back(-1);
    for (std::uint32_t item = 1; item <= kItems; ++item) {
        data.catalogue.features[0][item] = item;
        data.catalogue.features[1][item] = 1 + (item - 1) / kGroup;
        data.original_item_ids.push_back(item * 7);
    }
    data.history_offsets.push_back(0);
    data.impression_offsets.push_back(0);
    for (std::uint32_t user = 0; user < users; ++user) {
        CounterRng rng(5, Purpose::test, user);
        std::uint32_t const group = rng.below(10);
        std::uint32_t const length = 5 + rng.below(40);
        auto const first = data.history_items.size();
        for (std::uint32_t i = 0; i < length; ++i) {
            double const u = rng.uniform();
            bool const again = rng.uniform() < 0.15 && i > 0;
            data.history_items.push_back(again ? data.history_items[first + rng.below(i)]
                                               : 1 + group * kGroup +
                                                     static_cast<std::uint32_t>(u * u * kGroup));
        }
        data.original_user_ids.push_back(user);
        data.history_offsets.push_back(data.history_items.size());
        data.impression_items.push_back(1 + group * kGroup);
        data.impression_times_ms.push_back(1000 + user);
        data.impression_contexts.push_back(0);
        data.impression_labels.push_back(user % 2);
        data.impression_splits.push_back(2);
        data.impression_offsets.push_back(data.impression_items.size());
    }
    return data;
}

workload::ExpansionParams params_of(std::uint64_t users, std::uint32_t items = 0) {
    workload::ExpansionParams params;
    params.users = users;
    params.items = items;
    return params;
}

TEST(KolmogorovSmirnov, KnownValues) {
    std::vector<std::uint64_t> const a = {1, 1, 2};
    std::vector<std::uint64_t> const b = {2, 0, 0};
    EXPECT_DOUBLE_EQ(metrics::kolmogorov_smirnov(a, a), 0.0);
    EXPECT_DOUBLE_EQ(metrics::kolmogorov_smirnov(a, b), 0.75);
    std::vector<std::uint64_t> const none = {0, 0, 0};
    EXPECT_TRUE(std::isnan(metrics::kolmogorov_smirnov(a, none)));
}

TEST(ExpansionDistance, AGoodExpansionIsCloseAndShufflingIsSeen) {
    auto params = params_of(20000);
    workload::ExpandedPopulation const good(grouped_dataset(3000), params);
    params.shuffle_items = true;
    workload::ExpandedPopulation const bad(grouped_dataset(3000), params);
    auto const distances = expansion_distances(good, bad, 20000, 9, 5);
    ASSERT_EQ(distances.size(), 4U);
    for (auto const& d : distances) {
        EXPECT_LT(d.noise_floor, 0.06) << d.distribution;
        EXPECT_LT(d.expanded, 0.12) << d.distribution;
    }
    EXPECT_GT(distances[1].shuffled, 0.15);  // popularity
    EXPECT_GT(distances[3].shuffled, 0.4);   // co-occurrence
    EXPECT_GT(distances[3].shuffled, 4 * distances[3].expanded);
}

TEST(ExpandedPopulation, IsAPureFunctionOfTheUser) {
    workload::ExpandedPopulation const one(grouped_dataset(200), params_of(1000));
    workload::ExpandedPopulation const two(grouped_dataset(200), params_of(1000));
    EXPECT_EQ(one.digest(), two.digest());
    workload::UserRecord a;
    workload::UserRecord b;
    std::vector<ItemId> history;
    for (UserId user : {999ULL, 0ULL, 17ULL, 999ULL}) {
        one.load(user, a);
        two.load_history(user, history);
        two.load(user, b);
        EXPECT_EQ(a.timeline, b.timeline);
        EXPECT_EQ(one.history_length(user), history.size());
        EXPECT_EQ(history,
                  std::vector<ItemId>(a.timeline.begin(), a.timeline.begin() + a.base_length));
    }
}

TEST(ExpandedPopulation, DigestSeesEveryParameter) {
    auto const base = workload::ExpandedPopulation(grouped_dataset(50), params_of(100)).digest();
    std::vector<workload::ExpansionParams> variants(8, params_of(100));
    variants[0].seed = 2;
    variants[1].users = 101;
    variants[2].items = 2001;
    variants[3].substitution_share = 0.4;
    variants[4].neighbourhood = 4;
    variants[5].length_jitter = 0.1;
    variants[6].foreign_share = 0.2;
    variants[7].shuffle_items = true;
    for (auto const& params : variants) {
        EXPECT_NE(workload::ExpandedPopulation(grouped_dataset(50), params).digest(), base);
    }
}

TEST(ExpandedPopulation, WithoutSubstitutionAndJitterEveryUserIsARecordedOne) {
    auto params = params_of(500);
    params.substitution_share = 0.0;
    params.length_jitter = 0.0;
    workload::ExpandedPopulation const population(grouped_dataset(100), params);
    std::vector<ItemId> history;
    for (UserId user = 0; user < 500; ++user) {
        population.load_history(user, history);
        auto const source = population.source_history(population.source_user(user));
        ASSERT_TRUE(std::equal(history.begin(), history.end(), source.begin(), source.end()));
    }
}

TEST(ExpandedPopulation, SubstitutesStayInTheGroupAndRepeatsStayRepeats) {
    auto params = params_of(2000);
    params.substitution_share = 1.0;
    params.length_jitter = 0.0;
    workload::ExpandedPopulation const population(grouped_dataset(1000), params);
    std::vector<ItemId> history;
    std::uint64_t replaced = 0;
    std::uint64_t events = 0;
    for (UserId user = 0; user < 2000; ++user) {
        population.load_history(user, history);
        auto const source = population.source_history(population.source_user(user));
        for (std::size_t i = 0; i < history.size(); ++i) {
            EXPECT_EQ((history[i] - 1) / kGroup, (source[i] - 1) / kGroup);
            replaced += history[i] != source[i] ? 1 : 0;
            ++events;
            for (std::size_t j = 0; j < i; ++j) {
                if (source[i] == source[j]) {
                    EXPECT_EQ(history[i], history[j]);
                }
            }
        }
    }
    EXPECT_GT(static_cast<double>(replaced) / static_cast<double>(events), 0.3);
}

TEST(ExpandedPopulation, AGrownCatalogueIsUsedWholly) {
    workload::ExpandedPopulation const population(grouped_dataset(1000), params_of(20000, 7000));
    EXPECT_EQ(population.catalogue().items, 7000U);
    EXPECT_EQ(population.catalogue().features[0][5777], 5777U);
    EXPECT_EQ(population.catalogue().features[1][5777],
              population.catalogue().features[1][population.source_item(5777)]);
    std::vector<std::uint64_t> seen(7001, 0);
    std::vector<ItemId> history;
    for (UserId user = 0; user < 20000; ++user) {
        population.load_history(user, history);
        for (ItemId const item : history) {
            ASSERT_GE(item, 1U);
            ASSERT_LE(item, 7000U);
            ++seen[item];
        }
    }
    EXPECT_GT(std::count_if(seen.begin(), seen.end(), [](auto n) { return n > 0; }), 6300);
}

TEST(ExpandedPopulation, ClonesCarryNoStatisticalWeight) {
    workload::ExpandedPopulation const population(grouped_dataset(10), params_of(100));
    EXPECT_FALSE(population.has_independent_users());
}

TEST(ExpandedPopulation, RefusesWhatCannotBeExpanded) {
    auto empty = grouped_dataset(3);
    empty.history_items.clear();
    std::fill(empty.history_offsets.begin(), empty.history_offsets.end(), 0);
    EXPECT_THROW(workload::ExpandedPopulation(empty, params_of(10)), DataError);
    EXPECT_THROW(workload::ExpandedPopulation(grouped_dataset(3), params_of(10, 1999)),
                 InternalError);
    EXPECT_THROW(workload::ExpandedPopulation(grouped_dataset(3), params_of(0)), InternalError);
}

}  // namespace
}  // namespace ckvsim::engine
