// The operations of the trainer that libtorch does not have, with their gradients: attention over
// ragged lists of table rows, sums of a history's hash buckets, self-attention of HSTU over
// sequences, and the CollectiveKV router without a tokens x pool matrix.
#pragma once

#include <torch/types.h>

#include "train/causal_attention.hpp"
#include "train/collisions.hpp"
#include "train/ragged_attention.hpp"
#include "train/team.hpp"

namespace ckvsim::train {

/// queries [B, heads * k], keys [rows, heads * k], values [rows, heads * v] -> [B, heads * v];
/// softmax of scale * q . k per head over each sample's token rows, zeros for an empty list.
/// `tokens` must live until backward has run.
at::Tensor ragged_attention(at::Tensor const& queries, at::Tensor const& keys,
                            at::Tensor const& values, Ragged const& tokens, std::int64_t heads,
                            double scale);

/// SDIM's long branch: embeddings [rows, d_e] -> [B, d_e] (collision_means_forward). Buckets have
/// no gradient. `collisions` and its tokens must live until backward has run.
at::Tensor collision_means(at::Tensor const& embeddings, Collisions const& collisions);

/// HSTU's self-attention: q [queries, d], k and v [tokens, d], bias [heads, kPositionBuckets] ->
/// [queries, d]. `sequences` must live until backward has run.
at::Tensor causal_attention(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                            at::Tensor const& bias, Sequences const& sequences, std::int64_t heads,
                            double divisor);

struct Routing {
    at::Tensor index;    ///< [U] int64, arg-max pool row
    at::Tensor winner;   ///< [U] logit of that row
    at::Tensor balance;  ///< scalar: KL(count-weighted mean of softmax(logits) || uniform)
};

/// Router of U distinct items that stand for sum(counts) of the batch's `tokens`: the balance loss
/// and its gradient are those of the per-token formulation. The mean is taken over the items of all
/// ranks of `team` before its logarithm: balance is the whole batch's on every rank, and the
/// gradients of the ranks add up to the whole one. Collective unless `want_balance` = false: then
/// balance is zero. Works on blocks of rows; keeps the softmax for backward where that is cheap,
/// else computes it again.
Routing route(at::Tensor const& embeddings, at::Tensor const& router, at::Tensor const& counts,
              double tokens, bool want_balance, Team& team);

/// Arg-max rows alone, without gradients.
at::Tensor route_index(at::Tensor const& embeddings, at::Tensor const& router);

}  // namespace ckvsim::train
