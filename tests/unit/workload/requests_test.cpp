#include "workload/requests.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

#include "core/error.hpp"
#include "core/shards.hpp"
#include "workload/dataset.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;

constexpr std::uint32_t kShards = 64;

std::vector<std::uint32_t> all_shards() {
    std::vector<std::uint32_t> shards(kShards);
    std::iota(shards.begin(), shards.end(), 0U);
    return shards;
}

auto key(Request const& r) {
    return std::tuple(r.intended_start_ns, r.shard, r.sequence, r.user, r.candidates, r.tokens);
}

std::vector<decltype(key(Request{}))> keys(std::vector<Request> const& requests) {
    std::vector<decltype(key(Request{}))> result;
    for (auto const& request : requests) result.push_back(key(request));
    return result;
}

class Poisson : public testing::Test {
  protected:
    Poisson() {
        SyntheticParams params;
        params.users = 20000;
        population_ = make_synthetic(params);
        users_ = users_by_shard(params.users, kShards);
        traffic_.requests_per_second = 2000.0;
        traffic_.duration_s = 20.0;
    }
    std::vector<Request> make(std::vector<std::uint32_t> const& shards,
                              std::uint64_t seed = 1) const {
        return make_requests(*population_, traffic_, seed, shards, users_, 100);
    }
    std::unique_ptr<Population> population_;
    std::vector<std::vector<UserId>> users_;
    TrafficParams traffic_;
};

TEST_F(Poisson, EveryUserLivesInOneShard) {
    std::vector<int> seen(20000, 0);
    for (std::uint32_t shard = 0; shard < kShards; ++shard) {
        EXPECT_TRUE(std::is_sorted(users_[shard].begin(), users_[shard].end()));
        for (UserId const user : users_[shard]) {
            ++seen[user];
            EXPECT_EQ(to_int(shard_of_user(user, kShards)), shard);
        }
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 20000);
}

TEST_F(Poisson, SortedNumberedAndInsideTheirShard) {
    auto const requests = make(all_shards());
    EXPECT_TRUE(std::is_sorted(requests.begin(), requests.end(),
                               [](auto const& a, auto const& b) { return key(a) < key(b); }));
    std::vector<std::uint32_t> next(kShards, 0);
    for (auto const& request : requests) {
        ASSERT_EQ(request.sequence, next[request.shard]++) << "sequence follows time in a shard";
        ASSERT_EQ(to_int(shard_of_user(request.user, kShards)), request.shard);
        ASSERT_GE(request.intended_start_ns, 0);
        ASSERT_LT(request.intended_start_ns, 20'000'000'000);
        ASSERT_EQ(request.tokens, std::min(population_->history_length(request.user), 100U));
        ASSERT_EQ(request.candidates, 128U);
    }
}

TEST_F(Poisson, RateAndGapsAreThoseOfAPoissonProcess) {
    traffic_.activity_sigma = 0.0;
    auto const requests = make(all_shards());
    double const expected = 40000.0;
    EXPECT_NEAR(static_cast<double>(requests.size()), expected, 5.0 * std::sqrt(expected));
    // Superposition of the shards: gaps are exponential, so mean = standard deviation, and the
    // share above the mean is 1/e.
    double sum = 0.0;
    double squares = 0.0;
    double above = 0.0;
    for (std::size_t i = 1; i < requests.size(); ++i) {
        double const gap_s =
            static_cast<double>(requests[i].intended_start_ns - requests[i - 1].intended_start_ns) /
            1e9;
        sum += gap_s;
        squares += gap_s * gap_s;
        if (gap_s > 1.0 / 2000.0) above += 1.0;
    }
    double const n = static_cast<double>(requests.size() - 1);
    double const mean = sum / n;
    EXPECT_NEAR(std::sqrt(squares / n - mean * mean) / mean, 1.0, 0.03);
    EXPECT_NEAR(above / n, std::exp(-1.0), 0.015);
}

TEST_F(Poisson, ShardSetsAreIndependent) {
    std::vector<std::uint32_t> odd;
    std::vector<std::uint32_t> even;
    for (std::uint32_t const shard : all_shards()) (shard % 2 == 1 ? odd : even).push_back(shard);
    auto merged = keys(make(odd));
    auto const others = keys(make(even));
    merged.insert(merged.end(), others.begin(), others.end());
    std::sort(merged.begin(), merged.end());
    EXPECT_EQ(merged, keys(make(all_shards())));
    std::vector<std::uint32_t> backwards = all_shards();
    std::reverse(backwards.begin(), backwards.end());
    EXPECT_EQ(keys(make(backwards)), merged);
}

TEST_F(Poisson, SeedsDecide) {
    EXPECT_EQ(keys(make({3, 4})), keys(make({3, 4})));
    EXPECT_NE(keys(make({3, 4}, 1)), keys(make({3, 4}, 2)));
}

TEST_F(Poisson, ActivitySpreadsUsersInProportion) {
    traffic_.requests_per_second = 20000.0;
    traffic_.revisit_probability = 0.0;
    auto const spread = [&](double sigma) {
        traffic_.activity_sigma = sigma;
        std::map<UserId, double> counts;
        auto const requests = make(all_shards());
        for (auto const& request : requests) counts[request.user] += 1.0;
        double squares = 0.0;
        for (auto const& [user, count] : counts) squares += count * (count - 1.0);
        double const total = static_cast<double>(requests.size());
        // E[a^2] / E[a]^2 over users, unbiased for Poisson counts: exp(sigma^2) for a log-normal.
        return squares * 20000.0 / (total * total);
    };
    EXPECT_NEAR(spread(0.0), 1.0, 0.02);
    EXPECT_NEAR(spread(0.5), std::exp(0.25), 0.06);
    EXPECT_NEAR(spread(1.0), std::exp(1.0), 0.5) << "heavy tail: a wide interval";
}

TEST_F(Poisson, AnActiveUserKeepsHisRateInASmallShard) {
    // With as many shards as users, most shards hold one user or none: dividing the traffic by
    // users per shard would make everybody alike.
    auto const lone = users_by_shard(20000, 20000);
    std::vector<std::uint32_t> shards(20000);
    std::iota(shards.begin(), shards.end(), 0U);
    traffic_.requests_per_second = 20000.0;
    traffic_.revisit_probability = 0.0;
    std::map<UserId, double> counts;
    auto const requests = make_requests(*population_, traffic_, 1, shards, lone, 100);
    for (auto const& request : requests) counts[request.user] += 1.0;
    double squares = 0.0;
    for (auto const& [user, count] : counts) squares += count * (count - 1.0);
    double const total = static_cast<double>(requests.size());
    EXPECT_NEAR(total, 400000.0, 0.05 * 400000.0);
    EXPECT_NEAR(squares * 20000.0 / (total * total), std::exp(1.0), 0.5);
}

TEST_F(Poisson, RevisitsReturnToRecentUsers) {
    traffic_.activity_sigma = 0.0;
    auto const recent_share = [&](double probability) {
        traffic_.revisit_probability = probability;
        std::vector<std::vector<UserId>> by_shard(kShards);
        for (auto const& request : make(all_shards()))
            by_shard[request.shard].push_back(request.user);
        double recent = 0.0;
        double total = 0.0;
        for (auto const& users : by_shard) {
            for (std::size_t i = 64; i < users.size(); ++i, total += 1.0) {
                auto const at = users.begin() + static_cast<std::ptrdiff_t>(i);
                if (std::find(at - 64, at, users[i]) != at) recent += 1.0;
            }
        }
        return recent / total;
    };
    // 312 users a shard: 64 independent draws hold a given user with 1 - (1 - 1/312)^64 = 19 %.
    EXPECT_NEAR(recent_share(0.0), 0.185, 0.02);
    EXPECT_EQ(recent_share(1.0), 1.0);
    double const half = recent_share(0.5);
    EXPECT_GT(half, 0.5);
    EXPECT_LT(half, 0.62);
}

TEST_F(Poisson, RevisitWindowOfOneRepeatsTheLastUser) {
    traffic_.revisit_probability = 1.0;
    traffic_.revisit_window = 1;
    std::map<std::uint32_t, UserId> first;
    for (auto const& request : make(all_shards())) {
        auto const at = first.emplace(request.shard, request.user).first;
        ASSERT_EQ(request.user, at->second);
    }
}

TEST_F(Poisson, ImpossibleTrafficIsRefused) {
    auto const refused = [&](auto change) {
        TrafficParams traffic = traffic_;
        change(traffic);
        EXPECT_THROW(make_requests(*population_, traffic, 1, {0}, users_, 100), InternalError);
    };
    refused([](auto& t) { t.requests_per_second = 0.0; });
    refused([](auto& t) { t.requests_per_second = std::nan(""); });
    refused([](auto& t) { t.duration_s = -1.0; });
    refused([](auto& t) { t.candidates = 0; });
    refused([](auto& t) { t.revisit_probability = 1.5; });
    refused([](auto& t) { t.revisit_window = 0; });
    refused([](auto& t) { t.activity_sigma = -0.1; });
    refused(
        [](auto& t) { t.kind = ArrivalKind::original; });  // a synthetic population has no clock
    EXPECT_THROW(make_requests(*population_, traffic_, 1, {kShards}, users_, 100), InternalError);
}

TEST_F(Poisson, CandidatesAreKeyedByIdentity) {
    Request request;
    request.shard = 5;
    request.sequence = 9;
    request.candidates = 1000;
    std::vector<ItemId> a;
    std::vector<ItemId> b;
    candidate_items(1, request, 50, a);
    candidate_items(1, request, 50, b);
    EXPECT_EQ(a, b);
    EXPECT_EQ(*std::min_element(a.begin(), a.end()), 1U);
    EXPECT_EQ(*std::max_element(a.begin(), a.end()), 50U);
    for (auto const change : {0, 1, 2}) {
        Request other = request;
        if (change == 0) other.shard = 6;
        if (change == 1) other.sequence = 10;
        candidate_items(change == 2 ? 2 : 1, other, 50, b);
        EXPECT_NE(a, b);
    }
    request.candidates = 3;
    candidate_items(1, request, 1, b);
    EXPECT_THAT(b, ElementsAre(1, 1, 1));
}

/// Test impressions: user 0 at 10.0, 10.4 and 12.0 s, user 1 at 9.0 s; user 2 only trains.
Dataset logged() {
    Dataset d;
    d.name = "logged";
    d.catalogue.items = 3;
    d.catalogue.feature_names = {"item"};
    d.catalogue.feature_vocabularies = {4};
    d.catalogue.features = {{0, 1, 2, 3}};
    d.original_user_ids = {1, 2, 3};
    d.original_item_ids = {-1, 1, 2, 3};
    d.history_offsets = {0, 2, 2, 3};
    d.history_items = {1, 2, 3};
    d.impression_offsets = {0, 4, 5, 6};
    d.impression_items = {1, 2, 3, 1, 2, 3};
    d.impression_times_ms = {8000, 10000, 10400, 12000, 9000, 1000};
    d.impression_contexts.assign(6, 0);
    d.impression_labels = {1, 0, 1, 0, 1, 0};
    d.impression_splits = {0, 2, 2, 2, 2, 0};
    return d;
}

std::vector<Request> original(TrafficParams traffic, std::uint32_t max_tokens = 100) {
    traffic.kind = ArrivalKind::original;
    auto const population = make_dataset_population(logged());
    return make_requests(*population, traffic, 1, {0}, users_by_shard(3, 1), max_tokens);
}

TEST(OriginalArrivals, TestImpressionsAtTheirOwnTimes) {
    TrafficParams traffic;
    traffic.candidates = 0;
    traffic.speed_factor = 2.0;
    auto const requests = original(traffic);
    ASSERT_EQ(requests.size(), 3U);
    EXPECT_EQ(key(requests[0]), std::tuple(0, 0U, 0U, 1U, 1U, 0U));
    EXPECT_EQ(key(requests[1]), std::tuple(500'000'000, 0U, 1U, 0U, 2U, 3U)) << "two in one second";
    EXPECT_EQ(key(requests[2]), std::tuple(1'500'000'000, 0U, 2U, 0U, 1U, 5U));
}

TEST(OriginalArrivals, CandidatesAndTokensCanBeSet) {
    TrafficParams traffic;
    traffic.candidates = 7;
    auto const requests = original(traffic, 4);
    ASSERT_EQ(requests.size(), 3U);
    for (auto const& request : requests) EXPECT_EQ(request.candidates, 7U);
    EXPECT_EQ(requests[2].tokens, 4U);
    traffic.speed_factor = 0.0;
    EXPECT_THROW(original(traffic), InternalError);
}

TEST(OriginalArrivals, ShardsShareOneOrigin) {
    TrafficParams traffic;
    traffic.kind = ArrivalKind::original;
    auto const population = make_dataset_population(logged());
    std::vector<std::vector<UserId>> const shards = {{0}, {1, 2}};
    auto const alone = make_requests(*population, traffic, 1, {0}, shards, 100);
    ASSERT_EQ(alone.size(), 2U);
    EXPECT_EQ(alone[0].intended_start_ns, 1'000'000'000) << "1 s behind user 1's first request";
    auto merged = keys(alone);
    auto const rest = keys(make_requests(*population, traffic, 1, {1}, shards, 100));
    merged.insert(merged.end(), rest.begin(), rest.end());
    std::sort(merged.begin(), merged.end());
    EXPECT_EQ(merged, keys(make_requests(*population, traffic, 1, {0, 1}, shards, 100)));
}

}  // namespace
}  // namespace ckvsim::workload
