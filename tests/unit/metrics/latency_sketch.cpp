#include "metrics/latency_sketch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::metrics {
namespace {

/// Latencies over nine decades: log-uniform from 1 ns to 1 s.
std::vector<Nanoseconds> samples(std::uint64_t id, std::size_t count) {
    CounterRng rng(7, Purpose::test, id);
    std::vector<Nanoseconds> values(count);
    for (auto& value : values)
        value = static_cast<Nanoseconds>(std::pow(10.0, 9.0 * rng.uniform()));
    return values;
}

LatencySketch sketch_of(std::vector<Nanoseconds> const& values) {
    LatencySketch sketch;
    for (auto const value : values) sketch.add(value);
    return sketch;
}

TEST(LatencySketch, QuantilesAreWithinHalfAPercentOfTheExactOrderStatistic) {
    auto values = samples(1, 200000);
    auto const sketch = sketch_of(values);
    std::sort(values.begin(), values.end());
    for (double const q : {0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999}) {
        auto const rank =
            static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size()) - 1e-6));
        auto const exact = static_cast<double>(values[rank - 1]);
        EXPECT_NEAR(sketch.quantile_unchecked_ns(q), exact, LatencySketch::kRelativeError * exact)
            << q;
    }
}

TEST(LatencySketch, EveryMagnitudeIsWithinTheBound) {
    for (int bit = 0; bit < 63; ++bit) {
        Nanoseconds const power = Nanoseconds{1} << bit;
        for (Nanoseconds const value :
             {power - 1, power, power + power / 128, power + (power - 1)}) {
            LatencySketch sketch;
            sketch.add(value);
            sketch.add(std::numeric_limits<Nanoseconds>::max());
            auto const exact = static_cast<double>(value);
            EXPECT_NEAR(sketch.quantile_unchecked_ns(0.25), exact,
                        LatencySketch::kRelativeError * exact);
        }
    }
}

TEST(LatencySketch, MergingEqualsAdding) {
    auto first = samples(2, 5000);
    auto const second = samples(3, 300);
    auto merged = sketch_of(first);
    merged.merge(sketch_of(second));
    first.insert(first.end(), second.begin(), second.end());
    auto const whole = sketch_of(first);
    EXPECT_EQ(merged.serialise(), whole.serialise());
    EXPECT_EQ(merged.max_ns(), whole.max_ns());
    EXPECT_EQ(merged.count(), first.size());
}

TEST(LatencySketch, FlatFormsAddUp) {
    auto const a = sketch_of(samples(4, 1000));
    auto const b = sketch_of(samples(5, 10));
    auto flat = a.serialise();
    auto const other = b.serialise();
    ASSERT_EQ(flat.size(), other.size());
    EXPECT_EQ(LatencySketch().serialise().size(), flat.size());
    for (std::size_t i = 0; i < flat.size(); ++i) flat[i] += other[i];
    auto const restored = LatencySketch::deserialise(flat, std::max(a.max_ns(), b.max_ns()));
    auto expected = a;
    expected.merge(b);
    EXPECT_EQ(restored.serialise(), expected.serialise());
    EXPECT_EQ(restored.quantile_unchecked_ns(0.9), expected.quantile_unchecked_ns(0.9));
    EXPECT_EQ(restored.mean_ns(), expected.mean_ns());
    flat.pop_back();
    EXPECT_THROW(LatencySketch::deserialise(flat, 0), InternalError);
}

TEST(LatencySketch, MeanAndMaximumAreExact) {
    LatencySketch sketch;
    sketch.add(1'000'003, 3);
    sketch.add(-5);
    EXPECT_EQ(sketch.mean_ns(), 3.0 * 1'000'003 / 4);
    EXPECT_EQ(sketch.max_ns(), 1'000'003);
    EXPECT_EQ(sketch.quantile_unchecked_ns(0.25), 0.0);
}

TEST(LatencySketch, PercentilesWithoutTenSamplesBeyondThemAreMissing) {
    LatencySketch sketch;
    EXPECT_TRUE(std::isnan(sketch.mean_ns()));
    EXPECT_TRUE(std::isnan(sketch.quantile_unchecked_ns(0.5)));
    sketch.add(100, 999);
    EXPECT_TRUE(std::isnan(sketch.quantile_ns(0.99)));
    EXPECT_EQ(sketch.quantile_ns(0.9), 100.0);
    sketch.add(100);
    EXPECT_EQ(sketch.quantile_ns(0.99), 100.0);
    EXPECT_TRUE(std::isnan(sketch.quantile_ns(0.999)));
}

}  // namespace
}  // namespace ckvsim::metrics
