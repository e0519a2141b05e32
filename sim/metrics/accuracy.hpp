// Exact AUC, gAUC and logloss, and the two-level (seeds, then users) Poisson bootstrap of DESIGN
// honesty rule 5.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ckvsim::metrics {

/// Scored impressions in logical order (by user, then time). `user` holds a dense index 0 ..
/// users-1, ascending.
struct Predictions {
    std::vector<float> logits;
    std::vector<std::uint8_t> labels;
    std::vector<std::uint32_t> user;
    std::uint32_t users = 0;
};

struct AccuracyPoint {
    double auc = 0;   ///< Mann-Whitney with ties at one half; NaN when one class is missing
    double gauc = 0;  ///< per-user AUC weighted by the user's impressions, users with both labels
                      ///< only; NaN if none
    double logloss = 0;  ///< natural log, probabilities by sigmoid
    std::uint64_t impressions = 0;
    std::uint64_t positives = 0;
    std::uint64_t users_with_both = 0;
};
AccuracyPoint evaluate(Predictions const& predictions);

/// Replicate statistics of one arm and seed: [replicates] each. Poisson(1) weights keyed by
/// (seed, user index, replicate), the same for every arm, so arms are paired.
struct ReplicateMetrics {
    std::vector<double> auc, gauc, logloss;
};
ReplicateMetrics bootstrap_users(Predictions const& predictions, std::uint64_t seed,
                                 std::uint32_t replicates);

/// All seeds of one arm.
struct ArmSamples {
    std::vector<AccuracyPoint> points;         ///< [seeds]
    std::vector<ReplicateMetrics> replicates;  ///< [seeds]
};

/// A value with its 95 % interval.
struct Interval {
    double value = 0;
    double low = 0;
    double high = 0;
};

/// Of an arm against the full-KV reference, at the stated margin:
/// reference = the reference itself, or scores bit-equal to it; better = the lift interval lies
/// above 1 + margin; equivalent = above 1 - margin; worse = below it; undecided = it straddles;
/// no_power = the data cannot tell full KV from no history.
enum class Verdict : std::uint8_t { reference, better, equivalent, worse, undecided, no_power };
std::string to_string(Verdict verdict);

struct LiftResult {
    Interval auc, gauc, logloss;
    Interval lift_kept;        ///< (arm - none) / (full - none) in AUC; percentile 95 % interval
    Interval auc_difference;   ///< arm - full, paired
    Interval gauc_difference;  ///< likewise; NaN where no user has both labels
    Verdict verdict = Verdict::undecided;
    /// Whether the end of the interval that decides is no farther from the margin than the
    /// bootstrap's own random error: other random numbers could give another verdict.
    bool verdict_may_flip = false;
    double detectable_margin =
        0;  ///< half-width of the lift interval: the smallest margin the data could decide
};

/// Two-level bootstrap: every replicate draws seeds with replacement (keyed by seed and replicate,
/// shared by arms with equally many seeds) and uses that replicate's user weights. `margin`: share
/// of the lift that may be lost (0.03 = keep 97 %). no_power when the interval of (full - none)
/// contains 0.
LiftResult compare(ArmSamples const& arm, ArmSamples const& full, ArmSamples const& none,
                   double margin, std::uint64_t seed);

}  // namespace ckvsim::metrics
