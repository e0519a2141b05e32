// Mergeable histogram of times for series: every octave from 8 us to 140 s in 16 equal parts,
// integer counts. A quantile is within 3.2 % of the exact order statistic (latency_sketch.hpp is
// eight times finer and larger); times outside count as the ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/ids.hpp"

namespace ckvsim::metrics {

class CoarseHistogram {
  public:
    static constexpr std::size_t kBuckets = 24 * 16;
    static constexpr double kRelativeError = 0.032;

    void add(Nanoseconds value_ns) {
        std::size_t const at = bucket_of(value_ns);
        if (at >= counts_.size()) counts_.resize(at + 1, 0);
        ++counts_[at];
    }
    void merge(CoarseHistogram const& other);
    [[nodiscard]] std::uint64_t count() const;
    /// Middle of the bucket that holds rank ceil(q * count); NaN when fewer than 10 samples lie
    /// beyond it.
    [[nodiscard]] double quantile_ns(double q) const;
    /// Count of a bucket below kBuckets, and adding to it: the flat form for reductions.
    [[nodiscard]] std::uint64_t bucket(std::size_t index) const {
        return index < counts_.size() ? counts_[index] : 0;
    }
    void add_to_bucket(std::size_t index, std::uint64_t count);

    /// Members, see core/archive.hpp.
    template <class Archive>
    void archive(Archive& ar) {
        ar(counts_);
        if constexpr (Archive::kLoads)
            ar.require(counts_.size() <= kBuckets, "a histogram has too many buckets");
    }

    bool operator==(CoarseHistogram const&) const = default;

  private:
    static constexpr int kFirstOctave = 13;
    static std::size_t bucket_of(Nanoseconds value_ns) {
        if (value_ns < (Nanoseconds{1} << kFirstOctave)) return 0;
        auto const value = static_cast<std::uint64_t>(value_ns);
        int const octave = 63 - __builtin_clzll(value);
        if (octave >= kFirstOctave + 24) return kBuckets - 1;
        return static_cast<std::size_t>(octave - kFirstOctave) * 16 +
               static_cast<std::size_t>((value >> (octave - 4)) & 15U);
    }

    std::vector<std::uint64_t> counts_;  ///< grown to the largest time
};

}  // namespace ckvsim::metrics
