#include "metrics/resampling.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::metrics {

namespace {


/// Linear interpolation between order statistics (Hyndman and Fan, type 7) of sorted values.
double percentile(std::vector<double> const& sorted, double q) {
    double const position = q * static_cast<double>(sorted.size() - 1);
    auto const below = static_cast<std::size_t>(position);
    std::size_t const above = std::min(below + 1, sorted.size() - 1);
    double const share = position - static_cast<double>(below);
    return sorted[below] + share * (sorted[above] - sorted[below]);
}

/// Thresholds of the Poisson(1) distribution function, scaled to 2^32; the last is beyond reach.
std::array<std::uint64_t, 14> poisson_thresholds() {
    std::array<std::uint64_t, 14> thresholds{};
    double probability = std::exp(-1.0);
    double cumulative = 0;
    for (std::size_t k = 0; k < thresholds.size(); ++k) {
        cumulative += probability;
        thresholds[k] = static_cast<std::uint64_t>(cumulative * 0x1.0p32);
        probability /= static_cast<double>(k + 1);
    }
    thresholds.back() = 1ULL << 32;
    return thresholds;
}

}  // namespace

void draw_user_weights(std::uint64_t seed, std::uint32_t replicate,
                       std::vector<std::uint8_t>& weights) {
    static std::array<std::uint64_t, 14> const kThresholds = poisson_thresholds();
    for (std::size_t user = 0; user < weights.size(); ++user) {
        std::uint64_t const draw =
            CounterRng(seed, Purpose::bootstrap_users, user, replicate).next_u32();
        std::uint8_t weight = 0;
        while (draw >= kThresholds[weight]) ++weight;
        weights[user] = weight;
    }
}

Interval percentile_interval(double value, std::vector<double> replicates) {
    constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
    std::erase_if(replicates, [](double x) { return !std::isfinite(x); });
    if (replicates.empty()) return {value, kNaN, kNaN};
    std::sort(replicates.begin(), replicates.end());
    return {value, percentile(replicates, kTail), percentile(replicates, 1.0 - kTail)};
}

double mean_point(ArmSamples const& arm, PointMetric metric) {
    double sum = 0;
    for (auto const& point : arm.points) sum += point.*metric;
    return sum / static_cast<double>(arm.points.size());
}

std::vector<double> resample(ArmSamples const& arm, ReplicateMetric metric, std::uint64_t seed) {
    auto const seeds = static_cast<std::uint32_t>(arm.replicates.size());
    std::size_t const replicates = (arm.replicates.front().*metric).size();
    std::vector<double> values(replicates);
    for (std::size_t replicate = 0; replicate < replicates; ++replicate) {
        CounterRng rng(seed, Purpose::bootstrap_seeds, replicate, seeds);
        double sum = 0;
        for (std::uint32_t draw = 0; draw < seeds; ++draw) {
            sum += (arm.replicates[rng.below(seeds)].*metric)[replicate];
        }
        values[replicate] = sum / static_cast<double>(seeds);
    }
    return values;
}

void check_samples(ArmSamples const& arm, std::size_t replicates) {
    validate(!arm.points.empty() && arm.points.size() == arm.replicates.size(),
             "compare: an arm has no seeds, or points without replicates");
    for (auto const& one : arm.replicates) {
        validate(one.auc.size() == replicates && one.gauc.size() == replicates &&
                     one.logloss.size() == replicates && replicates > 0,
                 "compare: arms differ in their number of bootstrap replicates");
    }
}

}  // namespace ckvsim::metrics
