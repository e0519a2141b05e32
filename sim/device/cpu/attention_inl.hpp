// Vector parts that the attention kernels share, compiled once per instruction set: include it
// after hwy/foreach_target.h, inside no namespace. The order of every sum is fixed here.
// NOLINTBEGIN: Highway's include guard, toggled for every instruction set.
#if defined(CKVSIM_DEVICE_CPU_ATTENTION_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef CKVSIM_DEVICE_CPU_ATTENTION_INL
#undef CKVSIM_DEVICE_CPU_ATTENTION_INL
#else
#define CKVSIM_DEVICE_CPU_ATTENTION_INL
#endif
// NOLINTEND

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "device/cpu/attention_sizes.hpp"
#include "device/cpu/exp_inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// What no whole vector covers is taken in steps of four, then one by one.
using FewTag = hn::CappedTag<float, 4>;
using FewVec = hn::Vec<FewTag>;

template <class Tag>
HWY_INLINE hn::Vec<Tag> load(Tag d, float const* from) {
    return hn::LoadU(d, from);
}
template <class Tag>
HWY_INLINE hn::Vec<Tag> load(Tag d, std::uint16_t const* from) {
    hn::Rebind<hwy::float16_t, Tag> const half;
    hn::Rebind<std::uint16_t, Tag> const bits;
    return hn::PromoteTo(d, hn::BitCast(half, hn::LoadU(bits, from)));
}
template <class Row>
HWY_INLINE FloatVec load(Row const* from) {
    return load(FloatTag(), from);
}
HWY_INLINE float load_one(float const* from) { return *from; }
HWY_INLINE float load_one(std::uint16_t const* from) {
    hn::CappedTag<float, 1> const one;
    hn::Rebind<hwy::float16_t, decltype(one)> const half;
    hn::Rebind<std::uint16_t, decltype(one)> const bits;
    return hn::GetLane(hn::PromoteTo(one, hn::BitCast(half, hn::LoadU(bits, from))));
}

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void sum_lanes(FloatVec const (&v)[kTokenBlock], float* out) {
    for (std::size_t t = 0; t < kTokenBlock; ++t) out[t] = hn::GetLane(v[t]);
}
#else
/// Adds the 128-bit blocks of `sums` pairwise until one is left, and stores it.
template <class Tag>
HWY_INLINE void store_block_sum(Tag d, hn::Vec<Tag> sums, float* out) {
    if constexpr (hn::MaxLanes(Tag()) > 4) {
        hn::Half<Tag> const half;
        store_block_sum(half, hn::Add(hn::LowerHalf(half, sums), hn::UpperHalf(half, sums)), out);
    } else {
        hn::StoreU(sums, d, out);
    }
}

/// out[0 .. 4) = the sums of the lanes of four vectors: transposes while adding.
HWY_INLINE void sum_lanes(FloatVec const (&v)[kTokenBlock], float* out) {
    FloatTag const d;
    hn::Repartition<double, FloatTag> const wide;
    auto const ab = hn::Add(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
    auto const cd = hn::Add(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3]));
    auto const low = hn::InterleaveLower(wide, hn::BitCast(wide, ab), hn::BitCast(wide, cd));
    auto const high = hn::InterleaveUpper(wide, hn::BitCast(wide, ab), hn::BitCast(wide, cd));
    store_block_sum(d, hn::Add(hn::BitCast(d, low), hn::BitCast(d, high)), out);
}

/// columns[i][t] = rows[t][i] of four rows of four values, in every 128-bit block of the vectors.
template <class Tag, class V = hn::Vec<Tag> >
HWY_INLINE void transpose(Tag d, V const (&rows)[kTokenBlock], V (&columns)[kTokenBlock]) {
    hn::Repartition<double, Tag> const wide;
    auto const join = [&](V a, V b, V& low, V& high) {
        auto const x = hn::BitCast(wide, a);
        auto const y = hn::BitCast(wide, b);
        low = hn::BitCast(d, hn::InterleaveLower(wide, x, y));
        high = hn::BitCast(d, hn::InterleaveUpper(wide, x, y));
    };
    join(hn::InterleaveLower(d, rows[0], rows[1]), hn::InterleaveLower(d, rows[2], rows[3]),
         columns[0], columns[1]);
    join(hn::InterleaveUpper(d, rows[0], rows[1]), hn::InterleaveUpper(d, rows[2], rows[3]),
         columns[2], columns[3]);
}

#endif

/// a * b + c in one lane, rounded as the vectors round it.
HWY_INLINE float multiply_add(float a, float b, float c) {
    hn::CappedTag<float, 1> const one;
    return hn::GetLane(hn::MulAdd(hn::Set(one, a), hn::Set(one, b), hn::Set(one, c)));
}

/// The products of dots() that no whole vector covers. Steps of four add a row's products one after
/// the other, too (a lane is a token): the same bits as one by one. Out of line: it would take the
/// registers.
template <std::size_t kQueries, class Row>
HWY_NOINLINE void dots_tail(float const* const* q, Row const* const* rows, std::size_t first,
                            std::size_t count, float* const* out) {
#if HWY_TARGET != HWY_SCALAR
    FewTag const d;
    for (; first + kTokenBlock <= count; first += kTokenBlock) {
        FewVec values[kTokenBlock];
        FewVec columns[kTokenBlock];
        for (std::size_t t = 0; t < kTokenBlock; ++t) values[t] = load(d, rows[t] + first);
        transpose(d, values, columns);
        for (std::size_t j = 0; j < kQueries; ++j) {
            auto sums = hn::LoadU(d, out[j]);
            for (std::size_t i = 0; i < kTokenBlock; ++i)
                sums = hn::MulAdd(hn::Set(d, q[j][first + i]), columns[i], sums);
            hn::StoreU(sums, d, out[j]);
        }
    }
#endif
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t i = first; i < count; ++i) {
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                out[j][t] = multiply_add(q[j][i], load_one(rows[t] + i), out[j][t]);
        }
    }
}

/// out[q][t] = q . rows[t], 4 tokens at a time so that a query's values are loaded once for all.
/// Three queries fill 16 registers: 12 sums, 3 queries, 1 row.
template <std::size_t kQueries, class Row>
HWY_INLINE void dots(float const* const (&q)[kQueries], Row const* const (&rows)[kTokenBlock],
                     std::size_t count, float* const (&out)[kQueries]) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    FloatVec sums[kQueries][kTokenBlock];
    for (auto& query : sums) {
        for (auto& sum : query) sum = hn::Zero(d);
    }
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        FloatVec x[kQueries];
        for (std::size_t j = 0; j < kQueries; ++j) x[j] = hn::LoadU(d, q[j] + i);
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            auto const value = load(rows[t] + i);
            for (std::size_t j = 0; j < kQueries; ++j)
                sums[j][t] = hn::MulAdd(x[j], value, sums[j][t]);
        }
    }
    for (std::size_t j = 0; j < kQueries; ++j) sum_lanes(sums[j], out[j]);
    if (i < count) dots_tail<kQueries>(q, rows, i, count, out);
}

/// Zeroes the lanes of `v` that lie beyond `tokens` when it starts at token t.
HWY_INLINE FloatVec keep_tokens(FloatVec v, std::size_t t, std::size_t tokens) {
    FloatTag const d;
    if (t + hn::Lanes(d) <= tokens) return v;
    return hn::IfThenElseZero(hn::FirstN(d, tokens > t ? tokens - t : 0), v);
}

/// Turns scores [tokens] into softmax(scale * scores), zero in the padding up to padded(tokens).
HWY_INLINE void softmax(float* scores, std::size_t tokens, float scale) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    std::size_t const end = padded(tokens);
    std::fill(scores + tokens, scores + end, scores[0]);
    auto best = hn::LoadU(d, scores);
    for (std::size_t t = lanes; t < end; t += lanes) best = hn::Max(best, hn::LoadU(d, scores + t));
    auto const top = hn::MaxOfLanes(d, best);
    auto const factor = hn::Set(d, scale);
    auto sum = hn::Zero(d);
    for (std::size_t t = 0; t < end; t += lanes) {
        auto const x = hn::Mul(hn::Sub(hn::LoadU(d, scores + t), top), factor);
        auto const e = keep_tokens(exp_of_negative(x), t, tokens);
        hn::StoreU(e, d, scores + t);
        sum = hn::Add(sum, e);
    }
    auto const inverse = hn::Div(hn::Set(d, 1.0F), hn::SumOfLanes(d, sum));
    for (std::size_t t = 0; t < end; t += lanes)
        hn::StoreU(hn::Mul(hn::LoadU(d, scores + t), inverse), d, scores + t);
}

/// Turns scores [tokens] of query number `query` and one head into silu(scale * scores + bias) /
/// divisor, zero for tokens that the query does not see and in the padding.
HWY_INLINE void silu_weights(AttentionCall const& call, std::size_t query, std::size_t head,
                             float scale, float* scores) {
    FloatTag const d;
    std::size_t const seen =
        call.seen == 0 ? call.tokens : std::min(call.tokens, call.seen + query);
    float const* bias = call.bias == nullptr
                            ? nullptr
                            : call.bias + head * call.bias_step - query * call.bias_shift;
    auto const factor = hn::Set(d, scale);
    auto const share = hn::Set(d, 1.0F / call.divisor);
    for (std::size_t t = 0; t < padded(call.tokens); t += hn::Lanes(d)) {
        auto sum = hn::Mul(hn::LoadU(d, scores + t), factor);
        if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + t));
        auto const x = keep_tokens(sum, t, seen);
        hn::StoreU(hn::Mul(silu_of(x), share), d, scores + t);
    }
}

/// scores[t] += value * user[t] over whole vectors.
HWY_INLINE void add_user_scores(float value, float const* user, std::size_t end, float* scores) {
    FloatTag const d;
    auto const factor = hn::Set(d, value);
    for (std::size_t t = 0; t < end; t += hn::Lanes(d)) {
        auto const sum = hn::MulAdd(factor, hn::LoadU(d, user + t), hn::LoadU(d, scores + t));
        hn::StoreU(sum, d, scores + t);
    }
}

/// sum_t p[t] * user[t] over whole vectors (p is zero in the padding).
HWY_INLINE float user_value(float const* p, float const* user, std::size_t end) {
    FloatTag const d;
    auto sum = hn::Zero(d);
    for (std::size_t t = 0; t < end; t += hn::Lanes(d))
        sum = hn::MulAdd(hn::LoadU(d, p + t), hn::LoadU(d, user + t), sum);
    return hn::GetLane(hn::SumOfLanes(d, sum));
}

/// Where the scores of one query and head lie: of its tokens, and (shared rows) of its rows.
struct Scores {
    float* tokens = nullptr;
    float* rows = nullptr;
    /// What the products with K are written to.
    [[nodiscard]] HWY_INLINE float* products(AttentionCall const& call) const {
        return call.k.places == nullptr ? tokens : rows;
    }
    /// Weights of V's rows.
    [[nodiscard]] HWY_INLINE float* weights(AttentionCall const& call) const {
        return call.v.places == nullptr ? tokens : rows;
    }
};

HWY_INLINE Scores scores_at(AttentionCall const& call, float* base, std::size_t index) {
    float* tokens = base + index * score_floats(call);
    return {tokens, shares_rows(call) ? tokens + padded(call.tokens) : nullptr};
}

/// to[t] = from[places[t]].
HWY_INLINE void spread(float const* from, std::uint32_t const* places, std::size_t count,
                       float* to) {
    FloatTag const d;
    hn::RebindToSigned<FloatTag> const di;
    std::size_t t = 0;
    for (; t + hn::Lanes(d) <= count; t += hn::Lanes(d)) {
        auto const at = hn::LoadU(di, reinterpret_cast<std::int32_t const*>(places + t));
        hn::StoreU(hn::GatherIndex(d, from, at), d, to + t);
    }
    for (; t < count; ++t) to[t] = from[places[t]];
}

/// Products with K -> weights of V's rows, of query number `query`, q [d], and one head; `out` [d]
/// gets the user dimensions.
HWY_NOINLINE inline void weigh(AttentionCall const& call, std::size_t query, float const* q,
                               std::size_t head, Scores const& scores, float* out) {
    std::size_t const step = padded(call.tokens);
    std::size_t const d = call.heads * call.head_dim;
    std::size_t const own_keys = d - call.k.user_dims;  // the first dimension of the user part
    std::size_t const own_values = d - call.v.user_dims;
    if (call.k.places != nullptr) {
        spread(scores.rows, call.k.places, call.tokens, scores.tokens);
    }
    auto const in_head = [&](std::size_t i) { return i / call.head_dim == head; };
    for (std::size_t u = 0; u < call.k.user_dims; ++u) {
        if (!in_head(own_keys + u)) continue;
        add_user_scores(q[own_keys + u], call.k.user + u * call.user_step, step, scores.tokens);
    }
    float const scale =
        call.scale != 0.0F ? call.scale : 1.0F / std::sqrt(static_cast<float>(call.head_dim));
    if (call.weighting == Weighting::softmax) {
        softmax(scores.tokens, call.tokens, scale);
    } else {
        silu_weights(call, query, head, scale, scores.tokens);
    }
    for (std::size_t u = 0; u < call.v.user_dims; ++u) {
        if (!in_head(own_values + u)) continue;
        out[own_values + u] = user_value(scores.tokens, call.v.user + u * call.user_step, step);
    }
    if (call.v.places == nullptr) return;
    std::fill_n(scores.rows, padded(call.v.distinct), 0.0F);
    for (std::size_t t = 0; t < call.tokens; ++t) scores.rows[call.v.places[t]] += scores.tokens[t];
}

constexpr std::size_t kLineBytes = 64;

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
