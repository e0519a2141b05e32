#include "workload/arrival_rate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace ckvsim::workload {
namespace {

constexpr double kDay = 86400.0;

template <class Function>
double mean_of(Function&& function, double from, double to, int points = 20000) {
    double sum = 0.0;
    for (int i = 0; i < points; ++i) sum += function(from + (to - from) * (i + 0.5) / points);
    return sum / points;
}

template <class Function>
double hour_of_maximum(Function&& function) {
    double best = 0.0;
    for (double hour = 0.0; hour < 24.0; hour += 0.01) {
        if (function(hour * 3600.0) > function(best * 3600.0)) best = hour;
    }
    return best;
}

ArrivalShape diurnal(double amplitude, std::vector<TimeZoneShare> zones = {}) {
    ArrivalShape shape;
    shape.diurnal.amplitude = amplitude;
    shape.diurnal.zones = std::move(zones);
    return shape;
}

ArrivalShape bursts(double multiplier, double burst_s, double gap_s) {
    ArrivalShape shape;
    shape.bursts = {multiplier, burst_s, gap_s};
    return shape;
}

TEST(ArrivalRate, IsOneWithoutAShape) {
    ArrivalRate const rate(ArrivalShape{}, 1, kDay);
    EXPECT_EQ(rate.at(0.0), 1.0);
    EXPECT_EQ(rate.at(12345.0), 1.0);
    EXPECT_EQ(rate.at(12345.0, 0), 1.0);
    EXPECT_EQ(rate.max(), 1.0);
    EXPECT_EQ(rate.zones(), 1U);
}

TEST(ArrivalRate, ADayHasTheMeanOneAndTheDocumentedExtremes) {
    for (double const amplitude : {0.3, 0.824, 1.0}) {
        ArrivalRate const rate(diurnal(amplitude), 1, kDay);
        EXPECT_NEAR(mean_of([&](double t) { return rate.at(t); }, 0.0, kDay), 1.0, 1e-9);
        double low = 10.0;
        double high = 0.0;
        for (double t = 0.0; t < kDay; t += 20.0) {
            low = std::min(low, rate.at(t));
            high = std::max(high, rate.at(t));
        }
        EXPECT_GE(low, 0.0);
        EXPECT_NEAR(low, 1.0 - amplitude, 1e-3);
        EXPECT_NEAR(high, 1.0 + 0.604 * amplitude, 1e-3);
        EXPECT_LE(high, rate.max());
        EXPECT_LT(rate.max(), high * 1.002) << "a loose bound makes thinning slow";
    }
    ArrivalRate const rate(diurnal(0.5), 1, kDay);
    EXPECT_NEAR(hour_of_maximum([&](double t) { return rate.at(t); }), 20.67, 0.05);
}

TEST(ArrivalRate, ZonesShiftThePeakAndTheirMixtureFlattensIt) {
    ArrivalRate const rate(diurnal(0.8, {{0.0, 0.5}, {8.0, 0.3}, {-5.5, 0.2}}), 1, kDay);
    ASSERT_EQ(rate.zones(), 3U);
    auto const peak = [&](std::size_t zone) {
        return hour_of_maximum([&](double t) { return rate.at(t, zone); });
    };
    EXPECT_NEAR(peak(0), 20.67, 0.05);
    EXPECT_NEAR(peak(1), 20.67 - 8.0, 0.05) << "east of UTC the evening comes earlier";
    EXPECT_NEAR(peak(2), 20.67 + 5.5 - 24.0, 0.05);
    for (double t = 0.0; t < kDay; t += 1000.0) {
        EXPECT_NEAR(rate.at(t), 0.5 * rate.at(t, 0) + 0.3 * rate.at(t, 1) + 0.2 * rate.at(t, 2),
                    1e-12);
        EXPECT_LE(rate.at(t), rate.max());
    }
    EXPECT_LT(rate.max(), ArrivalRate(diurnal(0.8), 1, kDay).max());
    double counts[3] = {};
    for (UserId user = 0; user < 100000; ++user) counts[rate.zone_of(user)] += 1e-5;
    EXPECT_NEAR(counts[0], 0.5, 0.006);
    EXPECT_NEAR(counts[1], 0.3, 0.006);
    EXPECT_NEAR(counts[2], 0.2, 0.006);
}

TEST(ArrivalRate, StartHourAndCompressedDaysPlaceTheRun) {
    ArrivalRate const plain(diurnal(0.6), 1, kDay);
    auto shape = diurnal(0.6);
    shape.diurnal.start_hour = 20.67;
    EXPECT_NEAR(ArrivalRate(shape, 1, kDay).at(0.0), plain.at(20.67 * 3600.0), 1e-12);
    shape.diurnal = {.amplitude = 0.6, .start_hour = 0.0, .day_s = 60.0, .zones = {}};
    ArrivalRate const minute(shape, 1, 60.0);
    for (double t = 0.0; t < 60.0; t += 1.7)
        EXPECT_NEAR(minute.at(t), plain.at(t * kDay / 60.0), 1e-9);
}

TEST(ArrivalRate, BurstsKeepTheLongRunMean) {
    double const duration_s = 200000.0;
    ArrivalRate const rate(bursts(8.0, 1.0, 4.0), 5, duration_s);
    double const gap = 1.0 / (1.0 + 0.2 * 7.0);
    double sum = 0.0;
    double burst_s = 0.0;
    double start_s = 0.0;
    std::size_t switches = 0;
    for (std::size_t phase = 0; start_s < duration_s; ++phase, ++switches) {
        double const end_s = std::min(rate.phase_end_s(phase), duration_s);
        double const level = rate.phase_level(phase);
        ASSERT_TRUE(level == gap || level == 8.0 * gap) << level;
        if (level > gap) burst_s += end_s - start_s;
        sum += level * (end_s - start_s);
        start_s = end_s;
    }
    // 40,000 cycles: the share of time in bursts strays by about 0.2 * 0.8 * sqrt(2 / 40,000).
    EXPECT_NEAR(burst_s / duration_s, 0.2, 0.006);
    EXPECT_NEAR(sum / duration_s, 1.0, 0.02);
    EXPECT_NEAR(static_cast<double>(switches), 80000.0, 1500.0);
    EXPECT_EQ(rate.max(), 8.0 * gap);
}

TEST(ArrivalRate, BurstsAreAPureFunctionOfTheSeedAndStartInEitherState) {
    auto const shape = bursts(5.0, 2.0, 2.0);
    int in_burst = 0;
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        ArrivalRate const rate(shape, seed, 10.0);
        ArrivalRate const longer(shape, seed, 100.0);
        for (double t = 0.0; t < 10.0; t += 0.5) EXPECT_EQ(rate.at(t), longer.at(t));
        if (rate.at(0.0) > 1.0) ++in_burst;
    }
    EXPECT_NEAR(in_burst, 200, 50);
}

TEST(ArrivalRate, FlashCrowdsAddUpAndConcentrate) {
    ArrivalShape shape;
    shape.flash_crowds = {{.start_s = 10, .duration_s = 5, .multiplier = 4, .user_share = 0.05},
                          {.start_s = 12, .duration_s = 10, .multiplier = 2, .user_share = 0.5}};
    ArrivalRate const rate(shape, 3, 60.0);
    EXPECT_EQ(rate.at(9.99), 1.0);
    EXPECT_EQ(rate.at(10.0), 4.0);
    EXPECT_EQ(rate.at(13.0), 5.0);
    EXPECT_EQ(rate.at(15.0), 2.0);
    EXPECT_EQ(rate.at(22.0), 1.0);
    EXPECT_EQ(rate.at(13.0, 0), 1.0) << "users outside the crowds do nothing new";
    EXPECT_EQ(rate.max(), 5.0);
    EXPECT_DOUBLE_EQ(rate.crowd_boost(0), 60.0);
    double members = 0.0;
    double both = 0.0;
    for (UserId user = 0; user < 100000; ++user) {
        if (!rate.in_crowd(user, 0)) continue;
        members += 1.0;
        if (rate.in_crowd(user, 1)) both += 1.0;
    }
    EXPECT_NEAR(members, 5000.0, 350.0);
    EXPECT_NEAR(both / members, 0.5, 0.04) << "crowds are independent of each other";
}

TEST(ArrivalRate, ImpossibleShapesAreRefused) {
    auto const refused = [](ArrivalShape const& shape) {
        EXPECT_THROW(ArrivalRate(shape, 1, 100.0), InternalError);
    };
    refused(diurnal(1.1));
    refused(diurnal(-0.1));
    refused(diurnal(0.5, {{0.0, 0.5}, {1.0, 0.4}}));
    refused(diurnal(0.5, {{0.0, 1.5}, {1.0, -0.5}}));
    refused(bursts(0.5, 1.0, 1.0));
    refused(bursts(2.0, 0.0, 1.0));
    refused(bursts(2.0, 1e-9, 1e-9));
    ArrivalShape shape;
    shape.flash_crowds = {{.start_s = 0, .duration_s = 1, .multiplier = 2, .user_share = 0}};
    refused(shape);
    shape.flash_crowds = {{.start_s = -1, .duration_s = 1, .multiplier = 2, .user_share = 1}};
    refused(shape);
}

/// Counts of arrivals per interval.
std::vector<double> counts_of(ArrivalTimes& times, double duration_s, std::size_t intervals) {
    std::vector<double> counts(intervals, 0.0);
    double last = -1.0;
    for (double t = times.next(); std::isfinite(t); t = times.next()) {
        EXPECT_GT(t, last);
        last = t;
        counts.at(static_cast<std::size_t>(t / duration_s * static_cast<double>(intervals))) += 1.0;
    }
    EXPECT_TRUE(std::isinf(times.next())) << "the end is final";
    return counts;
}

ArrivalTimes sampler(ArrivalRate const& rate, double per_second, double duration_s) {
    std::vector<double> weights(rate.zones(), 0.0);
    weights[0] = 1.0;
    return {rate,
            {per_second, rate.mix(weights), 0.0, duration_s},
            CounterRng(9, Purpose::test, 0),
            CounterRng(9, Purpose::test, 1)};
}

TEST(ArrivalTimes, CountsFollowTheRateWithinPoissonBounds) {
    auto shape = diurnal(0.9);
    shape.bursts = {6.0, 40.0, 60.0};
    shape.diurnal.day_s = 600.0;
    double const duration_s = 1200.0;
    double const per_second = 400.0;
    ArrivalRate const rate(shape, 2, duration_s);
    auto times = sampler(rate, per_second, duration_s);
    std::size_t const intervals = 120;
    auto const counts = counts_of(times, duration_s, intervals);
    double squares = 0.0;
    double total = 0.0;
    double expected_total = 0.0;
    for (std::size_t i = 0; i < intervals; ++i) {
        double const width_s = duration_s / static_cast<double>(intervals);
        double const from = width_s * static_cast<double>(i);
        double const expected =
            per_second * width_s *
            mean_of([&](double t) { return rate.at(t); }, from, from + width_s, 4000);
        EXPECT_NEAR(counts[i], expected, 5.0 * std::sqrt(expected) + 2.0) << i;
        squares += (counts[i] - expected) * (counts[i] - expected) / expected;
        total += counts[i];
        expected_total += expected;
    }
    EXPECT_NEAR(total, expected_total, 4.0 * std::sqrt(expected_total));
    // Chi-squared of 120 Poisson counts: mean 120, standard deviation 15.5.
    EXPECT_NEAR(squares, 120.0, 62.0);
}

double dispersion(ArrivalShape const& shape) {
    double const duration_s = 2000.0;
    ArrivalRate const rate(shape, 4, duration_s);
    auto times = sampler(rate, 50.0, duration_s);
    auto const counts = counts_of(times, duration_s, 2000);
    double sum = 0.0;
    double squares = 0.0;
    for (double const count : counts) {
        sum += count;
        squares += count * count;
    }
    double const n = static_cast<double>(counts.size());
    double const mean = sum / n;
    return (squares / n - mean * mean) / mean;
}

TEST(ArrivalTimes, BurstsAreOverdispersedAndAFlatRateIsNot) {
    EXPECT_NEAR(dispersion(ArrivalShape{}), 1.0, 0.13);
    // Variance of the level at M = 5, p = 0.2: 0.8 * 0.2 * (4 / 1.8)^2 = 0.79; with 50 requests in
    // a second and phases much longer than it, 1 + 50 * 0.79 = 40.
    double const bursty = dispersion(bursts(5.0, 10.0, 40.0));
    EXPECT_GT(bursty, 20.0);
    EXPECT_LT(bursty, 60.0);
}

TEST(ArrivalTimes, AnEmptyGroupNeverArrives) {
    ArrivalRate const rate(ArrivalShape{}, 1, 10.0);
    EXPECT_TRUE(std::isinf(sampler(rate, 0.0, 10.0).next()));
    EXPECT_TRUE(std::isinf(sampler(rate, 100.0, 0.0).next()));
}

}  // namespace
}  // namespace ckvsim::workload
