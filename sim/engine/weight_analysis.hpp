// What trained keys and values look like: how few directions hold their energy, whether users agree
// in them, how a pool is used, and how much of it a retraining changes. Pure functions of rows,
// indices and how often items occur; every one is local. Rows belong to items, or, in HSTU, to the
// tokens of histories.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "decode/backend.hpp"
#include "workload/population.hpp"

namespace ckvsim::engine {

/// K or V rows of every item, [V + 1, width] (row 0 is not an item's). `backend` keeps full fp32
/// entries; `section` is one of its K or V sections.
std::vector<float> item_rows(decode::Backend const& backend, kv::Section section);

/// Pool row of every item, [V + 1]. `backend` keeps CollectiveKV codes per user token; `section` is
/// one of its index sections.
std::vector<std::uint32_t> item_indices(decode::Backend const& backend, kv::Section section);

/// Writes the K or V rows of a history's tokens, [tokens, width]. Not for several threads at once.
using HistoryRows = std::function<void(std::span<ItemId const> history, std::vector<float>& rows)>;
/// From a table of items, [V + 1, width], which must outlive it.
HistoryRows table_rows(std::span<float const> rows, std::size_t width);
/// Of HSTU: the history is run through the layers. `backend` keeps full fp32 entries and must
/// outlive it; `section` is K or V of a layer. Histories of at most max_tokens tokens.
HistoryRows layer_rows(decode::Backend const& backend, kv::Section section);

/// Pool row of every token of the histories (at most max_tokens tokens each), back to back.
/// `backend` keeps CollectiveKV codes of HSTU; `section` is one of its index sections.
std::vector<std::uint32_t> layer_indices(decode::Backend const& backend, kv::Section section,
                                         std::span<std::vector<ItemId> const> histories);

/// Principal directions of rows counted `weights` times each: eigenvalues of sum w x x^T over the
/// sum of w, descending, and their directions (columns). Not centred: the singular values squared
/// of the matrix that stacks one row a history token.
struct PrincipalDirections {
    std::size_t width = 0;
    std::vector<double> energy;      ///< [width], sums to 1; all zero when every row is
    std::vector<double> directions;  ///< [width, width], direction k at [., k], column-major
    /// Fewest directions that hold `share` of the energy.
    [[nodiscard]] std::size_t rank_of(double share) const;
};
PrincipalDirections principal_directions(std::span<float const> rows, std::size_t width,
                                         std::span<std::uint64_t const> weights);
/// The same of the rows of every token of the histories.
PrincipalDirections principal_directions(std::span<std::vector<ItemId> const> histories,
                                         HistoryRows const& rows_of, std::size_t width);

/// Whether users resemble each other in the leading directions and in the rest. For every sampled
/// user the mean of his tokens' rows is split into both parts.
struct UserAgreement {
    std::size_t rank = 0;     ///< directions of the leading part
    std::uint64_t users = 0;  ///< sampled users with enough tokens
    /// Mean cosine over pairs of users of the mean vectors: 1 = all alike, 0 = unrelated.
    double leading_cosine = 0.0;
    double rest_cosine = 0.0;
    /// The same for made-up users who draw as many items from what all users read, in no order:
    /// what popularity alone makes alike.
    double leading_cosine_chance = 0.0;
    double rest_cosine_chance = 0.0;
    /// Share of the part's variance that lies between users (their means), not within them.
    double leading_between = 0.0;
    double rest_between = 0.0;
};

/// `energy_share` fixes the rank. Users are sampled by hash of (seed, user); those with fewer than
/// `min_tokens` stored tokens are left out.
struct AgreementParams {
    double energy_share = 0.9;
    std::uint64_t sample = 2000;
    std::uint32_t min_tokens = 10;
    std::uint32_t max_tokens = 1000;
    std::uint64_t seed = 1;
};
/// `weights`: how often all users read every item, [V + 1].
UserAgreement user_agreement(workload::Population const& population,
                             PrincipalDirections const& directions, HistoryRows const& rows_of,
                             std::span<std::uint64_t const> weights, AgreementParams const& params);

/// The newest max_tokens items of each user that user_agreement() compares, in the order of users.
std::vector<std::vector<ItemId>> sampled_histories(workload::Population const& population,
                                                   AgreementParams const& params);

/// How history tokens spread over a pool's rows.
struct PoolUse {
    std::uint32_t rows = 0;
    std::uint32_t rows_of_items = 0;   ///< that some item of the catalogue has; HSTU: some token
    std::uint32_t rows_of_tokens = 0;  ///< that some history token has
    double effective_rows = 0.0;       ///< exp(entropy) of the tokens' distribution over rows
    double top_share = 0.0;  ///< of tokens, in the busiest hundredth of the rows (at least one)
};
PoolUse pool_use(std::span<std::uint32_t const> indices, std::span<std::uint64_t const> weights,
                 std::uint32_t rows);
/// Of the tokens' own rows (HSTU).
PoolUse token_pool_use(std::span<std::uint32_t const> indices, std::uint32_t rows);

/// Two trainings of one router.
struct RouterChange {
    double items_changed = 0.0;   ///< share of items whose row differs; HSTU: mean over items
                                  ///< of the share of an item's tokens
    double tokens_changed = 0.0;  ///< share of history tokens: whose index differs
    /// Whether the same items share a row in both, whatever the row's number: 1 = the same groups,
    /// 0 = chance (adjusted Rand index, Hubert and Arabie 1985, over items; HSTU: over tokens).
    double same_groups = 0.0;
};
RouterChange router_change(std::span<std::uint32_t const> before,
                           std::span<std::uint32_t const> after,
                           std::span<std::uint64_t const> weights);
/// Of the tokens' own rows (HSTU); `items` are the tokens'.
RouterChange token_router_change(std::span<std::uint32_t const> before,
                                 std::span<std::uint32_t const> after,
                                 std::span<ItemId const> items);

}  // namespace ckvsim::engine
