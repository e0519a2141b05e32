// Approximate request counts of the recent past: a count-min sketch of 4-bit counters that are
// halved periodically (TinyLFU; Einziger, Friedman and Manes, ACM Transactions on Storage 2017).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "core/large_array.hpp"

namespace ckvsim::node::policies {

/// Four counters per key, all in one cache line; 8 bytes per entry of the cache (rounded up to a
/// power of two). Counts saturate at 15 and are halved after ten increments per entry. Keys come as
/// 64-bit hashes (mix64).
class FrequencySketch {
  public:
    /// `entries`: expected entries of the cache; the sketch restarts from zero at twice the size
    /// when ensure() is told of more.
    explicit FrequencySketch(std::uint64_t entries) { allocate(entries); }

    void increment(std::uint64_t hash) {
        Line& line = lines_[line_of(hash)];
        std::uint64_t bits = hash;
        bool added = false;
        for (std::size_t row = 0; row < 4; ++row, bits >>= 5) {
            std::uint64_t& word = line[2 * row + (bits & 1)];
            std::uint64_t const shift = ((bits >> 1) & 15) * 4;
            if (((word >> shift) & 15) == 15) continue;
            word += std::uint64_t{1} << shift;
            added = true;
        }
        if (added && ++increments_ >= sample_) halve();
    }
    [[nodiscard]] std::uint32_t frequency(std::uint64_t hash) const {
        Line const& line = lines_[line_of(hash)];
        std::uint64_t bits = hash;
        std::uint64_t least = 15;
        for (std::size_t row = 0; row < 4; ++row, bits >>= 5)
            least = std::min(least, (line[2 * row + (bits & 1)] >> (((bits >> 1) & 15) * 4)) & 15);
        return static_cast<std::uint32_t>(least);
    }
    void ensure(std::uint64_t entries) {
        if (entries > entries_) allocate(2 * entries);
    }
    void prefetch(std::uint64_t hash) const { __builtin_prefetch(&lines_[line_of(hash)]); }
    [[nodiscard]] std::uint64_t memory_bytes() const { return lines_.bytes(); }

    /// Members, see core/archive.hpp.
    template <class Archive>
    void archive(Archive& ar) {
        ar(lines_, entries_, sample_, increments_, shift_);
        if constexpr (Archive::kLoads) {
            ar.require(std::has_single_bit(entries_) && entries_ >= 16 &&
                           lines_.size() == entries_ / 8 &&
                           shift_ == 64U - static_cast<unsigned>(std::countr_zero(entries_ / 8)),
                       "a frequency sketch of an impossible size");
        }
    }

  private:
    using Line = std::array<std::uint64_t, 8>;

    [[nodiscard]] std::size_t line_of(std::uint64_t hash) const {
        return static_cast<std::size_t>(hash >> shift_);
    }
    void allocate(std::uint64_t entries) {
        entries_ = std::bit_ceil(std::max<std::uint64_t>(entries, 16));
        lines_ = LargeArray<Line>(entries_ / 8);
        shift_ = 64U - static_cast<std::uint32_t>(std::countr_zero(entries_ / 8));
        sample_ = 10 * entries_;
        increments_ = 0;
    }
    void halve() {
        for (std::size_t at = 0; at < lines_.size(); ++at)
            for (std::uint64_t& word : lines_[at]) word = (word >> 1) & 0x7777777777777777ULL;
        increments_ /= 2;
    }

    LargeArray<Line> lines_;
    std::uint64_t entries_ = 0;
    std::uint64_t sample_ = 0;
    std::uint64_t increments_ = 0;
    std::uint32_t shift_ = 0;
};

}  // namespace ckvsim::node::policies
