// Where does sharing hurt? The test impressions in thirds: by the length of the user's history, by
// his activity, and by the popularity of the candidate; every contestant judged in each.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/logical_order.hpp"
#include "app/run_context.hpp"
#include "metrics/accuracy.hpp"

namespace ckvsim::app {

class AccuracySplits {
  public:
    /// Collective. `labels` as LogicalOrder::gather_labels made them (rank 0).
    AccuracySplits(RunContext& context, engine::EvaluationSet const& set, LogicalOrder const& order,
                   metrics::Predictions const& labels);

    /// Rank 0: one more seed of a contestant, its logits in logical order.
    void add(std::string const& contestant, std::vector<float> const& logits);
    /// Rank 0: a row a contestant and group. `reference` and `none` are the contestants that anchor
    /// the lift.
    void report(std::vector<std::string> const& contestants, std::string const& reference,
                std::string const& none);

  private:
    struct Group {
        std::string split;
        std::string name;
        double low = 0.0;  ///< of the attribute, both inclusive
        double high = 0.0;
        std::vector<std::uint32_t> positions;  ///< impressions, ascending
        metrics::Predictions part;             ///< labels and users of these
        std::map<std::string, metrics::ArmSamples> samples;
    };
    void split(char const* name, std::vector<float> const& attribute,
               metrics::Predictions const& labels);

    RunContext& context_;
    std::vector<Group> groups_;
};

}  // namespace ckvsim::app
