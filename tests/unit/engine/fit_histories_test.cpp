#include "engine/fit_histories.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "listed_population.hpp"

namespace ckvsim::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using workload::Split;

workload::Impression seen(std::uint32_t events, Split split) {
    workload::Impression impression;
    impression.item = 1;
    impression.history_end = events;
    impression.split = split;
    return impression;
}

/// A user with items first, first + 1, ...
workload::UserRecord user(ItemId first, std::uint32_t events,
                          std::vector<workload::Impression> impressions) {
    workload::UserRecord record;
    for (std::uint32_t i = 0; i < events; ++i) record.timeline.push_back(first + i);
    record.base_length = 2;
    record.impressions = std::move(impressions);
    return record;
}

TEST(FitHistories, AreWhatTheLastTrainingImpressionOfEachUserSees) {
    test::ListedPopulation const population(
        100, {user(10, 8, {seen(3, Split::train), seen(5, Split::train), seen(7, Split::test)}),
              user(20, 8, {seen(4, Split::tune), seen(6, Split::test)}),
              user(30, 8, {seen(0, Split::train)}), user(40, 8, {seen(1, Split::train)})});
    EXPECT_THAT(fit_histories(population, 50, 3),
                UnorderedElementsAre(ElementsAre(10, 11, 12, 13, 14), ElementsAre(40)));
    EXPECT_THAT(fit_histories(population, 2, 3),
                UnorderedElementsAre(ElementsAre(13, 14), ElementsAre(40)));
}

TEST(FitHistories, ReachEveryUserOnceInAnOrderOfTheSeed) {
    for (ItemId const users : {1U, 2U, 3U, 12U, 97U}) {
        std::vector<workload::UserRecord> records;
        for (ItemId u = 1; u <= users; ++u) records.push_back(user(u, 1, {seen(1, Split::train)}));
        test::ListedPopulation const population(200, records);
        auto const all = fit_histories(population, 5, 1);
        EXPECT_EQ(std::set(all.begin(), all.end()).size(), users);
        EXPECT_EQ(all.size(), users);
        EXPECT_EQ(fit_histories(population, 5, 1), all);
        auto const few = fit_histories(population, 5, 1, users / 2 + 1);
        EXPECT_TRUE(std::equal(few.begin(), few.end(), all.begin()));
        EXPECT_EQ(few.size(), users / 2 + 1);
        if (users == 97) {
            EXPECT_NE(fit_histories(population, 5, 2), all);
        }
    }
}

TEST(FitHistories, AreStoredOnesWhereNobodyTrains) {
    test::ListedPopulation const population(100,
                                            {user(10, 8, {seen(7, Split::test)}), user(20, 8, {})});
    EXPECT_THAT(fit_histories(population, 50, 3),
                UnorderedElementsAre(ElementsAre(10, 11), ElementsAre(20, 21)));
    EXPECT_THAT(fit_histories(test::ListedPopulation(100, {workload::UserRecord{}}), 50, 3),
                IsEmpty());
    EXPECT_THAT(fit_histories(test::ListedPopulation(100, {}), 50, 3), IsEmpty());
}

}  // namespace
}  // namespace ckvsim::engine
