// Figures that describe an imported dataset, the same for every reader.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "workload/dataset.hpp"

namespace ckvsim::workload {

/// In print order: users, items, events, length quantiles, label rate of each split, time span,
/// users with both labels in the test split, share of unseen items, repeats, duplicates. Quantiles
/// are nearest-rank (the smallest value that at least this share of the users does not exceed).
/// A rate over nothing is left out. Needs a dataset that check_dataset accepts.
std::vector<std::pair<std::string, double>> compute_statistics(Dataset const& dataset);

/// Spread of the label rate over the contexts that hold at least 1 % of the impressions, in words;
/// empty when there is one such context. `values` names the contexts; empty = by their numbers.
std::string describe_context_spread(Dataset const& dataset, std::string const& context_name,
                                    std::vector<std::string> const& values);

}  // namespace ckvsim::workload
