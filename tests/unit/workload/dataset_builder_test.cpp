#include "workload/dataset_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "workload/dataset_statistics.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;

TEST(IdTable, NumbersIdsInOrderOfFirstSight) {
    IdTable table;
    EXPECT_EQ(table.find(0), IdTable::kAbsent);
    EXPECT_EQ(table.intern(0), 0U) << "0 is an id like any other, also as the very first";
    EXPECT_EQ(table.intern(7), 1U);
    EXPECT_EQ(table.intern(0), 0U);
    EXPECT_EQ(table.intern(7), 1U);
    EXPECT_EQ(table.find(8), IdTable::kAbsent);
    EXPECT_THAT(table.ids(), ElementsAre(0, 7));
}

TEST(IdTable, AgreesWithAMapUnderGrowth) {
    IdTable table;
    std::map<std::int64_t, std::uint32_t> oracle;
    CounterRng rng(1, Purpose::test, 0);
    for (int i = 0; i < 200000; ++i) {
        std::int64_t const id = static_cast<std::int64_t>(rng.below(60000)) << (rng.below(2) * 40);
        auto const expected =
            oracle.emplace(id, static_cast<std::uint32_t>(oracle.size())).first->second;
        ASSERT_EQ(table.intern(id), expected);
    }
    EXPECT_EQ(table.size(), oracle.size());
    for (auto const& [id, number] : oracle) ASSERT_EQ(table.find(id), number);
}

/// Users 5 and 3, items 90, 20, 50; user 3 has only a history.
Dataset small(HistoryGrowth growth, SplitInstants const& instants,
              std::uint32_t max_history = 100) {
    DatasetBuilder builder;
    builder.add_row({5, 90, 3000, 1, 1});
    builder.add_row({5, 20, 1000, 0, 0});
    EXPECT_TRUE(builder.begin_history(3));
    builder.add_history_item(20);
    builder.add_history_item(50);
    EXPECT_TRUE(builder.begin_history(5));
    builder.add_history_item(50);
    EXPECT_FALSE(builder.begin_history(3)) << "a second history of one user";
    builder.add_row({5, 50, 3000, 0, 0});
    builder.add_row({5, 20, 2000, 0, 1});
    builder.add_feature({"category", {{90, 700}, {20, -4}, {999, 5}}});
    Dataset shell;
    shell.name = "small";
    shell.context_vocabulary = 2;
    shell.history_growth = growth;
    return builder.build(std::move(shell), instants, max_history);
}

TEST(DatasetBuilder, GivesDenseAscendingIdsAndTimeOrder) {
    Dataset const data = small(HistoryGrowth::exposures, {0, 2000, 3000});
    check_dataset(data, "small");
    EXPECT_THAT(data.original_user_ids, ElementsAre(3, 5));
    EXPECT_THAT(data.original_item_ids, ElementsAre(-1, 20, 50, 90));
    EXPECT_THAT(data.history_offsets, ElementsAre(0, 2, 3));
    EXPECT_THAT(data.history_items, ElementsAre(1, 2, 2));
    EXPECT_THAT(data.impression_offsets, ElementsAre(0, 0, 4));
    EXPECT_THAT(data.impression_items, ElementsAre(1, 1, 3, 2)) << "file order within one instant";
    EXPECT_THAT(data.impression_times_ms, ElementsAre(1000, 2000, 3000, 3000));
    EXPECT_THAT(data.impression_contexts, ElementsAre(0, 0, 1, 0));
    EXPECT_THAT(data.impression_labels, ElementsAre(0, 1, 1, 0));
    EXPECT_THAT(data.impression_splits, ElementsAre(0, 1, 2, 2));
}

TEST(DatasetBuilder, FeatureValuesAreDenseAndZeroWhenMissing) {
    Dataset const data = small(HistoryGrowth::exposures, {});
    EXPECT_THAT(data.catalogue.feature_names, ElementsAre("item", "category"));
    EXPECT_THAT(data.catalogue.feature_vocabularies, ElementsAre(4, 3)) << "999 is not in the data";
    EXPECT_THAT(data.catalogue.features[1], ElementsAre(0, 1, 0, 2));
}

TEST(DatasetBuilder, EarlyRowsBecomeStoredHistory) {
    Dataset const exposures = small(HistoryGrowth::exposures, {2500, 9000, 9000});
    EXPECT_THAT(exposures.history_offsets, ElementsAre(0, 2, 5));
    EXPECT_THAT(exposures.history_items, ElementsAre(1, 2, 2, 1, 1));
    EXPECT_THAT(exposures.impression_items, ElementsAre(3, 2));
    Dataset const positives = small(HistoryGrowth::positives, {2500, 9000, 9000});
    EXPECT_THAT(positives.history_items, ElementsAre(1, 2, 2, 1)) << "label 0 is no history";
    EXPECT_THAT(positives.impression_items, ElementsAre(3, 2));
}

TEST(DatasetBuilder, LongHistoriesKeepTheirEnd) {
    Dataset const data = small(HistoryGrowth::exposures, {2500, 9000, 9000}, 2);
    EXPECT_THAT(data.history_offsets, ElementsAre(0, 2, 4));
    EXPECT_THAT(data.history_items, ElementsAre(1, 2, 1, 1));
}

TEST(DatasetBuilder, TimeQuantiles) {
    DatasetBuilder builder;
    for (std::int64_t const time : {40, 10, 30, 20}) builder.add_row({1, 1, time, 0, 0});
    EXPECT_THAT(builder.time_quantiles_ms({0.0, 0.25, 0.25, 0.26, 1.0, 1.0}),
                ElementsAre(10, 11, 11, 21, 41, 41));
    EXPECT_THAT(builder.time_quantiles_ms({0.0, 0.0}), ElementsAre(10, 10));
    EXPECT_THROW(builder.time_quantiles_ms({0.5, 0.4}), InternalError);
    EXPECT_THROW(builder.time_quantiles_ms({1.1}), InternalError);
    EXPECT_THROW(DatasetBuilder().time_quantiles_ms({0.5}), InternalError);
}

TEST(DatasetBuilder, RowOrderDoesNotMatterBetweenInstants) {
    std::vector<LogRow> rows;
    CounterRng rng(2, Purpose::test, 0);
    for (std::int64_t i = 0; i < 150000; ++i) {  // more than two blocks
        rows.push_back({rng.below(500), rng.below(3000), i, rng.below(3),
                        static_cast<std::uint8_t>(rng.below(2))});
    }
    auto const build = [](std::vector<LogRow> const& log) {
        DatasetBuilder builder;
        for (auto const& row : log) builder.add_row(row);
        Dataset shell;
        shell.context_vocabulary = 3;
        Dataset data = builder.build(std::move(shell), {50000, 100000, 120000});
        check_dataset(data, "random");
        return digest_dataset(data);
    };
    auto const forward = build(rows);
    std::reverse(rows.begin(), rows.end());
    EXPECT_EQ(build(rows), forward);
    rows[0].label ^= 1;
    EXPECT_NE(build(rows), forward);
}

/// What an impression of `user` at `time_ms` may see, from the log alone: rows in time order, those
/// of one instant in the file's.
std::vector<std::int64_t> past_of(std::vector<LogRow> const& log, std::int64_t user,
                                  std::int64_t time_ms, HistoryGrowth growth,
                                  std::int64_t history_until_ms) {
    std::vector<LogRow> past;
    for (auto const& row : log) {
        bool const stored = row.time_ms < history_until_ms;
        if (row.user != user || !(stored || second_of(row.time_ms) < second_of(time_ms))) continue;
        bool const kept = growth == HistoryGrowth::positives
                              ? row.label == 1
                              : stored || growth == HistoryGrowth::exposures;
        if (kept) past.push_back(row);
    }
    std::stable_sort(past.begin(), past.end(),
                     [](auto const& a, auto const& b) { return a.time_ms < b.time_ms; });
    std::vector<std::int64_t> items;
    for (auto const& row : past) {
        EXPECT_LT(row.time_ms, time_ms);
        items.push_back(row.item);
    }
    return items;
}

TEST(DatasetBuilder, NoEventAtOrAfterAnImpressionEntersItsHistory) {
    constexpr std::int64_t kHistoryUntil = 40'000;
    std::vector<LogRow> log;
    CounterRng rng(3, Purpose::test, 0);
    for (int i = 0; i < 3000; ++i) {  // many rows of one user share a second, some an instant
        log.push_back({rng.below(20), rng.below(50), 250 * std::int64_t{rng.below(400)}, 0,
                       static_cast<std::uint8_t>(rng.below(2))});
    }
    for (auto const growth :
         {HistoryGrowth::exposures, HistoryGrowth::positives, HistoryGrowth::none}) {
        DatasetBuilder builder;
        for (auto const& row : log) builder.add_row(row);
        Dataset shell;
        shell.history_growth = growth;
        Dataset const data = builder.build(std::move(shell), {kHistoryUntil, 60'000, 80'000});
        auto const population = make_dataset_population(data);
        std::size_t impressions = 0;
        for (UserId user = 0; user < population->users(); ++user) {
            UserRecord record;
            population->load(user, record);
            impressions += record.impressions.size();
            for (auto const& impression : record.impressions) {
                std::vector<std::int64_t> seen;
                for (std::uint32_t i = 0; i < impression.history_end; ++i)
                    seen.push_back(data.original_item_ids[record.timeline[i]]);
                ASSERT_EQ(seen, past_of(log, data.original_user_ids[user], impression.time_ms,
                                        growth, kHistoryUntil));
            }
        }
        EXPECT_GT(impressions, 1500U);
    }
}

double statistic(std::vector<std::pair<std::string, double>> const& all, std::string const& name) {
    for (auto const& [key, value] : all)
        if (key == name) return value;
    ADD_FAILURE() << "no statistic " << name;
    return -1.0;
}

TEST(DatasetStatistics, MatchHandCounts) {
    auto const all = compute_statistics(small(HistoryGrowth::positives, {0, 2000, 3000}));
    EXPECT_EQ(statistic(all, "users"), 2);
    EXPECT_EQ(statistic(all, "users with stored history"), 2);
    EXPECT_EQ(statistic(all, "users with impressions"), 1);
    EXPECT_EQ(statistic(all, "items"), 3);
    EXPECT_EQ(statistic(all, "item feature category values"), 2);
    EXPECT_EQ(statistic(all, "stored history events"), 3);
    EXPECT_EQ(statistic(all, "stored history per user, mean"), 1.5);
    EXPECT_EQ(statistic(all, "stored history per user, p50"), 1);
    EXPECT_EQ(statistic(all, "stored history per user, p90"), 2);
    EXPECT_EQ(statistic(all, "timeline events"), 5) << "two of four impressions are positive";
    EXPECT_EQ(statistic(all, "timeline per user, max"), 3);
    EXPECT_EQ(statistic(all, "impressions"), 4);
    EXPECT_EQ(statistic(all, "train label rate"), 0.0);
    EXPECT_EQ(statistic(all, "tune label rate"), 1.0);
    EXPECT_EQ(statistic(all, "test impressions"), 2);
    EXPECT_EQ(statistic(all, "test label rate"), 0.5);
    EXPECT_EQ(statistic(all, "first impression, s since 1970"), 1);
    EXPECT_EQ(statistic(all, "impressions' time span, days"), 2000.0 / 86400e3);
    EXPECT_EQ(statistic(all, "users with both labels in test"), 1);
    EXPECT_EQ(statistic(all, "test impressions of those users"), 2);
    EXPECT_EQ(statistic(all, "items in test"), 2);
    EXPECT_EQ(statistic(all, "share of them unseen before tune and test"), 0.5) << "item 90";
    EXPECT_EQ(statistic(all, "share of test impressions with an unseen item"), 0.5);
    EXPECT_EQ(statistic(all, "share of stored events that repeat an item"), 0.0);
    EXPECT_EQ(statistic(all, "impressions that repeat user, item and instant"), 0.0);
}

TEST(DatasetStatistics, CountRepeatsAndLeaveOutRatesOverNothing) {
    DatasetBuilder builder;
    builder.begin_history(1);
    for (int const item : {7, 7, 8, 7}) builder.add_history_item(item);
    for (int i = 0; i < 3; ++i) builder.add_row({1, 8, 5, 0, 1});
    builder.add_row({1, 8, 6, 0, 1});
    auto const all = compute_statistics(builder.build({}, {}));
    EXPECT_EQ(statistic(all, "share of stored events that repeat an item"), 0.5);
    EXPECT_EQ(statistic(all, "impressions that repeat user, item and instant"), 2);
    EXPECT_EQ(statistic(all, "users with both labels in test"), 0);
    for (auto const& [name, value] : all) EXPECT_NE(name, "test label rate");
}

TEST(DatasetStatistics, ContextSpread) {
    EXPECT_EQ(
        describe_context_spread(small(HistoryGrowth::exposures, {}), "tab", {}),
        "AUC over all impressions mixes scenes: the label rate runs from 0.33 (tab 0) to 1.00 "
        "(tab 1) among the values of tab with at least 1 % of the impressions");
    EXPECT_THAT(describe_context_spread(small(HistoryGrowth::exposures, {}), "tab", {"x", "y"}),
                testing::HasSubstr("from 0.33 (tab x) to 1.00 (tab y)"));
    Dataset one = small(HistoryGrowth::exposures, {});
    for (auto& context : one.impression_contexts) context = 0;
    EXPECT_EQ(describe_context_spread(one, "tab", {}), "");
}

}  // namespace
}  // namespace ckvsim::workload
