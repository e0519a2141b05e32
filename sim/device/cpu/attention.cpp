#include "device/cpu/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/attention.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, kLanePad>;
using IntTag = hn::RebindToSigned<FloatTag>;
using FloatVec = hn::Vec<FloatTag>;

HWY_INLINE FloatVec load(float const* from) { return hn::LoadU(FloatTag(), from); }
HWY_INLINE FloatVec load(std::uint16_t const* from) {
    hn::Rebind<hwy::float16_t, FloatTag> const half;
    hn::Rebind<std::uint16_t, FloatTag> const bits;
    return hn::PromoteTo(FloatTag(), hn::BitCast(half, hn::LoadU(bits, from)));
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

#endif

/// out[q][t] = q . rows[t], 4 tokens at a time so that a query's values are loaded once for all.
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
        FloatVec values[kTokenBlock];
        for (std::size_t t = 0; t < kTokenBlock; ++t) values[t] = load(rows[t] + i);
        for (std::size_t j = 0; j < kQueries; ++j) {
            auto const x = hn::LoadU(d, q[j] + i);
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                sums[j][t] = hn::MulAdd(x, values[t], sums[j][t]);
        }
    }
    for (std::size_t j = 0; j < kQueries; ++j) {
        sum_lanes(sums[j], out[j]);
        for (std::size_t rest = i; rest < count; ++rest) {
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                out[j][t] += q[j][rest] * load_one(rows[t] + rest);
        }
    }
}

/// out[q] += sum_t p[q][t] * rows[t], tokens in ascending order.
template <std::size_t kQueries, class Row>
HWY_INLINE void accumulate(float const* const (&p)[kQueries], Row const* const (&rows)[kTokenBlock],
                           std::size_t count, float* const (&out)[kQueries]) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    FloatVec weights[kQueries][kTokenBlock];
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t t = 0; t < kTokenBlock; ++t) weights[j][t] = hn::Set(d, p[j][t]);
    }
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        FloatVec sums[kQueries];
        for (std::size_t j = 0; j < kQueries; ++j) sums[j] = hn::LoadU(d, out[j] + i);
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            auto const value = load(rows[t] + i);
            for (std::size_t j = 0; j < kQueries; ++j)
                sums[j] = hn::MulAdd(weights[j][t], value, sums[j]);
        }
        for (std::size_t j = 0; j < kQueries; ++j) hn::StoreU(sums[j], d, out[j] + i);
    }
    for (; i < count; ++i) {
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            float const value = load_one(rows[t] + i);
            for (std::size_t j = 0; j < kQueries; ++j) out[j][i] += p[j][t] * value;
        }
    }
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
        auto e = hn::Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, scores + t), top), factor));
        if (t + lanes > tokens) {
            e = hn::IfThenElseZero(hn::FirstN(d, tokens > t ? tokens - t : 0), e);
        }
        hn::StoreU(e, d, scores + t);
        sum = hn::Add(sum, e);
    }
    auto const inverse = hn::Div(hn::Set(d, 1.0F), hn::SumOfLanes(d, sum));
    for (std::size_t t = 0; t < end; t += lanes)
        hn::StoreU(hn::Mul(hn::LoadU(d, scores + t), inverse), d, scores + t);
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

constexpr std::size_t kLineBytes = 64;
/// Rows are asked for this many bytes ahead: memory latency times bandwidth, and some.
constexpr std::size_t kAheadBytes = 8192;

HWY_INLINE void prefetch_block(void const* const* rows, std::size_t bytes) {
    for (std::size_t t = 0; t < kTokenBlock; ++t) {
        auto const* row = static_cast<char const*>(rows[t]);
        for (std::size_t b = 0; b < bytes; b += kLineBytes) hwy::Prefetch(row + b);
    }
}

/// Asks for the rows that one group of queries reads next: all of K, then all of V.
class RowsAhead {
  public:
    RowsAhead(AttentionCall const& call, std::size_t row_bytes, bool wanted)
        : call_(call),
          row_bytes_(row_bytes),
          slots_(row_slots(call.tokens)),
          ahead_(row_slots(std::max(kAheadBytes / row_bytes, kTokenBlock))),
          wanted_(wanted) {}
    /// Before the block of tokens at `first` of K is read.
    HWY_INLINE void at_k(std::size_t first) const {
        if (!wanted_) return;
        std::size_t const next = first + ahead_;
        if (next < slots_) {
            prefetch_block(call_.k.rows + next, row_bytes_);
        } else if (next - slots_ < slots_) {
            prefetch_block(call_.v.rows + (next - slots_), row_bytes_);
        }
    }
    HWY_INLINE void at_v(std::size_t first) const {
        if (wanted_ && first + ahead_ < slots_)
            prefetch_block(call_.v.rows + first + ahead_, row_bytes_);
    }

  private:
    AttentionCall const& call_;
    std::size_t row_bytes_;
    std::size_t slots_;
    std::size_t ahead_;
    bool wanted_;
};

template <class Row>
HWY_INLINE void block_rows(TokenRows const& side, std::size_t first,
                           Row const* (&rows)[kTokenBlock], std::size_t offset) {
    for (std::size_t t = 0; t < kTokenBlock; ++t)
        rows[t] = static_cast<Row const*>(side.rows[first + t]) + offset;
}

/// Attention of queries c .. c + kQueries. `scores` is [kQueries, heads, padded(tokens)].
template <std::size_t kQueries, class Row>
HWY_INLINE void attend_queries(AttentionCall const& call, std::size_t c, float* scores) {
    std::size_t const step = padded(call.tokens);
    std::size_t const slots = row_slots(call.tokens);
    std::size_t const d = call.heads * call.head_dim;
    float const* q[kQueries];
    float* out[kQueries];
    float* own[kQueries];
    for (std::size_t j = 0; j < kQueries; ++j) {
        q[j] = call.q + (c + j) * call.q_step;
        out[j] = call.out + (c + j) * call.out_step;
        own[j] = scores + j * call.heads * step;
        std::fill_n(out[j], d, 0.0F);
    }
    // Every row is read whole, in the order of the tokens, so that memory sees one stream; later
    // queries find the rows in a cache.
    RowsAhead const ahead(call, d * sizeof(Row), c == 0);
    for (std::size_t t = 0; t < slots; t += kTokenBlock) {
        ahead.at_k(t);
        for (std::size_t h = 0; h < call.heads; ++h) {
            Row const* rows[kTokenBlock];
            block_rows(call.k, t, rows, h * call.head_dim);
            float const* head_q[kQueries];
            float* head_scores[kQueries];
            for (std::size_t j = 0; j < kQueries; ++j) {
                head_q[j] = q[j] + h * call.head_dim;
                head_scores[j] = own[j] + h * step + t;
            }
            dots(head_q, rows, call.head_dim, head_scores);
        }
    }
    float const scale = 1.0F / std::sqrt(static_cast<float>(call.head_dim));
    std::size_t const pool_dims = d - call.user_dims;
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t u = 0; u < call.user_dims; ++u) {
            std::size_t const head = (pool_dims + u) / call.head_dim;
            add_user_scores(q[j][pool_dims + u], call.k.user + u * call.user_step, step,
                            own[j] + head * step);
        }
        for (std::size_t h = 0; h < call.heads; ++h) softmax(own[j] + h * step, call.tokens, scale);
    }
    for (std::size_t t = 0; t < slots; t += kTokenBlock) {
        ahead.at_v(t);
        for (std::size_t h = 0; h < call.heads; ++h) {
            Row const* rows[kTokenBlock];
            block_rows(call.v, t, rows, h * call.head_dim);
            float const* head_p[kQueries];
            float* head_out[kQueries];
            for (std::size_t j = 0; j < kQueries; ++j) {
                head_p[j] = own[j] + h * step + t;
                head_out[j] = out[j] + h * call.head_dim;
            }
            accumulate(head_p, rows, call.head_dim, head_out);
        }
    }
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t u = 0; u < call.user_dims; ++u) {
            std::size_t const head = (pool_dims + u) / call.head_dim;
            out[j][pool_dims + u] +=
                user_value(own[j] + head * step, call.v.user + u * call.user_step, step);
        }
    }
}

template <class Row>
HWY_INLINE void attend_rows(AttentionCall const& call, float* scratch) {
    std::size_t c = 0;
    for (; c + 2 <= call.count; c += 2) attend_queries<2, Row>(call, c, scratch);
    if (c < call.count) attend_queries<1, Row>(call, c, scratch);
}

void attend(AttentionCall const& call, float* scratch) {
    if (call.tokens == 0) {
        for (std::size_t c = 0; c < call.count; ++c)
            std::fill_n(call.out + c * call.out_step, call.heads * call.head_dim, 0.0F);
        return;
    }
    if (call.row_type == kv::ValueType::fp32) {
        attend_rows<float>(call, scratch);
    } else {
        attend_rows<std::uint16_t>(call, scratch);
    }
}

template <std::size_t kQueries, class Key>
HWY_INLINE void search_queries(SearchCall const& call, std::size_t c) {
    auto const* keys = static_cast<Key const*>(call.keys);
    float const* q[kQueries];
    for (std::size_t j = 0; j < kQueries; ++j) q[j] = call.q + (c + j) * call.q_step;
    for (std::size_t first = 0; first < call.tokens; first += kTokenBlock) {
        Key const* rows[kTokenBlock];
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            std::size_t const token = std::min(first + t, call.tokens - 1);
            rows[t] = keys + (call.ids != nullptr ? call.ids[token] : token) * call.width;
        }
        if (call.ids != nullptr) {
            // Far enough ahead to hide the memory latency of keys that lie scattered in a table.
            constexpr std::size_t kAhead = 32;
            std::size_t const end = std::min(first + kAhead + kTokenBlock, call.tokens);
            for (std::size_t t = first + kAhead; t < end; ++t) {
                auto const* key = reinterpret_cast<char const*>(keys + call.ids[t] * call.width);
                for (std::size_t b = 0; b < call.width * sizeof(Key); b += kLineBytes)
                    hwy::Prefetch(key + b);
            }
        }
        float* scores[kQueries];
        for (std::size_t j = 0; j < kQueries; ++j)
            scores[j] = call.scores + (c + j) * call.scores_step + first;
        dots(q, rows, call.width, scores);
    }
}

template <class Key>
HWY_INLINE void search_keys(SearchCall const& call) {
    std::size_t c = 0;
    for (; c + 2 <= call.count; c += 2) search_queries<2, Key>(call, c);
    if (c < call.count) search_queries<1, Key>(call, c);
}

void search_scores(SearchCall const& call) {
    if (call.key_type == kv::ValueType::fp32) {
        search_keys<float>(call);
    } else {
        search_keys<std::uint16_t>(call);
    }
}

/// Number of keys >= threshold among whole vectors.
HWY_INLINE std::size_t count_at_least(std::int32_t const* keys, std::size_t end,
                                      std::int32_t threshold) {
    IntTag const d;
    auto const wanted = hn::Set(d, threshold);
    std::size_t below = 0;
    for (std::size_t i = 0; i < end; i += hn::Lanes(d))
        below += hn::CountTrue(d, hn::Gt(wanted, hn::LoadU(d, keys + i)));
    return end - below;
}

/// The k-th largest of keys [padded count], found bit by bit from the top. Stops early when a
/// threshold keeps exactly k; `kept` is how many keys are not below the result.
HWY_INLINE std::int32_t kth_largest(std::int32_t const* keys, std::size_t end, std::size_t count,
                                    std::size_t k, std::size_t& kept) {
    std::uint32_t prefix = 0;
    std::int32_t threshold = std::numeric_limits<std::int32_t>::min();
    kept = count;
    for (std::uint32_t bit = 0x80000000U; bit != 0 && kept != k; bit >>= 1) {
        auto const trial = static_cast<std::int32_t>((prefix | bit) ^ 0x80000000U);
        std::size_t const above = count_at_least(keys, end, trial);
        if (above < k) continue;
        prefix |= bit;
        threshold = trial;
        kept = above;
    }
    return threshold;
}

/// Integer keys with the order of the floats, minimum in the padding. Adding zero merges -0 with
/// +0, which compare equal.
HWY_INLINE void ordered_keys(float* scores, std::size_t count, std::int32_t* keys) {
    FloatTag const d;
    IntTag const di;
    std::size_t const end = padded(count);
    std::fill(scores + count, scores + end, 0.0F);
    auto const magnitude = hn::Set(di, std::numeric_limits<std::int32_t>::max());
    for (std::size_t t = 0; t < end; t += hn::Lanes(d)) {
        auto const bits = hn::BitCast(di, hn::Add(hn::LoadU(d, scores + t), hn::Zero(d)));
        hn::StoreU(hn::Xor(bits, hn::And(hn::BroadcastSignBit(bits), magnitude)), di, keys + t);
    }
    std::fill(keys + count, keys + end, std::numeric_limits<std::int32_t>::min());
}

/// A lower bound of the k-th largest key: the k-th largest of the maxima of `groups` disjoint
/// groups (k <= groups, a multiple of kLanePad). `maxima` has room for `groups`.
HWY_INLINE std::int32_t bound_from_groups(std::int32_t const* keys, std::size_t end, std::size_t k,
                                          std::size_t groups, std::int32_t* maxima) {
    IntTag const d;
    std::copy_n(keys, groups, maxima);
    for (std::size_t first = groups; first < end; first += groups) {
        std::size_t const width = std::min(groups, end - first);
        for (std::size_t i = 0; i < width; i += hn::Lanes(d)) {
            auto const best = hn::Max(hn::LoadU(d, maxima + i), hn::LoadU(d, keys + first + i));
            hn::StoreU(best, d, maxima + i);
        }
    }
    std::size_t kept = 0;
    return kth_largest(maxima, groups, groups, k, kept);
}

/// Moves keys >= bound to the front and their positions to `places`; returns their number.
HWY_INLINE std::size_t keep_at_least(std::int32_t* keys, std::size_t count, std::int32_t bound,
                                     std::uint32_t* places) {
    IntTag const d;
    std::size_t const lanes = hn::Lanes(d);
    auto const wanted = hn::Set(d, bound);
    std::size_t kept = 0;
    for (std::size_t first = 0; first < count; first += lanes) {
        if (hn::AllTrue(d, hn::Gt(wanted, hn::LoadU(d, keys + first)))) continue;
        std::size_t const last = std::min(first + lanes, count);
        for (std::size_t t = first; t < last; ++t) {
            std::int32_t const key = keys[t];
            keys[kept] = key;
            places[kept] = static_cast<std::uint32_t>(t);
            kept += key >= bound ? 1 : 0;
        }
    }
    return kept;
}

std::uint32_t select_top(float* scores, std::size_t count, std::uint32_t k, std::int32_t* keys,
                         std::uint32_t* places, std::uint32_t* positions) {
    if (count <= k) {
        for (std::size_t t = 0; t < count; ++t) positions[t] = static_cast<std::uint32_t>(t);
        return static_cast<std::uint32_t>(count);
    }
    ordered_keys(scores, count, keys);
    // Most keys are far below the k-th largest: a cheap bound removes them before the exact search.
    // Four groups for each wanted key leave about 1.2 k keys.
    std::size_t const groups = padded(4 * std::size_t{k});
    std::size_t left = count;
    if (k > 0 && 2 * groups <= count) {
        auto* maxima = reinterpret_cast<std::int32_t*>(places);  // not in use yet
        std::int32_t const bound = bound_from_groups(keys, padded(count), k, groups, maxima);
        left = keep_at_least(keys, count, bound, places);
        std::fill(keys + left, keys + padded(left), std::numeric_limits<std::int32_t>::min());
    } else {
        for (std::size_t t = 0; t < count; ++t) places[t] = static_cast<std::uint32_t>(t);
    }
    std::size_t kept = 0;
    std::int32_t const threshold = kth_largest(keys, padded(left), left, k, kept);
    std::size_t surplus = kept - k;  // equal scores at the threshold: the oldest of them stay out
    std::uint32_t chosen = 0;
    for (std::size_t i = 0; i < left && chosen < k; ++i) {
        if (keys[i] < threshold) continue;
        if (surplus > 0 && keys[i] == threshold) {
            --surplus;
            continue;
        }
        positions[chosen++] = places[i];
    }
    return chosen;
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(attend);
HWY_EXPORT(search_scores);
HWY_EXPORT(select_top);

void attend(AttentionCall const& call, float* scratch) {
    HWY_DYNAMIC_DISPATCH(attend)(call, scratch);
}
void search_scores(SearchCall const& call) { HWY_DYNAMIC_DISPATCH(search_scores)(call); }
std::uint32_t select_top(float* scores, std::size_t count, std::uint32_t k, std::int32_t* keys,
                         std::uint32_t* places, std::uint32_t* positions) {
    return HWY_DYNAMIC_DISPATCH(select_top)(scores, count, k, keys, places, positions);
}

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
