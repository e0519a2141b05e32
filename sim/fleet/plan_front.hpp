// Which of several fleets nobody beats in everything at once.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace ckvsim::fleet {

/// Nodes, cost, energy, p99: less is better. NaN where it is not given: then it decides nothing.
using PlanGoals = std::array<double, 4>;

/// Indices, ascending, of the points that no other point beats: no worse in every goal that both
/// give, better in one. Of equal points the first stays.
std::vector<std::size_t> pareto_front(std::vector<PlanGoals> const& points);

}  // namespace ckvsim::fleet
