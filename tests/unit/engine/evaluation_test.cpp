#include "engine/evaluation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "device/cpu/cpu_backend.hpp"
#include "engine/population_scan.hpp"
#include "engine/residency.hpp"
#include "engine/training_samples.hpp"
#include "listed_population.hpp"
#include "workload/perturbed.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::engine {
namespace {

workload::SyntheticParams small_params() {
    workload::SyntheticParams params;
    params.users = 300;
    params.items = 200;
    params.clusters = 10;
    params.history_median = 30;
    params.history_cap = 90;
    params.train_share = 0.5;
    params.tune_share = 0.2;
    return params;
}

model::SimShape small_shape() {
    model::SimShape shape;
    shape.feature_dim = 4;
    shape.attention_dim = 8;
    shape.search_dim = 4;
    shape.top_k = 5;
    shape.max_tokens = 60;
    shape.tower = {8};
    return shape;
}

std::shared_ptr<decode::Backend const> small_backend(workload::Population const& population,
                                                     kv::StrategyParams const& strategy,
                                                     model::VariantParams const& variant) {
    auto weights = std::make_shared<model::SimWeights const>(
        model::random_sim_weights(small_shape(), variant, population.catalogue(), 1, 7));
    return device::cpu::make_backend(weights, strategy, population.catalogue());
}

model::VariantParams collective_variant() {
    model::VariantParams variant;
    variant.variant = model::Variant::collective;
    variant.scope = model::Scope::all;
    variant.m = 16;
    return variant;
}

EvaluationSet make_set(workload::Population const& population,
                       std::vector<ShardUsers> const& owned) {
    return make_evaluation_set(population, owned, 0, 1, small_shape().max_tokens, {});
}

TEST(UserSet, RanksPartitionTheUsersAndKeepLogicalOrder) {
    auto const whole = flatten(owned_users(1000, 64, 0, 1));
    ASSERT_EQ(whole.size(), 1000U);
    std::map<std::uint32_t, std::vector<UserId>> merged;
    for (int rank = 0; rank < 3; ++rank) {
        for (auto const& shard : owned_users(1000, 64, rank, 3)) merged[shard.shard] = shard.users;
    }
    std::vector<UserId> together;
    for (auto const& [shard, users] : merged)
        together.insert(together.end(), users.begin(), users.end());
    EXPECT_EQ(together, whole);
}

TEST(Evaluation, ScoresAndHashesDoNotDependOnRanks) {
    auto const population = workload::make_synthetic(small_params());
    auto const backend = small_backend(*population, {}, {});
    auto const set = make_set(*population, owned_users(300, 64, 0, 1));
    auto const logits = score(*population, set, *backend, HistorySource::own, 1, {});
    std::map<UserId, std::vector<float>> by_user;
    for (std::size_t i = 0; i < set.users.size(); ++i) {
        by_user[set.users[i]] = {
            logits.begin() + static_cast<std::ptrdiff_t>(set.user_offsets[i]),
            logits.begin() + static_cast<std::ptrdiff_t>(set.user_offsets[i + 1])};
    }
    std::uint64_t hash = 0;
    std::size_t impressions = 0;
    for (int rank = 0; rank < 3; ++rank) {
        auto const part = make_set(*population, owned_users(300, 64, rank, 3));
        auto const part_logits = score(*population, part, *backend, HistorySource::own, 1, {});
        hash += hash_scores(part, part_logits);
        impressions += part_logits.size();
        for (std::size_t i = 0; i < part.users.size(); ++i) {
            std::vector<float> const mine(
                part_logits.begin() + static_cast<std::ptrdiff_t>(part.user_offsets[i]),
                part_logits.begin() + static_cast<std::ptrdiff_t>(part.user_offsets[i + 1]));
            EXPECT_EQ(mine, by_user.at(part.users[i]));
        }
    }
    EXPECT_EQ(hash, hash_scores(set, logits));
    EXPECT_EQ(impressions, logits.size());
    EXPECT_GT(impressions, 100U);
}

TEST(Evaluation, AnotherUsersHistoryChangesTheScores) {
    auto const population = workload::make_synthetic(small_params());
    auto const backend = small_backend(*population, {}, {});
    auto const set = make_set(*population, owned_users(300, 64, 0, 1));
    auto const own = score(*population, set, *backend, HistorySource::own, 1, {});
    auto const other = score(*population, set, *backend, HistorySource::other_user, 1, {});
    EXPECT_NE(own, other);
}

TEST(Evaluation, SubsamplingKeepsWholeUsersAndIsTheSameOnAnyNumberOfRanks) {
    auto const population = workload::make_synthetic(small_params());
    auto const all = make_set(*population, owned_users(300, 64, 0, 1));
    auto const some = make_evaluation_set(*population, owned_users(300, 64, 0, 1), 100, 1, 60, {});
    EXPECT_LT(some.users.size(), all.users.size());
    EXPECT_GT(some.users.size(), 5U);
    std::vector<UserId> split;
    for (int rank = 0; rank < 2; ++rank) {
        auto const part =
            make_evaluation_set(*population, owned_users(300, 64, rank, 2), 100, 1, 60, {});
        split.insert(split.end(), part.users.begin(), part.users.end());
    }
    auto sorted = some.users;
    std::sort(sorted.begin(), sorted.end());
    std::sort(split.begin(), split.end());
    EXPECT_EQ(split, sorted);
}

/// By definition: what the impression may read, oldest first, looked through token by token.
std::uint32_t age_by_hand(workload::UserRecord const& record, workload::Impression const& shown,
                          std::uint32_t max_tokens) {
    std::uint32_t age = 0;
    for (std::uint32_t back = 1; back <= max_tokens && back <= shown.history_end; ++back) {
        if (age == 0 && record.timeline[shown.history_end - back] == shown.item) age = back;
    }
    return age;
}

TEST(Evaluation, CandidateAgesAreThoseOfTheTokensThatTheModelReads) {
    auto const population = workload::make_synthetic(small_params());
    for (std::uint32_t const max_tokens : {1U, 7U, 60U, 1000U}) {
        auto const set =
            make_evaluation_set(*population, owned_users(300, 64, 0, 1), 0, 1, max_tokens, {});
        std::vector<std::uint32_t> expected;
        for (auto const user : set.users) {
            workload::UserRecord record;
            population->load(user, record);
            for (auto const& impression : record.impressions) {
                if (impression.split == workload::Split::test)
                    expected.push_back(age_by_hand(record, impression, max_tokens));
            }
        }
        EXPECT_EQ(set.candidate_age, expected) << max_tokens;
        EXPECT_LE(*std::max_element(expected.begin(), expected.end()), max_tokens);
        EXPECT_GT(std::count_if(expected.begin(), expected.end(), [](auto a) { return a > 0; }), 10)
            << "candidates that were seen before";
    }
}

TEST(Evaluation, ACandidateIsNotItsOwnPast) {
    workload::UserRecord record;
    record.timeline = {3, 1, 2, 1};
    record.base_length = 2;
    auto const shown = [](ItemId item, std::uint32_t history_end) {
        return workload::Impression{item, 0, history_end, 1, workload::Split::test, 0};
    };
    record.impressions = {shown(2, 2), shown(1, 2), shown(3, 4), shown(1, 4), shown(1, 0)};
    test::ListedPopulation const population(3, {record});
    auto const ages = [&](std::uint32_t max_tokens) {
        return make_evaluation_set(population, owned_users(1, 1, 0, 1), 0, 1, max_tokens, {})
            .candidate_age;
    };
    EXPECT_EQ(ages(10), (std::vector<std::uint32_t>{0, 1, 4, 1, 0}));
    EXPECT_EQ(ages(3), (std::vector<std::uint32_t>{0, 1, 0, 1, 0})) << "older than the cap";
}

TEST(Residency, PredictionMatchesAllocationAndSampledUsersEncodeAgainToTheSameBytes) {
    auto const population = workload::make_synthetic(small_params());
    kv::StrategyParams strategy;
    strategy.kind = kv::StrategyKind::collective;
    auto const backend = small_backend(*population, strategy, collective_variant());
    auto const users = flatten(owned_users(300, 64, 0, 1));
    auto const prediction =
        predict(*population, users, backend->layout(), small_shape().max_tokens);
    ResidentStore store(*population, users, backend);
    store.fill({});
    EXPECT_GE(store.allocated_bytes(), prediction.entry_bytes);
    EXPECT_LT(store.allocated_bytes() - prediction.entry_bytes, 4096U);
    auto const [checked, different] = store.verify(50, 3);
    EXPECT_EQ(checked, 50U);
    EXPECT_EQ(different, 0U);
    // The check can fail: one flipped byte in every entry must be seen.
    for (std::size_t i = 0; i < users.size(); ++i) {
        auto const entry = store.entry(i);
        if (entry.tokens > 0) const_cast<std::byte*>(entry.data)[0] ^= std::byte{1};
    }
    EXPECT_EQ(store.verify(50, 3).second, 50U);
}

TEST(PopulationScan, CountsAddUpAndOneFlippedTokenChangesTheHash) {
    auto const population = workload::make_synthetic(small_params());
    auto const users = flatten(owned_users(300, 64, 0, 1));
    auto const scan = scan_population(*population, users, 60, true, {});
    std::uint64_t events = 0;
    std::uint64_t tokens = 0;
    std::uint64_t lengths = 0;
    for (auto const n : scan.item_events) events += n;
    for (auto const n : scan.users_by_length) lengths += n;
    for (UserId user = 0; user < 300; ++user) tokens += population->history_length(user);
    EXPECT_EQ(events, scan.tokens);
    EXPECT_EQ(tokens, scan.tokens);
    EXPECT_EQ(lengths, 300U);
    EXPECT_LE(scan.capped_tokens, scan.tokens);
    auto const light = scan_population(*population, users, 60, false, {});
    EXPECT_EQ(light.token_hash.value(), scan.token_hash.value());
    auto const flipped = workload::perturb_token(workload::make_synthetic(small_params()), 17, 0);
    EXPECT_NE(scan_population(*flipped, users, 60, false, {}).token_hash.value(),
              scan.token_hash.value());
}

TEST(TrainingSamples, HistoriesMatchThePopulationAndLimitsHold) {
    auto const population = workload::make_synthetic(small_params());
    TensorFile out;
    collect_samples(*population, {200, 50, 10}, 5, "test", out, {});
    EXPECT_EQ(out.tensor("train.label").elements(), 200U);
    EXPECT_EQ(out.tensor("tune.label").elements(), 50U);
    EXPECT_EQ(out.tensor("reference.label").elements(), 10U);
    auto const offsets = out.tensor("timeline.offsets").as<std::uint64_t>();
    auto const rows = out.tensor("train.user").as<std::uint32_t>();
    auto const ends = out.tensor("train.history_end").as<std::uint32_t>();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_LE(ends[i], offsets[rows[i] + 1] - offsets[rows[i]]);
    }
    TensorFile again;
    collect_samples(*population, {200, 50, 10}, 5, "test", again, {});
    EXPECT_EQ(out.digest(), again.digest());
}

}  // namespace
}  // namespace ckvsim::engine
