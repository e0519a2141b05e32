// What ranks compute over their own shards adds up to what one rank computes over all of them.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <span>

#include "core/hash.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "engine/evaluation.hpp"
#include "engine/population_scan.hpp"
#include "engine/user_set.hpp"
#include "mpi_fixture.hpp"
#include "workload/requests.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::engine {
namespace {

using test::world;

constexpr std::uint64_t kUsers = 400;
constexpr std::uint32_t kShards = 64;

std::unique_ptr<workload::Population> population() {
    workload::SyntheticParams params;
    params.users = kUsers;
    params.items = 200;
    params.clusters = 10;
    params.history_median = 30;
    params.history_cap = 90;
    params.train_share = 0.4;
    params.tune_share = 0.1;
    return workload::make_synthetic(params);
}

std::vector<ShardUsers> mine() {
    return owned_users(kUsers, kShards, world().rank(), world().size());
}
std::vector<ShardUsers> everybody() { return owned_users(kUsers, kShards, 0, 1); }

TEST(Partition, ScansAddUp) {
    auto const data = population();
    auto parts = scan_population(*data, flatten(mine()), 60, true, {}).parts();
    world().sum(std::span<std::uint64_t>(parts));
    EXPECT_EQ(parts, scan_population(*data, flatten(everybody()), 60, true, {}).parts());
}

TEST(Partition, ScoresAndTheirHashAreThoseOfOneRank) {
    auto const data = population();
    model::SimShape shape;
    shape.feature_dim = 4;
    shape.attention_dim = 8;
    shape.search_dim = 4;
    shape.top_k = 5;
    shape.max_tokens = 60;
    shape.tower = {8};
    auto const weights = std::make_shared<model::SimWeights const>(
        model::random_sim_weights(shape, {}, data->catalogue(), 1, 7));
    auto const backend = device::cpu::make_backend(weights, {}, data->catalogue());
    auto const set_of = [&](std::vector<ShardUsers> const& owned) {
        return make_evaluation_set(*data, owned, 0, 1, shape.max_tokens, {});
    };
    auto const part = set_of(mine());
    auto const logits = score(*data, part, *backend, HistorySource::own, 1, {});
    std::array<std::uint64_t, 4> sums = {hash_scores(part, logits), part.users.size(),
                                         part.labels.size(), part.history_tokens};
    world().sum(std::span<std::uint64_t>(sums));
    auto const whole = set_of(everybody());
    auto const all_logits = score(*data, whole, *backend, HistorySource::own, 1, {});
    EXPECT_GT(whole.labels.size(), 100U);
    EXPECT_EQ(sums,
              (std::array<std::uint64_t, 4>{hash_scores(whole, all_logits), whole.users.size(),
                                            whole.labels.size(), whole.history_tokens}));
}

TEST(Partition, RequestStreamsMergeToOneRanksStream) {
    auto const data = population();
    auto const shard_users = workload::users_by_shard(kUsers, kShards);
    workload::TrafficParams traffic;
    traffic.requests_per_second = 500;
    traffic.duration_s = 4;
    auto const make = [&](std::vector<ShardUsers> const& owned) {
        std::vector<std::uint32_t> shards;
        for (auto const& shard : owned) shards.push_back(shard.shard);
        return workload::make_requests(*data, traffic, 3, shards, shard_users, 60);
    };
    auto const hash_of = [](std::vector<workload::Request> const& requests) {
        UnorderedHash hash;
        for (auto const& r : requests) {
            std::array<std::uint64_t, 3> const content = {
                static_cast<std::uint64_t>(r.intended_start_ns), r.user,
                (std::uint64_t{r.candidates} << 32) | r.tokens};
            hash.add((std::uint64_t{r.shard} << 32) | r.sequence,
                     hash_span(std::span<std::uint64_t const>(content)));
        }
        return hash.value();
    };
    auto const part = make(mine());
    std::array<std::uint64_t, 2> sums = {hash_of(part), part.size()};
    world().sum(std::span<std::uint64_t>(sums));
    auto const whole = make(everybody());
    EXPECT_GT(whole.size(), 1000U);
    EXPECT_EQ(sums, (std::array<std::uint64_t, 2>{hash_of(whole), whole.size()}));
}

}  // namespace
}  // namespace ckvsim::engine
