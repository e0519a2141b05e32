// What the attention kernels of the GPU are called with: plain structs of addresses and numbers,
// read by host and device. Addresses are the device's.
#pragma once

#include <cstdint>

namespace ckvsim::device::cuda {

/// K or V of one request's tokens. Token t reads row index[t] of `rows`, or row t when index is
/// null (index_bytes = 0): entries of `full` lie in the entry, those of `item_table` and
/// `collective` in one table for all requests. `user`, [tokens, user_dims] of the row type,
/// replaces the last user_dims values of every row; so a pool row and a token's own part are never
/// joined in memory.
struct TokenRows {
    void const* rows = nullptr;
    void const* index = nullptr;
    void const* user = nullptr;
};

/// One request: its candidates attend over its tokens.
struct AttentionRequest {
    float const* q = nullptr;  ///< [candidates, heads * head_dim], row step q_step
    float* out = nullptr;      ///< as q, row step out_step; zeros when there are no tokens
    TokenRows k;
    TokenRows v;
    std::uint32_t tokens = 0;
    std::uint32_t candidates = 0;
};

/// How a score becomes a weight: softmax over the tokens, or silu(score) / silu_divisor (HSTU).
enum class Weighting : std::uint8_t { softmax, silu };

/// What all requests of a batch have in common. Steps in values; score = scale * (q . k).
struct AttentionShape {
    std::uint32_t heads = 1;
    std::uint32_t head_dim = 0;
    std::uint32_t user_dims = 0;    ///< d_u, <= heads * head_dim
    std::uint32_t index_bytes = 0;  ///< 0 (row t is token t), 1, 2 or 4
    std::uint32_t row_step = 0;
    std::uint32_t q_step = 0;
    std::uint32_t out_step = 0;
    Weighting weighting = Weighting::softmax;
    float scale = 1.0F;
    float silu_divisor = 1.0F;

    [[nodiscard]] constexpr std::uint32_t width() const { return heads * head_dim; }
};

/// Arguments of every attention kernel. A block is (request, tile of candidates, split of the
/// tokens, head), the head fastest: the heads of a row lie side by side in memory.
struct AttentionArgs {
    AttentionShape shape;
    AttentionRequest const* requests = nullptr;
    std::uint32_t splits = 1;          ///< parts of a request's tokens, each in a block of its own
    std::uint32_t tiles = 1;           ///< tiles of candidates
    std::uint32_t max_candidates = 0;  ///< of any request
    std::uint32_t vector_copies = 0;   ///< 1: rows start and end at multiples of 16 bytes
    /// With splits > 1: largest score, sum of weights and head_dim weighted sums of each
    /// (request, candidate, head, split).
    float* partials = nullptr;
};

/// Floats of one partial result.
constexpr std::uint32_t partial_step(std::uint32_t head_dim) { return head_dim + 2; }

}  // namespace ckvsim::device::cuda
