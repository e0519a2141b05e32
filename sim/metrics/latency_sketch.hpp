// Mergeable latency sketch: log-linear buckets with integer counts (the layout of HdrHistogram,
// Tene 2012: every octave in 128 equal parts), integer arithmetic only, so equal on every machine.
// Quantiles are within 0.5 % relative error of the exact order statistic; merging is exact.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/ids.hpp"

namespace ckvsim::metrics {

class LatencySketch {
  public:
    static constexpr double kRelativeError =
        0.005;  ///< stated bound; the layout gives 1/256 = 0.39 %

    void add(Nanoseconds value_ns, std::uint64_t count = 1);  ///< negative values count as 0
    void merge(LatencySketch const& other);
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] double mean_ns() const;  ///< exact up to a sum of 292 years; NaN when empty
    [[nodiscard]] Nanoseconds max_ns() const { return max_ns_; }
    /// Value at rank ceil(q * count); NaN when fewer than 10 samples lie beyond it (10 / (1 - q)
    /// samples needed).
    [[nodiscard]] double quantile_ns(double q) const;
    /// The same without the sample rule, for curves; NaN when empty.
    [[nodiscard]] double quantile_unchecked_ns(double q) const;
    /// Flat form for MPI reductions: element-wise sums merge sketches; max travels apart.
    [[nodiscard]] std::vector<std::int64_t> serialise() const;  ///< fixed length for every sketch
    static LatencySketch deserialise(std::vector<std::int64_t> const& flat, Nanoseconds max_ns);

    /// Members, see core/archive.hpp.
    template <class Archive>
    void archive(Archive& ar) {
        ar(buckets_, count_, sum_ns_, max_ns_);
        if constexpr (Archive::kLoads)
            ar.require(buckets_.size() <= most_buckets(), "a latency sketch has too many buckets");
    }

  private:
    static std::size_t most_buckets();
    std::vector<std::uint64_t> buckets_;  ///< grown to the octave of the largest value
    std::uint64_t count_ = 0;
    std::int64_t sum_ns_ = 0;
    Nanoseconds max_ns_ = 0;
};

}  // namespace ckvsim::metrics
