#include "metrics/coarse_histogram.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.hpp"

namespace ckvsim::metrics {

void CoarseHistogram::merge(CoarseHistogram const& other) {
    if (other.counts_.size() > counts_.size()) counts_.resize(other.counts_.size(), 0);
    for (std::size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
}

std::uint64_t CoarseHistogram::count() const {
    return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

void CoarseHistogram::add_to_bucket(std::size_t index, std::uint64_t count) {
    validate(index < kBuckets, "CoarseHistogram: no such bucket");
    if (count == 0) return;
    if (index >= counts_.size()) counts_.resize(index + 1, 0);
    counts_[index] += count;
}

double CoarseHistogram::quantile_ns(double q) const {
    auto const all = static_cast<double>(count());
    if (all * (1.0 - q) < 10.0 * (1.0 - 1e-9)) return std::numeric_limits<double>::quiet_NaN();
    auto const rank = static_cast<std::uint64_t>(std::ceil(q * all));
    std::uint64_t below = 0;
    std::size_t at = 0;
    while (at + 1 < counts_.size() && below + counts_[at] < rank) below += counts_[at++];
    double const octave = std::ldexp(1.0, kFirstOctave + static_cast<int>(at / 16));
    double const part = static_cast<double>(at % 16);
    return octave * (1.0 + (part + 0.5) / 16.0);
}

}  // namespace ckvsim::metrics
