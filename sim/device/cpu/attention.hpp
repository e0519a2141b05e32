// Vector kernels of the attention stage, dispatched at run time: search scores, choice of the top
// k, target attention. Every query's result depends only on its own tokens, and in attend() with
// softmax on whether its request has kWideQueries or more (sim/docs/adr/0012-wide-attention.md):
// otherwise the number of queries and how they are blocked change no bit.
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
/// dimensions (where the rows then hold zeros); means nothing when user_dims = 0. So a pool row is
/// read in place and never joined with a token's own part.
struct TokenRows {
    void const* const* rows = nullptr;
    float const* user = nullptr;
    /// [tokens] into `rows`, where tokens share rows: each row is then read once, its score spread
    /// to its tokens, and its tokens' weights summed before V is read. Null: token t has row t.
    std::uint32_t const* places = nullptr;
    std::size_t distinct = 0;  ///< rows, with places
    bool near = false;         ///< in the caches already: asking for rows ahead would only cost
    std::size_t user_dims = 0;
    [[nodiscard]] std::size_t count(std::size_t tokens) const {
        return places == nullptr ? tokens : distinct;
    }
};

/// Tables up to this size are in a core's L2 cache, or almost, once requests have used them.
inline constexpr std::size_t kNearBytes = std::size_t{1} << 19;

/// What a score becomes: its share of a softmax over the tokens, or silu(score) / divisor, the
/// attention of HSTU.
enum class Weighting : std::uint8_t { softmax, silu };

/// From so many queries on, K and V are packed for a softmax: sums run in another order, so that a
/// query's bits differ, by rounding, from those among fewer queries. Among themselves neither the
/// many nor the few differ in a bit whatever their number.
inline constexpr std::size_t kWideQueries = 64;

/// Target attention of `count` queries over the same tokens: softmax(q . k / sqrt(head_dim)) v per
/// head, or with silu in place of softmax. No tokens give zeros. Steps in floats.
struct AttentionCall {
    float const* q = nullptr;
    std::size_t q_step = 0;
    std::size_t count = 0;
    std::size_t together = 0;  ///< queries of the request that these are a part of; 0 = count.
                               ///< kWideQueries of them make the wide form
    std::size_t heads = 1;
    std::size_t head_dim = 0;
    kv::ValueType row_type = kv::ValueType::fp32;  ///< or fp16; others: quantised_rows.hpp
    Weighting weighting = Weighting::softmax;
    float scale = 0.0F;    ///< of scores; 0 = 1 / sqrt(head_dim)
    float divisor = 1.0F;  ///< silu only
    /// silu only, added to scaled scores; null = none: query j adds bias[h * bias_step + t - j *
    /// bias_shift] to token t. Shift 1 = every query stands one position after the query before.
    /// Readable, though without effect, up to t = padded(tokens).
    float const* bias = nullptr;
    std::size_t bias_step = 0;
    std::size_t bias_shift = 0;
    /// silu only, causal: query j sees the first seen + j tokens; 0 = every query sees all.
    std::size_t seen = 0;
    TokenRows k;
    TokenRows v;
    std::size_t tokens = 0;
    std::size_t user_step = 0;  ///< padded(tokens); of K and V
    float* out = nullptr;       ///< [count, heads * head_dim], row step out_step
    std::size_t out_step = 0;
};

/// Floats of scratch that attend() needs for this call (q and out may still be null).
std::size_t attention_scratch(AttentionCall const& call);
void attend(AttentionCall const& call, float* scratch);

/// attend() in two halves, so that many requests can read K before any reads V and each pool stays
/// in a cache: weights of the tokens (and `out` of the user dimensions), then sums of V. The same
/// bits as attend() of fewer than kWideQueries. `weights` has attention_weights(call) floats and
/// lives between the halves.
std::size_t attention_weights(AttentionCall const& call);
void attend_keys(AttentionCall const& call, float* weights);
void attend_values(AttentionCall const& call, float* weights);

/// scores [tokens] -> softmax(scale * scores), zero up to padded(tokens).
void softmax_in_place(float* scores, std::size_t tokens, float scale);

/// Scores of `count` queries [width] against the search keys of all tokens. Key t starts at element
/// ids[t] * key_step of `keys`, or t * key_step when ids is null.
struct SearchCall {
    float const* q = nullptr;
    std::size_t q_step = 0;
    std::size_t count = 0;
    std::size_t width = 0;
    std::size_t key_step = 0;
    /// int8 and int4, whose values have no addresses: bytes from key to key (0 = back to back), and
    /// values that a key holds (0 = width); what follows them counts as zero.
    std::size_t key_bytes = 0;
    std::size_t held = 0;
    kv::ValueType key_type = kv::ValueType::fp32;  ///< or fp16; others: quantised_rows.hpp
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
