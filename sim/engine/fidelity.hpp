// How far the simulated twin is from executed runs of the same requests, and where it can be
// trusted. Knows no clock: results come in, judgements go out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/serving.hpp"

namespace ckvsim::engine {

/// Share of requests that found their entry in a tier; NaN without requests.
double hit_ratio(ServingResult const& result);
/// Measured requests over the time from the first intended start to the last completion.
double throughput_per_s(ServingResult const& result);
metrics::LatencySketch const& total_latency(ServingResult const& result);

/// Targets: |error| <= max(target, repeat_factor * repeat error). Relative, but for the hit ratio,
/// which is a share itself.
struct FidelityTargets {
    double mean = 0.03;
    double p50 = 0.03;
    double p99 = 0.05;
    double throughput = 0.03;
    double hit_ratio = 0.005;
    double repeat_factor = 1.5;
};

enum class FidelityVerdict : std::uint8_t { within, outside, insufficient };
std::string to_string(FidelityVerdict verdict);

struct FidelityLine {
    std::string metric;         ///< mean_ns, p50_ns, p99_ns, throughput_per_s or hit_ratio
    double executed = 0.0;      ///< mean over the executed passes
    double repeat_error = 0.0;  ///< mean absolute difference of two passes, relative to `executed`
    double simulated = 0.0;
    double error = 0.0;  ///< simulated / executed - 1; for the hit ratio simulated - executed
    double target = 0.0;
    double bound = 0.0;  ///< what |error| is held against
    /// `insufficient` when a value is NaN: a percentile without enough samples.
    FidelityVerdict verdict = FidelityVerdict::insufficient;
};

/// One line a metric, in a fixed order. `executed` are passes over the same requests, two at least;
/// throws InternalError otherwise.
std::vector<FidelityLine> compare_twins(std::span<ServingResult const> executed,
                                        ServingResult const& simulated,
                                        FidelityTargets const& targets = {});

/// A held-out point and what came of it.
struct FidelityPoint {
    std::string arm;
    double load = 0.0;  ///< request rate over the rate that the arm can serve at most here
    std::uint32_t candidates = 0;
    std::uint32_t max_tokens = 0;   ///< histories are cut to so many of their newest tokens
    double oversubscription = 0.0;  ///< bytes of all users' entries over the tiers' capacity
    double requests_per_s = 0.0;
    std::uint64_t requests = 0;  ///< measured, a pass
    std::vector<FidelityLine> lines;

    /// No line is outside its bound, and one at least is within.
    [[nodiscard]] bool holds() const;
};

/// All points with one value of one axis.
struct FidelityRegime {
    std::string axis;  ///< arm, load, candidates, max_tokens or oversubscription
    std::string value;
    std::uint32_t points = 0;
    std::uint32_t held = 0;  ///< points that hold
    double worst_mean_error = 0.0;
    double worst_p99_error = 0.0;  ///< NaN without enough samples anywhere
    double worst_hit_ratio_error = 0.0;
};

/// Every axis and value that occurs, in order of first occurrence.
std::vector<FidelityRegime> fidelity_regimes(std::span<FidelityPoint const> points);

}  // namespace ckvsim::engine
