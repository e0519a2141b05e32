// Leakage probes: facts about what a model reads that need no model, and what their AUC says. In
// clean data they tell clicks from other impressions hardly better than chance; where the label has
// leaked into the histories they jump.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "metrics/accuracy.hpp"

namespace ckvsim::metrics {

/// candidate_in_history: the candidate is among the tokens that the model reads;
/// candidate_newest: its last occurrence is among the newest kNewestTokens of them, where a log
/// join that writes an event before its own impression puts it;
/// candidate_earlier: its last occurrence is older, where users who return to an item have it, and
/// a stored history that reaches into the test period.
enum class Probe : std::uint8_t { candidate_in_history, candidate_newest, candidate_earlier };
inline constexpr std::array kProbes = {Probe::candidate_in_history, Probe::candidate_newest,
                                       Probe::candidate_earlier};
std::string to_string(Probe probe);

/// A join is off by seconds: few events of the same user fit in between.
inline constexpr std::uint32_t kNewestTokens = 5;
/// Conventions, like a margin; why they are needed is in sim/docs/datasets.md.
/// Share of what the best row has over chance that no look-up of the candidate may have. Not one:
/// a model that was trained on leaked histories can learn the leak, and then no probe beats it.
inline constexpr double kSuspiciousShare = 0.5;
/// How many times as often as for other impressions a probe may fire for clicks. Taste and
/// popularity make it a few times; a leak fires for clicks alone.
inline constexpr double kSuspiciousRatio = 5.0;
/// Clicks for which it must fire before the ratio counts: a handful of coincidences is no leak.
inline constexpr double kLeastClickShare = 0.01;

/// `candidate_age`: 1 = the newest token is the candidate, 0 = no token is.
bool fires(Probe probe, std::uint32_t candidate_age);

/// How often a probe fires, by label, in the data and in every replicate of the bootstrap; NaN for
/// a label that does not occur. Its AUC is 0.5 + (positives - negatives) / 2.
struct ProbeSamples {
    double positives = 0;
    double negatives = 0;
    std::vector<double> positives_of, negatives_of;  ///< [replicates]
};
/// `probe`: logits 1 where it fires, else 0. The user weights are those of bootstrap_users().
ProbeSamples sample_probe(Predictions const& probe, std::uint64_t seed, std::uint32_t replicates);

/// Of a probe: chance = its AUC's interval holds 0.5; suspicious = judge_probe() says so;
/// informative = neither. Of an arm: plausible = not above the oracle beyond the interval, else
/// suspicious. undecided: an interval does not exist (one label only).
enum class LeakVerdict : std::uint8_t { chance, informative, suspicious, plausible, undecided };
std::string to_string(LeakVerdict verdict);

struct LeakResult {
    Interval auc;
    double limit = 0;      ///< AUC above which it is suspicious
    Interval above_limit;  ///< auc - limit, paired: replicates have a limit each
    Interval above_ratio;  ///< positives - kSuspiciousRatio * negatives; NaN of an arm
    LeakVerdict verdict = LeakVerdict::undecided;
};

/// Suspicious when the interval of above_limit lies above 0, or that of above_ratio does and the
/// one of the clicks' share lies above kLeastClickShare. Limit: 0.5 + kSuspiciousShare * max(0, top
/// - 0.5); top = highest AUC among `rows` (arms and controls on these impressions). Replicates as
/// in compare(). Where the truth is known it is the judge: see judge_known().
LeakResult judge_probe(ProbeSamples const& probe, std::span<ArmSamples const* const> rows,
                       std::uint64_t seed);
/// The same where the labels' model is known: its AUC is the limit, and above_ratio decides
/// nothing, because how often users return to items is part of that model.
LeakResult judge_known(ProbeSamples const& probe, ArmSamples const& oracle, std::uint64_t seed);
/// Limit: the AUC of the model that drew the labels, which nobody can beat in the long run.
LeakResult judge_arm(ArmSamples const& arm, ArmSamples const& oracle, std::uint64_t seed);

}  // namespace ckvsim::metrics
