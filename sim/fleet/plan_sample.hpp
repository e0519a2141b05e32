// One node of a fleet with a sample of its users: users and tier capacities divided by the same
// factor, everything else as it is (sim/docs/plan.md says why the hits stay the same).
#pragma once

#include <cstdint>
#include <string>

#include "fleet/fleet_run.hpp"
#include "fleet/node_setup.hpp"
#include "fleet/serving_costs.hpp"

namespace ckvsim::fleet {

/// How small a sample may be.
struct PlanSampling {
    std::uint32_t users = 65536;  ///< of a node, unless its smallest full tier asks for more
    std::uint32_t entries = 512;  ///< that each list holds at least when it cannot hold everybody
    double requests = 1e5;        ///< expected of one evaluation, warm-up included

    bool operator==(PlanSampling const&) const = default;
};

struct SampledNode {
    FleetParams params;   ///< one node alone, with the load of one node
    NodeSetup setup;      ///< with smaller tiers
    double factor = 1.0;  ///< users of the node over those simulated
};

/// `fleet`: the whole fleet; its routing must be home. `mean_entry_bytes`: of its users at the
/// start. The duration follows from `sampling.requests`, at least `least_s` of virtual time.
SampledNode sample_node(FleetParams const& fleet, NodeSetup const& setup, double mean_entry_bytes,
                        PlanSampling const& sampling, double warmup_share, double least_s);

/// The node with room for everybody in GPU memory: what is left when memory does not matter.
NodeSetup without_memory_limit(NodeSetup setup);

/// What a million requests cost; NaN where the platform does not say.
struct PlanCosts {
    double money = 0.0;  ///< in the platform's currency
    double energy_kwh = 0.0;
};

/// cost = nodes * cost_per_node_hour / 3600 / load * 1e6; energy = nodes * watts / load * 1e6 with
/// watts = idle + (busy - idle) * gpu_busy, or busy throughout (an upper bound) when the platform
/// does not know idle.
PlanCosts costs_per_million(node::Platform const& platform, double nodes,
                            double requests_per_second, double gpu_busy);

}  // namespace ckvsim::fleet
