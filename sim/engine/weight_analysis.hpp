// What trained keys and values look like: how few directions hold their energy, whether users agree
// in them, how a pool is used, and how much of it a retraining changes. Pure functions of rows,
// indices and how often items occur; every one is local.
#pragma once

#include <cstdint>
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

/// Whether users resemble each other in the leading directions and in the rest. For every sampled
/// user the mean of his tokens' rows is split into both parts.
struct UserAgreement {
    std::size_t rank = 0;     ///< directions of the leading part
    std::uint64_t users = 0;  ///< sampled users with enough tokens
    /// Mean cosine over pairs of users of the mean vectors: 1 = all alike, 0 = unrelated.
    double leading_cosine = 0.0;
    double rest_cosine = 0.0;
    /// The same for made-up users who draw as many tokens from what all users read: what popularity
    /// alone makes alike.
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
UserAgreement user_agreement(workload::Population const& population,
                             PrincipalDirections const& directions, std::span<float const> rows,
                             std::span<std::uint64_t const> weights, AgreementParams const& params);

/// How history tokens spread over a pool's rows.
struct PoolUse {
    std::uint32_t rows = 0;
    std::uint32_t rows_of_items = 0;   ///< that some item of the catalogue has
    std::uint32_t rows_of_tokens = 0;  ///< that some history token has
    double effective_rows = 0.0;       ///< exp(entropy) of the tokens' distribution over rows
    double top_share = 0.0;  ///< of tokens, in the busiest hundredth of the rows (at least one)
};
PoolUse pool_use(std::span<std::uint32_t const> indices, std::span<std::uint64_t const> weights,
                 std::uint32_t rows);

/// Two trainings of one router.
struct RouterChange {
    double items_changed = 0.0;   ///< share of items whose row differs
    double tokens_changed = 0.0;  ///< share of history tokens: whose index differs
    /// Whether the same items share a row in both, whatever the row's number: 1 = the same groups,
    /// 0 = chance (adjusted Rand index, Hubert and Arabie 1985, over items).
    double same_groups = 0.0;
};
RouterChange router_change(std::span<std::uint32_t const> before,
                           std::span<std::uint32_t const> after,
                           std::span<std::uint64_t const> weights);

}  // namespace ckvsim::engine
