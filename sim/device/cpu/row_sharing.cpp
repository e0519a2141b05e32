#include "device/cpu/row_sharing.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Shorter lists are read row by row: nothing to gain.
constexpr std::size_t kFewTokens = 32;
/// Keys looked at before a list that looks like distinct ones is given up.
constexpr std::size_t kProbe = 64;
/// Keys are their own place in the marks up to this bound; 256 KiB stay in the L2 cache.
constexpr std::size_t kDirectKeys = std::size_t{1} << 16;

/// A row costs about a cycle for each vector of eight values; a token about three for each head
/// (score spread, weight added) and four to find its row.
constexpr std::size_t kFindCycles = 4;
std::size_t row_cycles(std::size_t rows, SharingCost const& cost) { return rows * cost.dims / 8; }
bool pays(std::size_t count, std::size_t distinct, SharingCost const& cost) {
    return row_cycles(count - distinct, cost) > count * (3 * cost.heads + kFindCycles);
}

/// Distinct keys among `count` when all keys are equally likely.
double expected_distinct(std::size_t count, std::size_t bound) {
    auto const m = static_cast<double>(bound);
    return m * -std::expm1(-static_cast<double>(count) / m);
}

}  // namespace

void RowSharing::prepare(std::size_t count, std::size_t bound) {
    reserve_elements(places_, padded(count));
    reserve_elements(firsts_, count + 1);
    hashed_ = bound > kDirectKeys;
    std::size_t const marks = hashed_ ? std::bit_ceil(2 * count) : bound;
    base_ = unused_;
    if (marks_.size() < marks) marks_.resize(marks, 0);
    if (base_ > std::numeric_limits<std::uint32_t>::max() - count) {
        std::fill(marks_.begin(), marks_.end(), 0U);
        base_ = 1;
    }
    distinct_ = 0;
    all_ = false;
}

void RowSharing::place(std::uint32_t const* keys, std::size_t first, std::size_t end) {
    if (hashed_) {
        place_hashed(keys, first, end);
    } else {
        // Whether a key is new cannot be predicted, so nothing branches on it: what is written for
        // a key that is not new is overwritten by the next one.
        std::uint32_t* marks = marks_.data();
        std::uint32_t* firsts = firsts_.data();
        std::uint32_t* places = places_.data();
        std::uint32_t const base = base_;
        auto distinct = static_cast<std::uint32_t>(distinct_);
        for (std::size_t i = first; i < end; ++i) {
            std::uint32_t const old = marks[keys[i]];
            bool const fresh = old < base;
            std::uint32_t const mark = fresh ? base + distinct : old;
            marks[keys[i]] = mark;
            firsts[distinct] = static_cast<std::uint32_t>(i);
            distinct += fresh ? 1U : 0U;
            places[i] = mark - base;
        }
        distinct_ = distinct;
    }
    unused_ = base_ + static_cast<std::uint32_t>(distinct_);
}

void RowSharing::place_hashed(std::uint32_t const* keys, std::size_t first, std::size_t end) {
    std::size_t const mask = std::bit_floor(marks_.size()) - 1;
    for (std::size_t i = first; i < end; ++i) {
        std::size_t at = (keys[i] * 0x9E3779B97F4A7C15ULL >> 32) & mask;
        while (marks_[at] >= base_ && keys[firsts_[marks_[at] - base_]] != keys[i])
            at = (at + 1) & mask;
        if (marks_[at] < base_) {
            marks_[at] = base_ + static_cast<std::uint32_t>(distinct_);
            firsts_[distinct_++] = static_cast<std::uint32_t>(i);
        }
        places_[i] = marks_[at] - base_;
    }
}

void RowSharing::number(std::uint32_t const* keys, std::size_t count, std::size_t bound) {
    prepare(count, bound);
    place(keys, 0, count);
    std::fill(places_.data() + count, places_.data() + padded(count), 0U);
}

bool RowSharing::find(std::uint32_t const* keys, std::size_t count, std::size_t bound,
                      SharingCost const& cost) {
    if (count < kFewTokens || !pays(count, 1, cost)) return false;  // whatever the keys
    prepare(count, bound);
    // Uniform keys tell beforehand; others show in the first few whether some are favoured.
    auto const uniform = static_cast<std::size_t>(expected_distinct(count, bound));
    std::size_t const probed = std::min(kProbe, count);
    place(keys, 0, probed);
    auto const like_uniform = static_cast<std::size_t>(expected_distinct(probed, bound));
    if (10 * distinct_ > 9 * like_uniform && bound < count && pays(count, bound, cost) &&
        row_cycles(bound - std::min(uniform, bound), cost) < count * kFindCycles) {
        std::copy_n(keys, count, places_.data());
        distinct_ = bound;
        all_ = true;
        return true;
    }
    if (!pays(count, std::min(uniform, count), cost) && 10 * distinct_ > 9 * probed) return false;
    place(keys, probed, count);
    return pays(count, distinct_, cost);
}

}  // namespace ckvsim::device::cpu
