// Two-level bootstrap and verdicts (metrics/accuracy.hpp).
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "metrics/resampling.hpp"

namespace ckvsim::metrics {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool same_bits(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

bool identical(ArmSamples const& a, ArmSamples const& b) {
    if (&a == &b) return true;
    if (a.points.size() != b.points.size()) return false;
    for (std::size_t i = 0; i < a.points.size(); ++i) {
        auto const& p = a.points[i];
        auto const& q = b.points[i];
        if (!same_bits(p.auc, q.auc) || !same_bits(p.gauc, q.gauc) ||
            !same_bits(p.logloss, q.logloss)) {
            return false;
        }
        auto const equal = [](std::vector<double> const& x, std::vector<double> const& y) {
            return std::equal(x.begin(), x.end(), y.begin(), y.end(), same_bits);
        };
        auto const& r = a.replicates[i];
        auto const& s = b.replicates[i];
        if (!equal(r.auc, s.auc) || !equal(r.gauc, s.gauc) || !equal(r.logloss, s.logloss)) {
            return false;
        }
    }
    return true;
}

Interval metric_interval(ArmSamples const& arm, PointMetric point, ReplicateMetric replicates,
                         std::uint64_t seed) {
    return percentile_interval(mean_point(arm, point), resample(arm, replicates, seed));
}

Verdict judge(Interval const& lift, double margin) {
    if (!std::isfinite(lift.low) || !std::isfinite(lift.high)) return Verdict::undecided;
    if (lift.low > 1.0 + margin) return Verdict::better;
    if (lift.low >= 1.0 - margin) return Verdict::equivalent;
    if (lift.high < 1.0 - margin) return Verdict::worse;
    return Verdict::undecided;
}

/// Whether other random numbers of the bootstrap could move the interval's end at quantile `tail`
/// across `threshold`: it lies between the order statistics that hold that quantile with 95 %
/// (binomial ranks in their normal approximation: Conover, Practical Nonparametric
/// Statistics, 3.2). Where the replicates are too few to have such a statistic, nothing bounds the
/// end on that side.
bool end_may_cross(std::vector<double> const& sorted, double tail, double threshold) {
    auto const count = static_cast<double>(sorted.size());
    double const rank = count * tail;
    double const spread = 1.96 * std::sqrt(rank * (1.0 - tail));
    double const first = std::floor(rank - spread);  // ranks from 1
    double const last = std::ceil(rank + spread);
    auto const at = [&](double position) { return sorted[static_cast<std::size_t>(position) - 1]; };
    bool const above_first = first < 1.0 || at(first) <= threshold;
    bool const below_last = last > count || threshold <= at(last);
    return above_first && below_last;
}

std::vector<double> sorted_finite(std::vector<double> values) {
    std::erase_if(values, [](double x) { return !std::isfinite(x); });
    std::sort(values.begin(), values.end());
    return values;
}

/// Whether the verdict on this lift hangs on the random numbers of the bootstrap.
bool may_flip(std::vector<double> const& lift, double margin) {
    if (lift.empty()) return false;
    return end_may_cross(lift, kTail, 1.0 - margin) || end_may_cross(lift, kTail, 1.0 + margin) ||
           end_may_cross(lift, 1.0 - kTail, 1.0 - margin);
}

/// The same of whether full KV can be told from no history.
bool power_may_flip(std::vector<double> const& power) {
    if (power.empty()) return false;
    return end_may_cross(power, kTail, 0.0) || end_may_cross(power, 1.0 - kTail, 0.0);
}

}  // namespace

std::string to_string(Verdict verdict) {
    switch (verdict) {
        case Verdict::reference:
            return "reference";
        case Verdict::better:
            return "better";
        case Verdict::equivalent:
            return "equivalent";
        case Verdict::worse:
            return "worse";
        case Verdict::undecided:
            return "undecided";
        case Verdict::no_power:
            return "no_power";
    }
    throw InternalError("verdict out of range");
}

LiftResult compare(ArmSamples const& arm, ArmSamples const& full, ArmSamples const& none,
                   double margin, std::uint64_t seed) {
    validate(!full.replicates.empty(), "compare: the reference has no seeds");
    std::size_t const replicates = full.replicates.front().auc.size();
    for (auto const* samples : {&arm, &full, &none}) check_samples(*samples, replicates);

    LiftResult result;
    result.auc = metric_interval(arm, &AccuracyPoint::auc, &ReplicateMetrics::auc, seed);
    result.gauc = metric_interval(arm, &AccuracyPoint::gauc, &ReplicateMetrics::gauc, seed);
    result.logloss =
        metric_interval(arm, &AccuracyPoint::logloss, &ReplicateMetrics::logloss, seed);

    auto const within = resample(full, &ReplicateMetrics::gauc, seed);
    std::vector<double> inside = resample(arm, &ReplicateMetrics::gauc, seed);
    for (std::size_t i = 0; i < replicates; ++i) inside[i] -= within[i];
    result.gauc_difference = percentile_interval(
        result.gauc.value - mean_point(full, &AccuracyPoint::gauc), std::move(inside));

    auto const of_arm = resample(arm, &ReplicateMetrics::auc, seed);
    auto const of_full = resample(full, &ReplicateMetrics::auc, seed);
    auto const of_none = resample(none, &ReplicateMetrics::auc, seed);
    std::vector<double> lift(replicates), difference(replicates), power(replicates);
    for (std::size_t i = 0; i < replicates; ++i) {
        difference[i] = of_arm[i] - of_full[i];
        power[i] = of_full[i] - of_none[i];
        lift[i] = (of_arm[i] - of_none[i]) / power[i];
    }
    double const full_auc = mean_point(full, &AccuracyPoint::auc);
    double const none_auc = mean_point(none, &AccuracyPoint::auc);
    double const lift_of_full = full_auc - none_auc;
    result.auc_difference = percentile_interval(result.auc.value - full_auc, std::move(difference));
    result.lift_kept = percentile_interval(
        lift_of_full == 0.0 ? kNaN : (result.auc.value - none_auc) / lift_of_full, lift);
    result.detectable_margin = 0.5 * (result.lift_kept.high - result.lift_kept.low);

    Interval const history = percentile_interval(lift_of_full, power);
    bool const power_flips = power_may_flip(sorted_finite(std::move(power)));
    if (identical(arm, full)) {
        result.verdict = Verdict::reference;
    } else if (!(history.low > 0.0 || history.high < 0.0)) {
        result.verdict = Verdict::no_power;
        result.verdict_may_flip = power_flips;
    } else {
        result.verdict = judge(result.lift_kept, margin);
        result.verdict_may_flip = power_flips || may_flip(sorted_finite(std::move(lift)), margin);
    }
    return result;
}

}  // namespace ckvsim::metrics
