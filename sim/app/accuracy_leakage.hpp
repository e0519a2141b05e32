// Did the label leak into the histories? Probes without a model on the test impressions, and arms
// that beat the truth.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "app/logical_order.hpp"
#include "app/run_context.hpp"
#include "metrics/accuracy.hpp"
#include "metrics/leakage.hpp"

namespace ckvsim::app {

class AccuracyLeakage {
  public:
    /// Collective. `labels` as LogicalOrder::gather_labels made them (rank 0).
    AccuracyLeakage(RunContext& context, engine::EvaluationSet const& set,
                    LogicalOrder const& order, metrics::Predictions const& labels);

    /// Rank 0: a row a probe and, with an oracle, a row a contestant; a note for what is
    /// suspicious. `oracle`: null where unknown.
    void report(std::vector<std::string> const& contestants,
                std::vector<metrics::ArmSamples> const& samples, metrics::ArmSamples const* oracle);

  private:
    struct Probed {
        metrics::Probe probe;
        metrics::ProbeSamples samples;
    };
    struct Suspect {
        std::string score;
        metrics::LeakResult result;
        metrics::ProbeSamples const* probe;  ///< null for an arm
    };
    void add_row(std::string const& score, char const* kind, double positives, double negatives,
                 metrics::LeakResult const& result);

    RunContext& context_;
    std::vector<Probed> probed_;
};

}  // namespace ckvsim::app
