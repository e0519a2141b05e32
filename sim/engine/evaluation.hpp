// Accuracy through the cache as served: every test impression is scored against the entry that the
// strategy keeps, encoded from the stored history and appended to as the user's earlier impressions
// arrive.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "decode/backend.hpp"
#include "engine/user_set.hpp"
#include "workload/population.hpp"

namespace ckvsim::engine {

/// Number of test impressions and users of one shard, in logical order.
struct ShardExtent {
    std::uint32_t shard = 0;
    std::uint64_t users = 0;
    std::uint64_t impressions = 0;
};

/// What this rank scores; the same for every arm, so labels and order are kept once.
struct EvaluationSet {
    std::vector<ShardExtent> shards;  ///< owned shards with at least one test impression, ascending
    std::vector<UserId> users;        ///< users with test impressions, logical order
    std::vector<std::uint64_t> user_offsets;  ///< [users+1] into the impression columns
    std::vector<std::uint8_t> labels;
    std::vector<ItemId> items;  ///< candidate of each impression
    /// 1 = the newest token that the impression sees is its candidate, 0 = none of them is
    std::vector<std::uint32_t> candidate_age;
    std::vector<float> true_logits;    ///< empty unless the population knows them
    std::uint64_t history_tokens = 0;  ///< sum over impressions of the (capped) history they see
};

/// Progress in users: (done, total).
using EvaluationProgress = std::function<void(std::uint64_t, std::uint64_t)>;

/// Local. Users are kept by hash when max_users > 0 (expected number; the same users on any number
/// of ranks).
EvaluationSet make_evaluation_set(workload::Population const& population,
                                  std::vector<ShardUsers> const& owned, std::uint64_t max_users,
                                  std::uint64_t seed, std::uint32_t max_tokens,
                                  EvaluationProgress const& progress);

/// Whose history a request is scored with.
enum class HistorySource : std::uint8_t { own, other_user };

/// Local, OpenMP-parallel. Logits in the order of the set. A window other than `encoded` is for
/// own histories of a strategy that it fits (kv::window_misfit).
std::vector<float> score(workload::Population const& population, EvaluationSet const& set,
                         decode::Backend const& backend, HistorySource source, std::uint64_t seed,
                         EvaluationProgress const& progress, kv::WindowParams const& window = {});

/// Order-free hash over (key, user, bits of the user's logits): parts of a set add up to the hash
/// of the whole, on any number of ranks. `key` tells contestants and seeds apart.
std::uint64_t hash_scores(EvaluationSet const& set, std::vector<float> const& logits,
                          std::uint64_t key = 0);

}  // namespace ckvsim::engine
