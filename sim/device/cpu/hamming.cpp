#include "device/cpu/hamming.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.hpp"

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/hamming.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// What no limit reaches: signatures have 64 bits at most.
constexpr std::uint8_t kBeyond = 127;

/// Distances fit signed bytes, which every instruction set compares.
using ByteTag = hn::CappedTag<std::int8_t, kDistancePad>;

/// Counts of a vector of words as bytes.
template <class Word>
HWY_INLINE auto narrow(hn::Vec<hn::ScalableTag<Word>> counts) {
    if constexpr (sizeof(Word) == 1) {
        return counts;
    } else {
        return hn::TruncateTo(hn::Rebind<std::uint8_t, hn::ScalableTag<Word>>(), counts);
    }
}

template <class Word>
HWY_INLINE void distances_of(std::uint64_t query, std::byte const* signatures, std::size_t tokens,
                             std::uint8_t* distances) {
    hn::ScalableTag<Word> const d;
    hn::Rebind<std::uint8_t, decltype(d)> const bytes;
    auto const* words = reinterpret_cast<Word const*>(signatures);
    auto const wanted = static_cast<Word>(query);
    auto const all = hn::Set(d, wanted);
    std::size_t t = 0;
    for (; t + hn::Lanes(d) <= tokens; t += hn::Lanes(d)) {
        auto const counts = hn::PopulationCount(hn::Xor(all, hn::LoadU(d, words + t)));
        hn::StoreU(narrow<Word>(counts), bytes, distances + t);
    }
    for (; t < tokens; ++t) {
        auto const differing = static_cast<Word>(words[t] ^ wanted);
        distances[t] = static_cast<std::uint8_t>(std::popcount(differing));
    }
}

void hamming_distances(std::uint64_t query, std::byte const* signatures, std::size_t bytes,
                       std::size_t tokens, std::uint8_t* distances) {
    switch (bytes) {
        case 1:
            distances_of<std::uint8_t>(query, signatures, tokens, distances);
            break;
        case 2:
            distances_of<std::uint16_t>(query, signatures, tokens, distances);
            break;
        case 4:
            distances_of<std::uint32_t>(query, signatures, tokens, distances);
            break;
        default:
            distances_of<std::uint64_t>(query, signatures, tokens, distances);
    }
    std::fill(distances + tokens, distances + padded_distances(tokens), kBeyond);
}

/// Distances from `distances` on that are <= limit, as a mask.
HWY_INLINE auto within_limit(std::uint8_t const* distances, std::uint8_t limit) {
    ByteTag const d;
    auto const bytes = hn::LoadU(d, reinterpret_cast<std::int8_t const*>(distances));
    return hn::Lt(bytes, hn::Set(d, static_cast<std::int8_t>(limit + 1)));
}

/// Number of distances <= limit; the padding is above every limit.
HWY_INLINE std::size_t count_within(std::uint8_t const* distances, std::size_t count,
                                    std::uint8_t limit) {
    ByteTag const d;
    std::size_t within = 0;
    for (std::size_t t = 0; t < count; t += hn::Lanes(d))
        within += hn::CountTrue(d, within_limit(distances + t, limit));
    return within;
}

std::uint32_t select_nearest(std::uint8_t const* distances, std::size_t count, std::uint32_t k,
                             std::uint32_t* positions) {
    if (count <= k) {
        for (std::size_t t = 0; t < count; ++t) positions[t] = static_cast<std::uint32_t>(t);
        return static_cast<std::uint32_t>(count);
    }
    if (k == 0) return 0;
    // The k-th smallest distance: the least limit that at least k are within.
    std::uint8_t low = 0;
    std::uint8_t limit = 64;
    std::size_t within = count;
    while (low < limit) {
        auto const middle = static_cast<std::uint8_t>((low + limit) / 2);
        std::size_t const counted = count_within(distances, count, middle);
        if (counted >= k) {
            limit = middle;
            within = counted;
        } else {
            low = static_cast<std::uint8_t>(middle + 1);
        }
    }
    std::size_t surplus = within - k;  // of those at the limit, the oldest stay out
    ByteTag const d;
    std::uint32_t chosen = 0;
    for (std::size_t first = 0; first < count; first += hn::Lanes(d)) {
        std::uint64_t marks = 0;
        std::uint8_t bytes[sizeof marks] = {};
        hn::StoreMaskBits(d, within_limit(distances + first, limit), bytes);
        std::memcpy(&marks, bytes, sizeof marks);
        for (; marks != 0; marks &= marks - 1) {
            std::size_t const t = first + static_cast<std::size_t>(std::countr_zero(marks));
            if (surplus > 0 && distances[t] == limit) {
                --surplus;
                continue;
            }
            positions[chosen++] = static_cast<std::uint32_t>(t);
        }
    }
    return chosen;
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(hamming_distances);
HWY_EXPORT(select_nearest);

void pack_signs(float const* projected, std::size_t step, std::size_t count, std::size_t bits,
                std::byte* out) {
    std::size_t const bytes = bits / 8;
    for (std::size_t i = 0; i < count; ++i) {
        float const* values = projected + i * step;
        std::uint64_t signature = 0;
        for (std::size_t b = 0; b < bits; ++b)
            signature |= static_cast<std::uint64_t>(values[b] > 0.0F) << b;
        // Little-endian machines only (as the tensor file): the low bytes come first.
        std::memcpy(out + i * bytes, &signature, bytes);
    }
}

std::uint64_t load_signature(std::byte const* from, std::size_t bytes) {
    std::uint64_t signature = 0;
    std::memcpy(&signature, from, bytes);
    return signature;
}

void hamming_distances(std::uint64_t query, std::byte const* signatures, std::size_t bytes,
                       std::size_t tokens, std::uint8_t* distances) {
    validate(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8,
             "hamming_distances: signatures have 1, 2, 4 or 8 bytes");
    HWY_DYNAMIC_DISPATCH(hamming_distances)(query, signatures, bytes, tokens, distances);
}
std::uint32_t select_nearest(std::uint8_t const* distances, std::size_t count, std::uint32_t k,
                             std::uint32_t* positions) {
    return HWY_DYNAMIC_DISPATCH(select_nearest)(distances, count, k, positions);
}

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
