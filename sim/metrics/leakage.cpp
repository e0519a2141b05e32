#include "metrics/leakage.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.hpp"
#include "metrics/resampling.hpp"

namespace ckvsim::metrics {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kChance = 0.5;

double probe_limit(double top) { return kChance + kSuspiciousShare * std::max(top - kChance, 0.0); }

double probe_auc(double positives, double negatives) {
    return kChance + (positives - negatives) / 2;
}

/// Impressions of one user, by label: all, and those for which the probe fires.
struct UserCounts {
    std::array<std::uint64_t, 2> all = {0, 0};
    std::array<std::uint64_t, 2> fired = {0, 0};
};

std::vector<UserCounts> count_users(Predictions const& probe) {
    std::vector<UserCounts> counts(probe.users);
    for (std::size_t i = 0; i < probe.labels.size(); ++i) {
        auto& user = counts[probe.user[i]];
        ++user.all[probe.labels[i]];
        if (probe.logits[i] > 0.0F) ++user.fired[probe.labels[i]];
    }
    return counts;
}

/// Share of a label's impressions for which the probe fires, users weighted.
template <class Weight>
double share(std::vector<UserCounts> const& counts, std::size_t label, Weight const& weight_of) {
    std::uint64_t all = 0;
    std::uint64_t fired = 0;
    for (std::size_t user = 0; user < counts.size(); ++user) {
        std::uint64_t const weight = weight_of(user);
        all += weight * counts[user].all[label];
        fired += weight * counts[user].fired[label];
    }
    return all == 0 ? kNaN : static_cast<double>(fired) / static_cast<double>(all);
}

template <class Value>
std::vector<double> by_replicate(std::size_t replicates, Value const& value) {
    std::vector<double> values(replicates);
    for (std::size_t i = 0; i < replicates; ++i) values[i] = value(i);
    return values;
}

/// Limits of every replicate from the highest AUC of the rows in it.
std::vector<double> probe_limits(std::span<ArmSamples const* const> rows, std::size_t replicates,
                                 std::uint64_t seed) {
    std::vector<double> top(replicates, kChance);
    for (auto const* row : rows) {
        check_samples(*row, replicates);
        auto const auc = resample(*row, &ReplicateMetrics::auc, seed);
        for (std::size_t i = 0; i < replicates; ++i) top[i] = std::max(top[i], auc[i]);
    }
    return by_replicate(replicates, [&](std::size_t i) { return probe_limit(top[i]); });
}

/// All but the verdict.
LeakResult measure(ProbeSamples const& probe, double limit, std::vector<double> const& limits) {
    std::size_t const replicates = probe.positives_of.size();
    auto const auc_of = [&](std::size_t i) {
        return probe_auc(probe.positives_of[i], probe.negatives_of[i]);
    };
    LeakResult result;
    result.limit = limit;
    double const auc = probe_auc(probe.positives, probe.negatives);
    result.auc = percentile_interval(auc, by_replicate(replicates, auc_of));
    result.above_limit = percentile_interval(
        auc - limit,
        by_replicate(replicates, [&](std::size_t i) { return auc_of(i) - limits[i]; }));
    result.above_ratio = percentile_interval(probe.positives - kSuspiciousRatio * probe.negatives,
                                             by_replicate(replicates, [&](std::size_t i) {
                                                 return probe.positives_of[i] -
                                                        kSuspiciousRatio * probe.negatives_of[i];
                                             }));
    return result;
}

LeakVerdict verdict_of(LeakResult const& result, bool suspicious) {
    if (!std::isfinite(result.auc.low)) return LeakVerdict::undecided;
    if (suspicious) return LeakVerdict::suspicious;
    bool const holds_chance = result.auc.low <= kChance && result.auc.high >= kChance;
    return holds_chance ? LeakVerdict::chance : LeakVerdict::informative;
}

}  // namespace

std::string to_string(Probe probe) {
    switch (probe) {
        case Probe::candidate_in_history:
            return "candidate_in_history";
        case Probe::candidate_newest:
            return "candidate_newest";
        case Probe::candidate_earlier:
            return "candidate_earlier";
    }
    throw InternalError("probe out of range");
}

std::string to_string(LeakVerdict verdict) {
    switch (verdict) {
        case LeakVerdict::chance:
            return "chance";
        case LeakVerdict::informative:
            return "informative";
        case LeakVerdict::suspicious:
            return "suspicious";
        case LeakVerdict::plausible:
            return "plausible";
        case LeakVerdict::undecided:
            return "undecided";
    }
    throw InternalError("leak verdict out of range");
}

bool fires(Probe probe, std::uint32_t candidate_age) {
    if (candidate_age == 0) return false;
    bool const newest = candidate_age <= kNewestTokens;
    return probe == Probe::candidate_in_history || newest == (probe == Probe::candidate_newest);
}

ProbeSamples sample_probe(Predictions const& probe, std::uint64_t seed, std::uint32_t replicates) {
    auto const counts = count_users(probe);
    auto const one = [](std::size_t) { return std::uint64_t{1}; };
    ProbeSamples samples;
    samples.positives = share(counts, 1, one);
    samples.negatives = share(counts, 0, one);
    samples.positives_of.resize(replicates);
    samples.negatives_of.resize(replicates);
    // Allocated before the parallel region: an exception must not leave it.
    std::vector<std::vector<std::uint8_t>> weights_of_thread(
        static_cast<std::size_t>(omp_get_max_threads()), std::vector<std::uint8_t>(probe.users));
#pragma omp parallel
    {
        auto& weights = weights_of_thread[static_cast<std::size_t>(omp_get_thread_num())];
        auto const weight_of = [&](std::size_t user) { return std::uint64_t{weights[user]}; };
#pragma omp for schedule(dynamic)
        for (std::uint32_t replicate = 0; replicate < replicates; ++replicate) {
            draw_user_weights(seed, replicate, weights);
            samples.positives_of[replicate] = share(counts, 1, weight_of);
            samples.negatives_of[replicate] = share(counts, 0, weight_of);
        }
    }
    return samples;
}

LeakResult judge_probe(ProbeSamples const& probe, std::span<ArmSamples const* const> rows,
                       std::uint64_t seed) {
    auto const limits = probe_limits(rows, probe.positives_of.size(), seed);
    double top = kChance;
    for (auto const* row : rows) top = std::max(top, mean_point(*row, &AccuracyPoint::auc));
    auto result = measure(probe, probe_limit(top), limits);
    auto const clicks = percentile_interval(probe.positives, probe.positives_of);
    result.verdict =
        verdict_of(result, result.above_limit.low > 0.0 ||
                               (result.above_ratio.low > 0.0 && clicks.low > kLeastClickShare));
    return result;
}

LeakResult judge_known(ProbeSamples const& probe, ArmSamples const& oracle, std::uint64_t seed) {
    check_samples(oracle, probe.positives_of.size());
    auto result = measure(probe, mean_point(oracle, &AccuracyPoint::auc),
                          resample(oracle, &ReplicateMetrics::auc, seed));
    result.verdict = verdict_of(result, result.above_limit.low > 0.0);
    return result;
}

LeakResult judge_arm(ArmSamples const& arm, ArmSamples const& oracle, std::uint64_t seed) {
    validate(!oracle.replicates.empty(), "leakage: the oracle has no replicates");
    std::size_t const replicates = oracle.replicates.front().auc.size();
    for (auto const* samples : {&arm, &oracle}) check_samples(*samples, replicates);
    auto const of_arm = resample(arm, &ReplicateMetrics::auc, seed);
    auto const of_oracle = resample(oracle, &ReplicateMetrics::auc, seed);
    LeakResult result;
    double const auc = mean_point(arm, &AccuracyPoint::auc);
    result.limit = mean_point(oracle, &AccuracyPoint::auc);
    result.auc = percentile_interval(auc, of_arm);
    result.above_limit = percentile_interval(
        auc - result.limit,
        by_replicate(replicates, [&](std::size_t i) { return of_arm[i] - of_oracle[i]; }));
    result.above_ratio = {kNaN, kNaN, kNaN};
    if (!std::isfinite(result.above_limit.low)) return result;
    result.verdict =
        result.above_limit.low > 0.0 ? LeakVerdict::suspicious : LeakVerdict::plausible;
    return result;
}

}  // namespace ckvsim::metrics
