// Target attention straight out of per-item tables: sample b attends over the table rows of its
// token list. Nothing of size tokens x width is ever stored; forward keeps tokens x heads weights
// for backward. OpenMP-parallel; a result does not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "train/ragged.hpp"

namespace ckvsim::train {

/// Widths are split over the heads in order: head h owns [h * width / heads, (h+1) * width /
/// heads). Requires heads to divide both.
struct AttentionShape {
    std::size_t heads = 1;
    std::size_t key_width = 0;
    std::size_t value_width = 0;
    float scale = 1.0F;  ///< of q . k before the softmax
};

/// out_bh = sum_j softmax_j(scale * q_bh . k_jh) v_jh; zeros for an empty list.
/// queries [B, key_width], keys [rows, key_width], values [rows, value_width], out [B,
/// value_width], all row-major. weights [tokens * heads]: of list b from offsets[b] * heads,
/// [heads, list length].
void attention_forward(AttentionShape const& shape, Ragged const& tokens, float const* queries,
                       float const* keys, float const* values, float* out, float* weights);

/// Adds gradients to grad_queries, grad_keys and grad_values (each may be null: not wanted) for
/// the gradient grad_out of out. `weights` as left by attention_forward.
void attention_backward(AttentionShape const& shape, Ragged const& tokens, float const* queries,
                        float const* keys, float const* values, float const* weights,
                        float const* grad_out, float* grad_queries, float* grad_keys,
                        float* grad_values);

/// The k tokens of each list with the largest q_b . k_j (all of a shorter list); among equal
/// scores the newer token, which stands further back, wins. `positions`, if given, gets each chosen
/// token's place in its list, ascending, parallel to the result's rows.
Ragged select_top_k(std::size_t key_width, Ragged const& tokens, float const* queries,
                    float const* keys, std::size_t k,
                    std::vector<std::uint32_t>* positions = nullptr);

/// The same by signatures: the k tokens whose signature differs from the list's in the fewest bits.
/// queries [B], signatures [rows].
Ragged select_nearest(Ragged const& tokens, std::uint64_t const* queries,
                      std::uint64_t const* signatures, std::size_t k,
                      std::vector<std::uint32_t>* positions = nullptr);

}  // namespace ckvsim::train
