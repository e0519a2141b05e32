#include "app/accuracy_leakage.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <optional>

#include "app/row.hpp"

namespace ckvsim::app {

namespace {

using metrics::LeakResult;
using metrics::LeakVerdict;

template <class... Values>
std::string format(char const* pattern, Values... values) {
    std::array<char, 200> text{};
    std::snprintf(text.data(), text.size(), pattern, values...);
    return text.data();
}

std::string interval_words(metrics::Interval const& auc) {
    return format("%.3f [%.3f, %.3f]", auc.value, auc.low, auc.high);
}

std::string probe_note(std::string const& probe, metrics::ProbeSamples const& samples,
                       LeakResult const& result) {
    return "Leakage suspected: " + probe + ", without any model, is true for " +
           format("%.1f %% of the clicks and %.1f %% of the other impressions; ",
                  100 * samples.positives, 100 * samples.negatives) +
           "its AUC is " + interval_words(result.auc) +
           ". Either the label has leaked into the histories (a log join that writes an event "
           "before "
           "its own impression, a stored history that reaches into the test period), or users "
           "return to items, which is legitimate, or negatives were sampled from items that no "
           "user meets. Find out which before using any accuracy of this report.";
}

std::string arm_note(std::string const& arm, LeakResult const& result) {
    return "Leakage suspected: " + arm + " has AUC " + interval_words(result.auc) +
           ", above the oracle's " + format("%.3f", result.limit) +
           " beyond the interval of the difference. Nothing can beat the model that drew the "
           "labels for long: it was given something of the test labels.";
}

}  // namespace

AccuracyLeakage::AccuracyLeakage(RunContext& context, engine::EvaluationSet const& set,
                                 LogicalOrder const& order, metrics::Predictions const& labels)
    : context_(context) {
    auto const ages = order.gather(context.comm, std::span(set.candidate_age));
    context.comm.run_phase("leakage probes", [&] {
        if (!context.comm.is_root()) return;
        auto scored = labels;
        for (auto const probe : metrics::kProbes) {
            scored.logits.clear();
            for (auto const age : ages)
                scored.logits.push_back(metrics::fires(probe, age) ? 1.0F : 0.0F);
            probed_.push_back(
                {probe, metrics::sample_probe(scored, context.spec.seed,
                                              context.spec.accuracy.bootstrap_replicates)});
        }
    });
}

void AccuracyLeakage::report(std::vector<std::string> const& contestants,
                             std::vector<metrics::ArmSamples> const& samples,
                             metrics::ArmSamples const* oracle) {
    auto const seed = context_.spec.seed;
    std::vector<metrics::ArmSamples const*> rows;
    for (auto const& one : samples) rows.push_back(&one);
    std::optional<Suspect> worst;
    auto const note_if_suspicious = [&](Suspect one) {
        if (one.result.verdict == LeakVerdict::suspicious &&
            (!worst || one.result.auc.value > worst->result.auc.value))
            worst = std::move(one);
    };
    // The probes look at the same occurrences: one note tells of all, that of the highest AUC.
    auto& notes = context_.report.notes;
    for (auto const& [probe, own] : probed_) {
        auto const result = oracle == nullptr ? metrics::judge_probe(own, rows, seed)
                                              : metrics::judge_known(own, *oracle, seed);
        add_row(metrics::to_string(probe), "probe", own.positives, own.negatives, result);
        note_if_suspicious({metrics::to_string(probe), result, &own});
    }
    if (worst) notes.push_back(probe_note(worst->score, *worst->probe, worst->result));
    if (oracle == nullptr) return;
    worst.reset();
    for (std::size_t i = 0; i < contestants.size(); ++i) {
        auto const result = metrics::judge_arm(samples[i], *oracle, seed);
        add_row(contestants[i], "arm", std::nan(""), std::nan(""), result);
        note_if_suspicious({contestants[i], result, nullptr});
    }
    if (worst) notes.push_back(arm_note(worst->score, worst->result));
}

void AccuracyLeakage::add_row(std::string const& score, char const* kind, double positives,
                              double negatives, LeakResult const& result) {
    Row(context_.report.table("leakage"))
        .set("score", score)
        .set("kind", std::string(kind))
        .set_interval("auc", result.auc)
        .set("fires_positive", positives)
        .set("fires_negative", negatives)
        .set("limit", result.limit)
        .set_interval("above_limit", result.above_limit)
        .set_interval("above_ratio", result.above_ratio)
        .set("verdict", metrics::to_string(result.verdict))
        .add();
}

}  // namespace ckvsim::app
