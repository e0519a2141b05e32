#include "engine/training_samples.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <memory>
#include <set>
#include <stdexcept>
#include <tuple>

#include "core/error.hpp"
#include "listed_population.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using workload::Split;

std::unique_ptr<workload::Population> synthetic() {
    workload::SyntheticParams params;
    params.users = 600;
    params.items = 300;
    params.clusters = 10;
    params.history_median = 20;
    params.history_cap = 60;
    params.train_share = 0.6;
    params.tune_share = 0.2;
    return workload::make_synthetic(params);
}

TensorFile collect(workload::Population const& population, SampleLimits const& limits,
                   std::uint64_t seed = 5) {
    TensorFile out;
    collect_samples(population, limits, seed, "the workload", out, {});
    return out;
}

std::string refusal(workload::Population const& population) {
    try {
        collect(population, {});
    } catch (DataError const& error) {
        return error.what();
    }
    return "";
}

/// One user per impression list; timeline 1, 2, 3.
test::ListedPopulation listed(std::vector<std::vector<workload::Impression>> const& impressions) {
    std::vector<workload::UserRecord> users;
    for (auto const& list : impressions) {
        workload::UserRecord record;
        record.timeline = {1, 2, 3};
        record.base_length = 2;
        record.impressions = list;
        users.push_back(record);
    }
    return test::ListedPopulation(4, std::move(users));
}

TEST(TrainingSamples, ColumnsByHand) {
    auto const population = listed({{{4, 0, 1, 1, Split::test, 0}},
                                    {{3, 7, 2, 1, Split::train, 0}, {2, 5, 3, 0, Split::tune, 0}},
                                    {{1, 0, 0, 0, Split::train, 0}}});
    auto const out = collect(population, {});
    EXPECT_THAT(out.tensor("timeline.offsets").as<std::uint64_t>(), ElementsAre(0, 3, 3))
        << "users without samples are left out; a timeline ends where its last sample looks";
    EXPECT_THAT(out.tensor("timeline.items").as<std::uint32_t>(), ElementsAre(1, 2, 3));
    EXPECT_THAT(out.tensor("train.user").as<std::uint32_t>(), ElementsAre(0, 1));
    EXPECT_THAT(out.tensor("train.history_end").as<std::uint32_t>(), ElementsAre(2, 0));
    EXPECT_THAT(out.tensor("train.item").as<std::uint32_t>(), ElementsAre(3, 1));
    EXPECT_THAT(out.tensor("train.context").as<std::uint32_t>(), ElementsAre(7, 0));
    EXPECT_THAT(out.tensor("train.label").as<std::uint8_t>(), ElementsAre(1, 0));
    EXPECT_THAT(out.tensor("tune.item").as<std::uint32_t>(), ElementsAre(2));
    EXPECT_THAT(out.tensor("reference.item").as<std::uint32_t>(), ElementsAre(2));
    EXPECT_THAT(out.tensor("item_features").shape, ElementsAre(1, 5));
    EXPECT_THAT(out.tensor("feature_vocabularies").as<std::uint32_t>(), ElementsAre(5));
}

TEST(TrainingSamples, BitEqualForAnyNumberOfThreads) {
    auto const population = synthetic();
    int const before = omp_get_max_threads();
    std::set<std::uint64_t> digests;
    for (int const threads : {1, 2, 3, 8}) {
        omp_set_num_threads(threads);
        digests.insert(collect(*population, {300, 80, 20}).digest());
    }
    omp_set_num_threads(before);
    EXPECT_EQ(digests.size(), 1U);
    EXPECT_NE(collect(*population, {300, 80, 20}, 6).digest(), *digests.begin())
        << "the seed chooses";
}

using Sample = std::tuple<std::vector<ItemId>, std::uint32_t, std::uint32_t, std::uint8_t>;

/// (history, item, context, label) of every sample of a split.
std::multiset<Sample> samples(TensorFile const& file, std::string const& split) {
    auto const offsets = file.tensor("timeline.offsets").as<std::uint64_t>();
    auto const items = file.tensor("timeline.items").as<std::uint32_t>();
    auto const user = file.tensor(split + ".user").as<std::uint32_t>();
    auto const end = file.tensor(split + ".history_end").as<std::uint32_t>();
    std::multiset<Sample> result;
    for (std::size_t i = 0; i < user.size(); ++i) {
        auto const first = items.begin() + static_cast<std::ptrdiff_t>(offsets[user[i]]);
        result.insert({{first, first + end[i]},
                       file.tensor(split + ".item").as<std::uint32_t>()[i],
                       file.tensor(split + ".context").as<std::uint32_t>()[i],
                       file.tensor(split + ".label").as<std::uint8_t>()[i]});
    }
    return result;
}

std::multiset<Sample> expected(workload::Population const& population, Split split) {
    std::multiset<Sample> result;
    workload::UserRecord record;
    for (UserId user = 0; user < population.users(); ++user) {
        population.load(user, record);
        for (auto const& impression : record.impressions) {
            if (impression.split != split) continue;
            auto const first = record.timeline.begin();
            result.insert({{first, first + impression.history_end},
                           impression.item,
                           impression.context,
                           impression.label});
        }
    }
    return result;
}

TEST(TrainingSamples, WithoutLimitsEverySampleIsThereOnce) {
    auto const population = synthetic();
    auto const file = collect(*population, {});
    EXPECT_EQ(samples(file, "train"), expected(*population, Split::train));
    EXPECT_EQ(samples(file, "tune"), expected(*population, Split::tune));
    EXPECT_EQ(samples(file, "reference").size(), 64U);
}

TEST(TrainingSamples, LimitsKeepASubsetByHash) {
    auto const population = synthetic();
    auto const all = samples(collect(*population, {}), "train");
    auto const large = samples(collect(*population, {400, 100, 30}), "train");
    auto const small = samples(collect(*population, {200, 50, 10}), "train");
    EXPECT_EQ(large.size(), 400U);
    EXPECT_EQ(small.size(), 200U);
    EXPECT_TRUE(std::includes(all.begin(), all.end(), large.begin(), large.end()));
    EXPECT_TRUE(std::includes(large.begin(), large.end(), small.begin(), small.end()))
        << "a smaller limit keeps a part of a larger one's samples";
    auto const file = collect(*population, {200, 50, 10});
    EXPECT_EQ(samples(file, "tune").size(), 50U);
    auto const reference = samples(file, "reference");
    auto const tune = expected(*population, Split::tune);
    EXPECT_EQ(reference.size(), 10U);
    EXPECT_TRUE(std::includes(tune.begin(), tune.end(), reference.begin(), reference.end()));
    EXPECT_EQ(samples(collect(*population, {0, 0, 0}), "reference").size(), 1U) << "at least one";
    EXPECT_EQ(samples(collect(*population, {1000000, 1000000, 1000000}), "train"), all);
}

TEST(TrainingSamples, WhatCannotTrainIsRefused) {
    workload::Impression const train_0{1, 0, 0, 0, Split::train, 0};
    workload::Impression const train_1{1, 0, 0, 1, Split::train, 0};
    workload::Impression const tune{1, 0, 0, 1, Split::tune, 0};
    workload::Impression const held_out{1, 0, 0, 1, Split::test, 0};
    EXPECT_EQ(refusal(listed({{train_0, train_1, tune}})), "");
    EXPECT_THAT(refusal(listed({{tune, held_out}})),
                HasSubstr("the workload: the train split has no"));
    EXPECT_THAT(refusal(listed({{train_0, train_1, held_out}})),
                HasSubstr("the tune split has no"));
    EXPECT_THAT(refusal(listed({{train_1, tune}, {train_1}})),
                HasSubstr("all 2 training labels are equal"));
    EXPECT_THAT(refusal(listed({{train_0, tune}})), HasSubstr("labels are equal"));
    EXPECT_THAT(refusal(listed({{}, {}})), HasSubstr("the train split has no"));
}

TEST(TrainingSamples, FailuresLeaveTheParallelRegion) {
    auto population = listed({{}, {}, {}});
    population.broken_user = 1;
    EXPECT_THROW(collect(population, {}), std::runtime_error);
}

}  // namespace
}  // namespace ckvsim::engine
