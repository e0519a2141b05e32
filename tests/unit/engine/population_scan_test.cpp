#include "engine/population_scan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "core/error.hpp"
#include "engine/user_set.hpp"
#include "listed_population.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::engine {
namespace {

using testing::ElementsAre;
using workload::Split;

/// Restores the number of OpenMP threads.
class Threads {
  public:
    explicit Threads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
    ~Threads() { omp_set_num_threads(before_); }

  private:
    int before_;
};

workload::UserRecord user(std::vector<ItemId> timeline, std::uint32_t base,
                          std::vector<workload::Impression> impressions) {
    workload::UserRecord record;
    record.timeline = std::move(timeline);
    record.base_length = base;
    record.impressions = std::move(impressions);
    return record;
}

TEST(PopulationScan, CountsByHand) {
    test::ListedPopulation const population(
        4, {user({1, 1, 3, 4}, 3, {{4, 0, 3, 1, Split::train, 0}, {2, 0, 3, 0, Split::train, 0}}),
            user({}, 0, {{4, 0, 0, 1, Split::test, 0}, {4, 0, 0, 0, Split::train, 0}}),
            user({2}, 1, {})});
    auto const scan = scan_population(population, {0, 1, 2}, 2, true, {});
    EXPECT_EQ(scan.users, 3U);
    EXPECT_EQ(scan.tokens, 4U) << "what extends the stored history is not counted";
    EXPECT_EQ(scan.capped_tokens, 3U);
    EXPECT_THAT(scan.item_events, ElementsAre(0, 2, 1, 1, 0));
    EXPECT_THAT(scan.train_views, ElementsAre(0, 0, 1, 0, 2));
    EXPECT_THAT(scan.train_clicks, ElementsAre(0, 0, 0, 0, 1));
    EXPECT_EQ(scan.users_by_length[0], 1U);
    EXPECT_EQ(scan.users_by_length[1], 1U);
    EXPECT_EQ(scan.users_by_length[2], 1U);
    EXPECT_TRUE(scan_population(population, {0}, 2, false, {}).train_views.empty());
    EXPECT_EQ(scan_population(population, {}, 2, true, {}).users, 0U);
}

TEST(PopulationScan, LengthBucketsArePowersOfTwo) {
    for (std::uint32_t const length : {0U, 1U, 2U, 3U, 4U, 7U, 8U, 1000U, 1U << 20}) {
        auto const bucket = PopulationScan::length_bucket(length);
        EXPECT_GE(length, PopulationScan::bucket_low(bucket));
        EXPECT_LE(length, PopulationScan::bucket_high(bucket));
    }
    for (std::size_t b = 0; b + 1 < PopulationScan::kLengthBuckets; ++b)
        EXPECT_EQ(PopulationScan::bucket_high(b) + 1, PopulationScan::bucket_low(b + 1));
    EXPECT_EQ(PopulationScan::length_bucket(~0U), PopulationScan::kLengthBuckets - 1);
}

TEST(PopulationScan, ThreadsAndPartitionsDoNotMatter) {
    workload::SyntheticParams params;
    params.users = 5000;  // several tasks of 512
    params.history_median = 20;
    auto const population = workload::make_synthetic(params);
    auto const scan = [&](std::vector<UserId> const& users) {
        return scan_population(*population, users, 50, true, {}).parts();
    };
    auto const everybody = flatten(owned_users(5000, 128, 0, 1));
    Threads const one(1);
    auto const reference = scan(everybody);
    for (int const threads : {2, 3, 8}) {
        Threads const some(threads);
        EXPECT_EQ(scan(everybody), reference) << threads << " threads";
    }
    for (int const ranks : {2, 3, 4}) {
        std::vector<std::uint64_t> sum(reference.size(), 0);
        for (int rank = 0; rank < ranks; ++rank) {
            auto const part = scan(flatten(owned_users(5000, 128, rank, ranks)));
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
        }
        EXPECT_EQ(sum, reference) << ranks << " ranks";
    }
}

TEST(PopulationScan, PartsAreReversible) {
    test::ListedPopulation const population(3, {user({1, 2}, 2, {{3, 0, 2, 1, Split::train, 0}})});
    auto const scan = scan_population(population, {0}, 9, true, {});
    PopulationScan copy = scan_population(population, {}, 9, true, {});
    copy.assign_parts(scan.parts());
    EXPECT_EQ(copy.parts(), scan.parts());
    EXPECT_EQ(copy.token_hash.value(), scan.token_hash.value());
    PopulationScan other = scan_population(population, {}, 9, false, {});
    EXPECT_THROW(other.assign_parts(scan.parts()), InternalError);
}

TEST(PopulationScan, FailuresLeaveTheParallelRegion) {
    std::vector<workload::UserRecord> users(2000);
    test::ListedPopulation population(3, users);
    population.broken_user = 1234;
    std::vector<UserId> ids(2000);
    std::iota(ids.begin(), ids.end(), UserId{0});
    EXPECT_THROW(scan_population(population, ids, 9, true, {}), std::runtime_error);
    EXPECT_THROW(scan_population(population, ids, 9, false, {}), std::runtime_error);
}

TEST(PopulationScan, ProgressNeverExceedsTheTotal) {
    test::ListedPopulation const population(3, std::vector<workload::UserRecord>(3000));
    std::vector<UserId> ids(3000);
    std::iota(ids.begin(), ids.end(), UserId{0});
    Threads const one(1);
    std::vector<std::uint64_t> calls;
    scan_population(population, ids, 9, false, [&](std::uint64_t done, std::uint64_t total) {
        EXPECT_EQ(total, 3000U);
        calls.push_back(done);
    });
    ASSERT_FALSE(calls.empty());
    EXPECT_TRUE(std::is_sorted(calls.begin(), calls.end()));
    EXPECT_EQ(calls.back(), 3000U);
}

TEST(UserSet, OwnedShardsAscendAndHoldTheirUsers) {
    for (int ranks = 1; ranks <= 4; ++ranks) {
        std::vector<int> seen(1000, 0);
        for (int rank = 0; rank < ranks; ++rank) {
            std::uint32_t last = 0;
            for (auto const& shard : owned_users(1000, 32, rank, ranks)) {
                EXPECT_TRUE(last == 0 || shard.shard > last);
                last = shard.shard;
                EXPECT_EQ(rank_of_shard(ShardId{shard.shard}, ranks), rank);
                EXPECT_TRUE(std::is_sorted(shard.users.begin(), shard.users.end()));
                for (UserId const id : shard.users) {
                    EXPECT_EQ(to_int(shard_of_user(id, 32)), shard.shard);
                    ++seen[id];
                }
            }
        }
        EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 1000);
    }
    EXPECT_TRUE(flatten(owned_users(0, 32, 0, 1)).empty());
    EXPECT_EQ(owned_users(5, 2, 3, 4).size(), 0U) << "more ranks than shards";
}

}  // namespace
}  // namespace ckvsim::engine
