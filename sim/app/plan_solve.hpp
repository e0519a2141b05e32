// Answers one question of a plan by evaluating sampled nodes, and re-runs answers in full.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "app/plan_options.hpp"
#include "fleet/plan_search.hpp"

namespace ckvsim::app {

/// Steps of the grid of nodes that full runs go from the plan's answer, up or down.
constexpr int kMostCheckSteps = 8;

/// What one evaluation, sampled or full, says about a fleet.
struct PlanFigures {
    double p50_ns = 0.0;
    double p99_ns = 0.0;
    double hit_ratio = 0.0;
    double hbm_ratio = 0.0;
    std::array<double, fleet::kDevices> busy{};  ///< shares of the measured time
    std::uint64_t decision_hash = 0;

    bool operator==(PlanFigures const&) const = default;
};

/// A fleet that meets the SLO, met on the way to the answer.
struct PlanPoint {
    std::uint32_t nodes = 0;
    double p99_ns = 0.0;
    double gpu_busy = 0.0;

    bool operator==(PlanPoint const&) const = default;
};

struct PlanAnswer {
    std::size_t job = 0;
    bool applies = true;    ///< the strategy can serve the model
    bool feasible = false;  ///< some fleet, or some load, is within the SLO
    std::string reason;     ///< why not, in words; empty where feasible
    /// Found or given; with low and high over the replicates.
    std::uint32_t nodes = 0, nodes_low = 0, nodes_high = 0;
    double load = 0.0, load_low = 0.0, load_high = 0.0;
    /// The same question with room for every entry in GPU memory: nodes, or load.
    double without_memory_limit = 0.0;
    bool memory_bound = false;  ///< that would take fewer nodes, or carry more
    std::string bound;          ///< what gives out one step harder, in words
    PlanFigures figures;        ///< of the answer, first replicate
    double factor = 1.0;        ///< users of a node over those simulated
    std::uint64_t users_simulated = 0;
    std::uint64_t evaluations = 0;
    std::uint64_t requests = 0;  ///< simulated by them
    std::vector<PlanPoint> points;

    bool operator==(PlanAnswer const&) const = default;
};

/// An answer re-run with all users of one node and its real tiers.
struct PlanCheck {
    std::size_t job = 0;
    bool finalist = false;
    std::string skipped;  ///< why it was not run; empty: it was
    std::uint32_t nodes = 0;
    PlanFigures sampled;
    PlanFigures full;              ///< of the same nodes
    std::uint32_t nodes_full = 0;  ///< fewest by full runs; 0 = not within kMostCheckSteps
    /// exact; at most: fewer nodes hold too many users for a full run; below: every fleet tried
    /// meets the SLO; above: none does; empty: not run.
    std::string nodes_full_is;
    std::uint64_t users_simulated = 0;

    bool operator==(PlanCheck const&) const = default;
};

/// Thread-safe; every answer is a function of the plan, the job and `start` alone.
class PlanSolver {
  public:
    explicit PlanSolver(Plan const& plan) : plan_(plan) {}

    /// `before`: the answer of the chain's job before, whose fleet per user is the first guess.
    PlanAnswer answer(PlanJob const& job, PlanAnswer const* before);
    PlanCheck check(PlanAnswer const& answer, bool finalist);

  private:
    double node_load_without_memory_limit(FleetCase const& item, FleetCaseSetup const& setup);

    Plan const& plan_;
    std::mutex mutex_;
    std::map<std::string, double> node_loads_;
};

}  // namespace ckvsim::app
