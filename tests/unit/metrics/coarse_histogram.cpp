#include "metrics/coarse_histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::metrics {
namespace {

TEST(CoarseHistogram, QuantilesAreWithinTheStatedErrorOfTheExactOnes) {
    CounterRng rng(3, Purpose::test, 0, 0);
    CoarseHistogram histogram;
    std::vector<double> exact;
    for (int i = 0; i < 20000; ++i) {
        // From 8 us to a minute, evenly on a logarithmic scale.
        auto const ns = static_cast<Nanoseconds>(8192.0 * std::exp(rng.uniform() * std::log(7e6)));
        histogram.add(ns);
        exact.push_back(static_cast<double>(ns));
    }
    std::sort(exact.begin(), exact.end());
    EXPECT_EQ(histogram.count(), 20000U);
    for (double const q : {0.01, 0.5, 0.9, 0.99, 0.999}) {
        double const expected = exact[static_cast<std::size_t>(std::ceil(q * 20000)) - 1];
        EXPECT_NEAR(histogram.quantile_ns(q) / expected, 1.0, CoarseHistogram::kRelativeError) << q;
    }
}

TEST(CoarseHistogram, TimesOutsideCountAsTheEnds) {
    CoarseHistogram histogram;
    for (Nanoseconds const ns : {Nanoseconds{-5}, Nanoseconds{0}, Nanoseconds{8191}})
        histogram.add(ns);
    EXPECT_EQ(histogram.bucket(0), 3U);
    histogram.add(Nanoseconds{1} << 40);
    EXPECT_EQ(histogram.bucket(CoarseHistogram::kBuckets - 1), 1U);
    EXPECT_EQ(histogram.count(), 4U);
}

TEST(CoarseHistogram, AQuantileNeedsTenSamplesBeyondIt) {
    CoarseHistogram histogram;
    for (int i = 0; i < 999; ++i) histogram.add(1'000'000);
    EXPECT_TRUE(std::isnan(histogram.quantile_ns(0.99)));
    histogram.add(1'000'000);
    EXPECT_NEAR(histogram.quantile_ns(0.99), 1e6, 32000.0);
    EXPECT_TRUE(std::isnan(CoarseHistogram{}.quantile_ns(0.5)));
}

TEST(CoarseHistogram, MergingAndTheFlatFormAddCounts) {
    CoarseHistogram a, b, all, flat;
    for (int i = 0; i < 40; ++i) {
        (i % 2 == 0 ? a : b).add(Nanoseconds{10000} << (i / 2));
        all.add(Nanoseconds{10000} << (i / 2));
    }
    a.merge(b);
    EXPECT_EQ(a, all);
    for (std::size_t i = 0; i < CoarseHistogram::kBuckets; ++i)
        flat.add_to_bucket(i, all.bucket(i));
    EXPECT_EQ(flat, all);
    EXPECT_THROW(flat.add_to_bucket(CoarseHistogram::kBuckets, 1), InternalError);
}

}  // namespace
}  // namespace ckvsim::metrics
