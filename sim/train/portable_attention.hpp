// The attention of autograd_ops.hpp from libtorch's tensor operations alone, on any device. Work is
// cut into pieces of neighbouring samples, which the backward pass computes again; see
// Compute::piece_elements.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "train/autograd_ops.hpp"
#include "train/compute.hpp"

namespace ckvsim::train::portable {

/// How many elements a piece may have, and the operands of its matrix products.
struct PieceLimits {
    std::int64_t elements = 1;
    Precision precision = Precision::fp32;
};

/// a b over the last two dimensions, rounded to fp32; with bf16 from operands of that type.
at::Tensor product(at::Tensor const& a, at::Tensor const& b, Precision precision);

/// A list as indices on the device of what they index.
struct Lists {
    at::Tensor rows;    ///< [tokens] int64
    at::Tensor lists;   ///< [tokens] int64, which list a token is of, from the first of the piece
    at::Tensor starts;  ///< [lists] int64, the place of each list's first token
};
/// Of the lists [first, end).
Lists lists_of(Ragged const& tokens, std::size_t first, std::size_t end, at::Device device);

/// Calls visit(first, end) for neighbouring lists with at most `most` tokens, or of one list.
template <class Visit>
void for_each_piece(Ragged const& tokens, std::int64_t most, Visit const& visit) {
    for (std::size_t first = 0; first < tokens.lists();) {
        std::size_t end = first + 1;
        while (end < tokens.lists() && tokens.offsets[end + 1] - tokens.offsets[first] <= most)
            ++end;
        visit(first, end);
        first = end;
    }
}

at::Tensor ragged_attention(at::Tensor const& queries, at::Tensor const& keys,
                            at::Tensor const& values, Ragged const& tokens, std::int64_t heads,
                            double scale, PieceLimits const& limits);

at::Tensor collision_means(at::Tensor const& embeddings, Collisions const& collisions,
                           PieceLimits const& limits);

at::Tensor causal_attention(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                            at::Tensor const& bias, Sequences const& sequences, std::int64_t heads,
                            double divisor, PieceLimits const& limits);

}  // namespace ckvsim::train::portable
