// The smallest fleet, or the highest load, within an SLO: a search on a grid that gets easier with
// every step, with few evaluations, and how sure its answer is. Knows nothing of simulations.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace ckvsim::fleet {

/// Fleet sizes or loads worth telling apart, the hardest first. `ease` grows with the index: nodes,
/// or 1 / load.
class PlanGrid {
  public:
    /// Nodes 1, 2, ... each, then in steps of 2 %, up to `most` (included).
    static PlanGrid of_nodes(std::uint32_t most);
    /// Loads from `highest` down to `lowest` in steps of 2 %.
    static PlanGrid of_loads(double highest, double lowest);

    [[nodiscard]] std::size_t size() const { return ease_.size(); }
    [[nodiscard]] double ease(std::size_t index) const { return ease_[index]; }
    /// First index that is at least so easy; the last one when none is.
    [[nodiscard]] std::size_t index_of(double ease) const;

  private:
    std::vector<double> ease_;
};

/// What one evaluation says.
struct PlanProbe {
    bool good = false;  ///< within the SLO
    /// So far from the limit that another seed would say the same: replicates skip it.
    bool certain = false;
    /// Load over what can be carried, roughly: guides the next step, never decides.
    double pressure = 1.0;
};

/// Evaluates a grid point with a replicate's seed. Pure: equal arguments, equal answers.
using PlanOracle = std::function<PlanProbe(std::size_t index, std::uint32_t replicate)>;

struct PlanFound {
    bool feasible = false;    ///< some point of the grid is good
    std::size_t index = 0;    ///< median over the replicates: the hardest good point; else the last
    std::size_t lowest = 0;   ///< over the replicates
    std::size_t highest = 0;  ///< ...
    /// The next harder point of the first replicate is bad; false when the first of the grid is
    /// good.
    bool bounded = false;
};

/// Brackets from `start` by the probes' pressure, then bisects; further replicates begin at the
/// first one's answer and walk only where its verdicts were not certain. With n replicates the
/// median of the answer lies outside [lowest, highest] with probability 2^(1 - n).
PlanFound find_hardest_good(PlanGrid const& grid, std::size_t start, std::uint32_t replicates,
                            PlanOracle const& oracle);

}  // namespace ckvsim::fleet
