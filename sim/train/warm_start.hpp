// A warm start of CollectiveKV: from the trained weights of a variant without pools (full KV, or
// full KV + SiLU) to those that training of the pools goes on from. Nothing here is trained.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "train/samples.hpp"
#include "train/sim_network.hpp"

namespace ckvsim::train {

/// The variant whose weights `variant` starts from.
VariantSpec start_of(VariantSpec const& variant);

/// How often each item 0 .. V is a token of a training sample's history when histories are cut to
/// their last `most_tokens`: what a site's router sees in an epoch.
std::vector<double> occurrences(Samples const& samples, std::uint32_t most_tokens);

/// The pool value x with SiLU(x) = `served` and a slope: the larger of the two solutions, at least
/// -1. SiLU goes down to -0.2785 at -1.278, where it has no slope for training; below
/// SiLU(-1) = -0.2689, which is the nearest that has one, the answer is -1.
double pool_value(double served);

/// A map of full KV, K or V of one site.
struct FullSide {
    std::span<float const> map;  ///< [d, d_e]: a row is map e, or SiLU of it
    bool silu = false;
};
/// What stands in for it.
struct FittedSide {
    std::vector<float> router;  ///< [m, d_e]
    std::vector<float> user;    ///< [d_u, d_e]
    std::vector<float> pool;    ///< [m, d - d_u]
};

/// Router, pool and user part for tokens with these embeddings [items, d_e] and `counts`.
///
/// Router: logits are products wr_j . e without a bias, so that a router chooses by direction and
/// rows of one length choose the nearest centre: wr = s * centres of cluster_directions() over the
/// items that occur, weighted by `counts`. s is such that a token of mean length in its centre's
/// direction has the logit 4: training multiplies its pool row by sigmoid(4) = 0.98, and the rest
/// of the scatter around centres, some 0.5 to 0.99, is the training's to close by its peak loss.
/// Logits over the pool have a deviation of about 4 / sqrt(d_e), of the order of a random start's
/// 0.3. Pool: SiLU(pool row), which is what serving makes of it, is the mean of the first d - d_u
/// values of the full rows of the cluster's tokens: the row with the least squared error for them,
/// as far as SiLU reaches (pool_value). Rows whose cluster nobody is in get the mean over all
/// tokens. User part: the last d_u rows of the map; a user part is a map of the token as full KV's
/// is, and SiLU of it exactly full KV + SiLU's. Without any token: empty.
FittedSide fit_side(FullSide const& full, std::span<float const> embeddings,
                    std::span<double const> counts, VariantSpec const& variant, CounterRng rng);

/// Gives `network`, of `variant`, the values of `full`, a trained network of start_of(variant):
/// embeddings, queries, outputs, tower, search, K and V without a pool as they are; pools by
/// fit_side(). Random numbers are keyed by (seed, name of the router). The short site's tokens are
/// the short windows, the long site's the whole histories of the training samples.
void start_warm(SimNetwork const& full, Samples const& samples, VariantSpec const& variant,
                std::uint64_t seed, SimNetwork& network);

}  // namespace ckvsim::train
