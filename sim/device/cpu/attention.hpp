// Vector kernels of the attention stage, dispatched at run time: search scores, choice of the top
// k, target attention. Every query's result depends only on its own tokens: the number of queries
// and how they are blocked change no bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cpu/kernels.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::device::cpu {

/// Tokens handled together. Arrays of row pointers have row_slots(tokens) elements; those beyond
/// the last token repeat a valid row.
inline constexpr std::size_t kTokenBlock = 4;
constexpr std::size_t row_slots(std::size_t tokens) {
    return (tokens + kTokenBlock - 1) / kTokenBlock * kTokenBlock;
}

/// K or V of the tokens that a group of queries attends to. A row has heads * head_dim values of
/// the call's row type. `user`, [user_dims, user_step], adds values of the last user_dims
/// dimensions (where the rows then hold zeros); null when user_dims = 0. So a pool row is read in
/// place and never joined with a token's own part.
struct TokenRows {
    void const* const* rows = nullptr;
    float const* user = nullptr;
};

/// Target attention of `count` queries over the same tokens: softmax(q . k / sqrt(head_dim)) v per
/// head. No tokens give zeros. Steps in floats.
struct AttentionCall {
    float const* q = nullptr;
    std::size_t q_step = 0;
    std::size_t count = 0;
    std::size_t heads = 1;
    std::size_t head_dim = 0;
    kv::ValueType row_type = kv::ValueType::fp32;
    TokenRows k;
    TokenRows v;
    std::size_t tokens = 0;
    std::size_t user_dims = 0;
    std::size_t user_step = 0;  ///< padded(tokens)
    float* out = nullptr;       ///< [count, heads * head_dim], row step out_step
    std::size_t out_step = 0;
};

/// Floats of scratch that attend() needs.
constexpr std::size_t attention_scratch(std::size_t heads, std::size_t tokens) {
    return 2 * heads * padded(tokens);
}
void attend(AttentionCall const& call, float* scratch);

/// Scores of `count` queries [width] against the search keys of all tokens. Key t starts at element
/// ids[t] * width of `keys`, or t * width when ids is null.
struct SearchCall {
    float const* q = nullptr;
    std::size_t q_step = 0;
    std::size_t count = 0;
    std::size_t width = 0;
    kv::ValueType key_type = kv::ValueType::fp32;
    void const* keys = nullptr;
    std::uint32_t const* ids = nullptr;
    std::size_t tokens = 0;
    float* scores = nullptr;      ///< [count, scores_step]
    std::size_t scores_step = 0;  ///< >= padded(tokens); values beyond `tokens` are undefined
};
void search_scores(SearchCall const& call);

/// Elements of scratch that select_top() needs, of each kind.
constexpr std::size_t selection_scratch(std::size_t count) { return padded(count) + kLanePad; }

/// Positions of the k highest of `count` scores, ascending; of equal scores the later position
/// wins. Reads and overwrites scores[0 .. padded(count)). `keys` and `places` have
/// selection_scratch(count) elements. Returns min(k, count).
std::uint32_t select_top(float* scores, std::size_t count, std::uint32_t k, std::int32_t* keys,
                         std::uint32_t* places, std::uint32_t* positions);

}  // namespace ckvsim::device::cpu
