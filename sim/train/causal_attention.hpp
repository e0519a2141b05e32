// Self-attention of HSTU over sequences of different lengths in one array, without padding: query i
// of a sequence sees the tokens up to its own, with weights silu(q . k + bias of the distance) /
// divisor (model/sim.hpp). Nothing of size tokens x tokens is stored: backward computes scores
// again. OpenMP-parallel over sequences; a result does not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ckvsim::train {

/// Biases of a head: one per distance up to 15, then 16 in equal steps of the distance's logarithm
/// up to 128; all farther distances have the last.
inline constexpr std::size_t kPositionBuckets = 32;
std::size_t position_bucket(std::size_t distance);

/// Which rows belong together. Sequence s has the keys and values [tokens[s], tokens[s + 1]) and
/// the queries [queries[s], queries[s + 1]), those of its last tokens.
struct Sequences {
    std::vector<std::uint32_t> tokens{0};
    std::vector<std::uint32_t> queries{0};
    [[nodiscard]] std::size_t size() const { return tokens.size() - 1; }
    void add(std::size_t token_count, std::size_t query_count) {
        tokens.push_back(tokens.back() + static_cast<std::uint32_t>(token_count));
        queries.push_back(queries.back() + static_cast<std::uint32_t>(query_count));
    }
};

/// Width of q, k, v and out; head h owns [h * width / heads, (h + 1) * width / heads).
struct CausalShape {
    std::size_t heads = 1;
    std::size_t width = 0;
    float divisor = 1.0F;
};

/// q and out [queries, width], k and v [tokens, width], bias [heads, kPositionBuckets].
void causal_attention_forward(CausalShape const& shape, Sequences const& sequences, float const* q,
                              float const* k, float const* v, float const* bias, float* out);

/// Gradients for the gradient grad_out of out; all are added to.
struct CausalGradients {
    float* q = nullptr;
    float* k = nullptr;
    float* v = nullptr;
    float* bias = nullptr;
};
void causal_attention_backward(CausalShape const& shape, Sequences const& sequences, float const* q,
                               float const* k, float const* v, float const* bias,
                               float const* grad_out, CausalGradients const& gradients);

}  // namespace ckvsim::train
