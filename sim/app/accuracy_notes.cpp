#include "app/accuracy_notes.hpp"

#include <algorithm>
#include <cmath>

namespace ckvsim::app {

namespace {

using config::Control;

class Notes {
  public:
    Notes(config::Spec const& spec, std::vector<Compared> const& compared)
        : spec_(spec), compared_(compared) {}

    std::vector<std::string> take() {
        within_users();
        attention();
        keys();
        parts();
        seeds();
        replicates();
        lengths();
        return std::move(notes_);
    }

  private:
    [[nodiscard]] Compared const* find(std::string const& name) const {
        for (auto const& one : compared_) {
            if (one.name == name) return &one;
        }
        return nullptr;
    }

    /// Worse in AUC beyond the interval, but not in gAUC.
    [[nodiscard]] bool loses_between_users_alone(std::string const& control) const {
        auto const* found = find(control);
        return found != nullptr && found->result.auc_difference.high < 0 &&
               found->result.gauc_difference.high >= 0;
    }

    void within_users() {
        if (loses_between_users_alone("control.no_history")) {
            notes_.emplace_back(
                "No gain within users: histories raise AUC, but gAUC not beyond the interval. They "
                "tell who clicks often rather than what he clicks, and a strategy that keeps the "
                "lift here has shown no more than that.");
        } else if (loses_between_users_alone("control.other_history")) {
            notes_.emplace_back(
                "No gain of a user's own history within users: with the history of another "
                "(control.other_history) gAUC is not worse beyond the interval, so a strategy that "
                "keeps the lift here has not shown that it keeps what is the user's own.");
        }
    }

    void attention() {
        auto const* mean_pool = find("control.mean_pool");
        if (mean_pool == nullptr || mean_pool->result.auc_difference.high < 0) return;
        notes_.emplace_back(
            "No power to judge attention: full KV is not better than mean-pooled history beyond "
            "the interval, so a strategy that keeps its score here has not shown that it keeps "
            "attention.");
    }

    void keys() {
        auto const* mean_keys = find("control.mean_keys");
        auto const& asked = spec_.accuracy.controls;
        if (mean_keys == nullptr) {
            if (std::find(asked.begin(), asked.end(), Control::mean_keys) == asked.end()) return;
            notes_.emplace_back(
                "Control mean_keys is left out: rows of K of model hstu are not an item's, so the "
                "catalogue has no mean of them. Whether K carries anything is not known here.");
        } else if (mean_keys->result.auc_difference.high >= 0) {
            notes_.emplace_back(
                "No power to judge K: full KV is not better than the same weights with every K row "
                "replaced by the mean (control.mean_keys) beyond the interval, so a strategy that "
                "keeps its score here has not shown that it keeps K.");
        }
    }

    /// Which parts of CollectiveKV the data have a use for, by what it loses without them: paired
    /// with the arm, seed by seed and user by user.
    void parts() {
        auto const* arm = first_collective(spec_);
        if (arm == nullptr) return;
        part("The pool index is", "control.m1", *arm);
        if (arm->weights.d_u > 0) part("The user-specific values are", "control.du0", *arm);
    }

    void part(char const* what, std::string const& control, config::ArmSpec const& arm) {
        auto const* with = find(arm.name);
        auto const* without = find(control);
        if (with == nullptr || without == nullptr) return;
        auto const loss = metrics::compare(*without->samples, *with->samples, *compared_[1].samples,
                                           spec_.accuracy.margin, spec_.seed)
                              .auc_difference;
        if (!(loss.high >= 0)) return;
        notes_.push_back(std::string(what) + " not shown to carry anything here: " + control +
                         ", trained without, is not worse than " + arm.name +
                         " beyond the interval of their difference.");
    }

    void seeds() {
        std::size_t const seeds = spec_.training.seeds.size();
        if (seeds >= kSeedsForVerdicts) return;
        notes_.push_back(std::to_string(seeds) +
                         (seeds == 1 ? " training seed: " : " training seeds: ") +
                         "intervals and verdicts of arms with weights of their own hold little or "
                         "nothing of how much trainings differ. Take " +
                         std::to_string(kSeedsForVerdicts) + " or more before you rank them.");
    }

    /// Names the arms (not controls: nobody acts on their verdicts).
    void replicates() {
        std::string names;
        for (auto const& one : compared_) {
            if (!one.result.verdict_may_flip || one.name.starts_with("control.")) continue;
            names += (names.empty() ? "" : ", ") + one.name;
        }
        if (names.empty()) return;
        notes_.push_back(
            "Verdicts that other random numbers of the bootstrap could change: " + names +
            ". The end of the interval that decides lies as near to the margin as " +
            std::to_string(spec_.accuracy.bootstrap_replicates) +
            " replicates can place it; take more (bootstrap_replicates).");
    }

    void lengths() {
        auto const& workload = spec_.workload;
        // As the model sees them.
        double const cap = std::min(workload.synthetic.history_cap, spec_.model.max_tokens);
        double const median = std::min(workload.synthetic.history_median, cap);
        if (workload.kind != config::WorkloadKind::synthetic || median < kLongHistory) return;
        notes_.push_back("Synthetic histories, " + std::to_string(std::llround(median)) +
                         " events in the median: no click dataset that this program was tried on "
                         "has them so long (sim/docs/datasets.md), so nothing here was checked "
                         "against real ones.");
    }

    config::Spec const& spec_;
    std::vector<Compared> const& compared_;
    std::vector<std::string> notes_;
};

}  // namespace

config::ArmSpec const* first_collective(config::Spec const& spec) {
    for (auto const& arm : spec.arms) {
        if (arm.strategy.kind == kv::StrategyKind::collective) return &arm;
    }
    return nullptr;
}

std::vector<std::string> accuracy_notes(config::Spec const& spec,
                                        std::vector<Compared> const& compared) {
    return Notes(spec, compared).take();
}

}  // namespace ckvsim::app
