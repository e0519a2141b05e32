#include "metrics/latency_sketch.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace ckvsim::metrics {

namespace {

// 2^7 = 128 parts per octave: a bucket's half width is at most 1/256 of its lower edge.
constexpr int kPartBits = 7;
constexpr std::uint64_t kParts = 1ULL << kPartBits;
constexpr int kOctaves = 63 - kPartBits;  // octaves of int64 above the exact range [0, 128)
constexpr std::size_t kBuckets = static_cast<std::size_t>(kOctaves + 1) * kParts;
constexpr std::size_t kHeader = 2;       // count and sum travel before the buckets
constexpr double kSamplesBeyond = 10.0;  // a percentile needs this many samples beyond it

std::size_t bucket_of(std::uint64_t value) {
    if (value < kParts) return static_cast<std::size_t>(value);
    int const octave = static_cast<int>(std::bit_width(value)) - 1 - kPartBits;
    return static_cast<std::size_t>(octave) * kParts + static_cast<std::size_t>(value >> octave);
}

/// Middle of a bucket; exact while buckets hold one integer.
double middle_of(std::size_t bucket) {
    if (bucket < 2 * kParts) return static_cast<double>(bucket);
    std::size_t const octave = bucket / kParts - 1;
    double const width = std::ldexp(1.0, static_cast<int>(octave));
    double const low = static_cast<double>(bucket - octave * kParts) * width;
    return low + 0.5 * (width - 1.0);
}

/// a + b * count of non-negative numbers; sticks at the largest integer instead of overflowing.
std::int64_t saturating_add(std::int64_t a, std::int64_t b, std::uint64_t count = 1) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    std::int64_t product = 0;
    std::int64_t sum = 0;
    if (__builtin_mul_overflow(b, count, &product) || __builtin_add_overflow(a, product, &sum)) {
        return kMost;
    }
    return sum;
}

}  // namespace

std::size_t LatencySketch::most_buckets() { return kBuckets; }

void LatencySketch::add(Nanoseconds value_ns, std::uint64_t count) {
    if (count == 0) return;
    Nanoseconds const value = std::max<Nanoseconds>(value_ns, 0);
    std::size_t const bucket = bucket_of(static_cast<std::uint64_t>(value));
    if (bucket >= buckets_.size()) buckets_.resize((bucket / kParts + 1) * kParts, 0);
    buckets_[bucket] += count;
    count_ += count;
    sum_ns_ = saturating_add(sum_ns_, value, count);
    max_ns_ = std::max(max_ns_, value);
}

void LatencySketch::merge(LatencySketch const& other) {
    if (other.buckets_.size() > buckets_.size()) buckets_.resize(other.buckets_.size(), 0);
    for (std::size_t i = 0; i < other.buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ns_ = saturating_add(sum_ns_, other.sum_ns_);
    max_ns_ = std::max(max_ns_, other.max_ns_);
}

double LatencySketch::mean_ns() const {
    if (count_ == 0) return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(sum_ns_) / static_cast<double>(count_);
}

double LatencySketch::quantile_ns(double q) const {
    // The slack absorbs the rounding of 1 - q: 1,000 samples are enough for q = 0.99.
    double const beyond = (1.0 - q) * static_cast<double>(count_);
    if (beyond * (1.0 + 1e-9) < kSamplesBeyond) return std::numeric_limits<double>::quiet_NaN();
    return quantile_unchecked_ns(q);
}

double LatencySketch::quantile_unchecked_ns(double q) const {
    if (count_ == 0) return std::numeric_limits<double>::quiet_NaN();
    double const position = std::ceil(q * static_cast<double>(count_) * (1.0 - 1e-12));
    auto const rank =
        static_cast<std::uint64_t>(std::clamp(position, 1.0, static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
        seen += buckets_[i];
        if (seen >= rank) return std::min(middle_of(i), static_cast<double>(max_ns_));
    }
    return static_cast<double>(max_ns_);
}

std::vector<std::int64_t> LatencySketch::serialise() const {
    std::vector<std::int64_t> flat(kHeader + kBuckets, 0);
    flat[0] = static_cast<std::int64_t>(count_);
    flat[1] = sum_ns_;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
        flat[kHeader + i] = static_cast<std::int64_t>(buckets_[i]);
    }
    return flat;
}

LatencySketch LatencySketch::deserialise(std::vector<std::int64_t> const& flat,
                                         Nanoseconds max_ns) {
    validate(flat.size() == kHeader + kBuckets, "latency sketch: flat form of another length");
    LatencySketch sketch;
    sketch.count_ = static_cast<std::uint64_t>(flat[0]);
    sketch.sum_ns_ = flat[1];
    sketch.max_ns_ = max_ns;
    sketch.buckets_.resize(kBuckets);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
        sketch.buckets_[i] = static_cast<std::uint64_t>(flat[kHeader + i]);
        total += sketch.buckets_[i];
    }
    validate(total == sketch.count_, "latency sketch: buckets do not add up to the count");
    return sketch;
}

}  // namespace ckvsim::metrics
