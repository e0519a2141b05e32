#include "device/cpu/attention.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/attention.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include "device/cpu/attention_inl.hpp"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;

template <std::size_t kQueries, class Key>
HWY_INLINE void search_queries(SearchCall const& call, std::size_t c) {
    auto const* keys = static_cast<Key const*>(call.keys);
    float const* q[kQueries];
    for (std::size_t j = 0; j < kQueries; ++j) q[j] = call.q + (c + j) * call.q_step;
    for (std::size_t first = 0; first < call.tokens; first += kTokenBlock) {
        Key const* rows[kTokenBlock];
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            std::size_t const token = std::min(first + t, call.tokens - 1);
            rows[t] = keys + (call.ids != nullptr ? call.ids[token] : token) * call.key_step;
        }
        if (call.ids != nullptr) {
            // Far enough ahead to hide the memory latency of keys that lie scattered in a table.
            constexpr std::size_t kAhead = 32;
            std::size_t const end = std::min(first + kAhead + kTokenBlock, call.tokens);
            for (std::size_t t = first + kAhead; t < end; ++t) {
                auto const* key = reinterpret_cast<char const*>(keys + call.ids[t] * call.key_step);
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

HWY_EXPORT(search_scores);
HWY_EXPORT(select_top);

void search_scores(SearchCall const& call) { HWY_DYNAMIC_DISPATCH(search_scores)(call); }
std::uint32_t select_top(float* scores, std::size_t count, std::uint32_t k, std::int32_t* keys,
                         std::uint32_t* places, std::uint32_t* positions) {
    return HWY_DYNAMIC_DISPATCH(select_top)(scores, count, k, keys, places, positions);
}

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
