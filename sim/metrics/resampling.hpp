// Percentile intervals of replicates of the two-level bootstrap. Internal to this folder: callers
// use compare() of accuracy.hpp and the judges of leakage.hpp.
#pragma once

#include <cstdint>
#include <vector>

#include "metrics/accuracy.hpp"

namespace ckvsim::metrics {

/// Share of the replicates beyond either end of an interval of 95 %.
inline constexpr double kTail = 0.025;

using PointMetric = double AccuracyPoint::*;
using ReplicateMetric = std::vector<double> ReplicateMetrics::*;

/// Weights of users 0 .. weights.size()-1 in a replicate: Poisson(1), keyed by (seed, user,
/// replicate).
void draw_user_weights(std::uint64_t seed, std::uint32_t replicate,
                       std::vector<std::uint8_t>& weights);

/// 95 % percentile interval. Replicates in which the statistic does not exist (one class missing)
/// are left out; without any left the ends are NaN.
Interval percentile_interval(double value, std::vector<double> replicates);

double mean_point(ArmSamples const& arm, PointMetric metric);

/// Replicate b: seeds drawn with replacement (the same draws for every arm with this many seeds),
/// each with the user weights of replicate b.
std::vector<double> resample(ArmSamples const& arm, ReplicateMetric metric, std::uint64_t seed);

/// InternalError unless the arm has seeds, and every seed a point and this many replicates.
void check_samples(ArmSamples const& arm, std::size_t replicates);

}  // namespace ckvsim::metrics
