#include "fleet/plan_sample.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

/// An entry's last visit is known to 1.05 ms: a time to live keeps so many ticks.
constexpr double kLeastTimeToLive_s = 0.105;
/// Nothing that a sample holds comes near it, and eight of them do not overflow.
constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 56U;
constexpr double kNotGiven = std::numeric_limits<double>::quiet_NaN();

/// Largest factor at which every list that overflows still holds enough entries.
double factor_limit(NodeSetup const& setup, double users, double mean_entry_bytes,
                    PlanSampling const& sampling) {
    double limit = std::numeric_limits<double>::infinity();
    double waiting = users * mean_entry_bytes;  // bytes that look for a place below
    auto const add = [&](double bytes, double lists) {
        if (bytes <= 0.0 || waiting <= 0.0) return;
        limit = std::min(limit, bytes / lists / mean_entry_bytes / sampling.entries);
        waiting -= bytes;
    };
    double const hbm = static_cast<double>(setup.tiers.hbm_bytes) * setup.gpus;
    // A tenth of room to spare: lists of single GPUs are uneven.
    if (hbm > 1.1 * waiting) return limit;
    add(hbm, setup.gpus);
    add(static_cast<double>(setup.tiers.dram_bytes), 1.0);
    add(static_cast<double>(setup.tiers.nvme_bytes), 1.0);
    return limit;
}

}  // namespace

SampledNode sample_node(FleetParams const& fleet, NodeSetup const& setup, double mean_entry_bytes,
                        PlanSampling const& sampling, double warmup_share, double least_s) {
    validate(fleet.routing.kind == RoutingKind::home,
             "sample_node: nodes are independent only where users stay at home");
    SampledNode sampled;
    sampled.params = fleet;
    sampled.setup = setup;
    double const users = static_cast<double>(fleet.users) / fleet.nodes;
    double factor =
        std::min(users / sampling.users, factor_limit(setup, users, mean_entry_bytes, sampling));
    if (setup.tiers.ttl_s > 0.0) factor = std::min(factor, setup.tiers.ttl_s / kLeastTimeToLive_s);
    double const simulated = std::max(std::round(users / std::max(factor, 1.0)), 1.0);
    factor = users / simulated;
    sampled.factor = factor;
    auto& tiers = sampled.setup.tiers;
    for (auto* bytes : {&tiers.hbm_bytes, &tiers.dram_bytes, &tiers.nvme_bytes})
        *bytes = static_cast<std::uint64_t>(static_cast<double>(*bytes) / factor);
    tiers.ttl_s /= factor;
    auto& params = sampled.params;
    params.users = static_cast<std::uint64_t>(simulated);
    params.nodes = 1;
    params.sampled_nodes = 0;
    params.traffic.requests_per_second /= fleet.nodes;
    params.traffic.duration_s =
        std::max(sampling.requests / params.traffic.requests_per_second, least_s);
    params.warmup_s = params.traffic.duration_s * warmup_share;
    return sampled;
}

NodeSetup without_memory_limit(NodeSetup setup) {
    setup.tiers.hbm_bytes = kUnlimited;
    setup.tiers.dram_bytes = 0;
    setup.tiers.nvme_bytes = 0;
    setup.tiers.inclusive = false;
    setup.tiers.admission = Admission::all;
    setup.tiers.policy = EvictionPolicy::lru;
    setup.tiers.ttl_s = 0.0;
    return setup;
}

PlanCosts costs_per_million(node::Platform const& platform, double nodes,
                            double requests_per_second, double gpu_busy) {
    double const node_seconds = nodes * 1e6 / requests_per_second;
    PlanCosts costs{kNotGiven, kNotGiven};
    if (platform.cost_per_node_hour > 0.0)
        costs.money = node_seconds * platform.cost_per_node_hour / 3600.0;
    if (platform.busy_watts > 0.0) {
        double const idle = platform.idle_watts > 0.0 ? platform.idle_watts : platform.busy_watts;
        double const watts = idle + (platform.busy_watts - idle) * std::clamp(gpu_busy, 0.0, 1.0);
        costs.energy_kwh = node_seconds * watts / 3.6e6;
    }
    return costs;
}

}  // namespace ckvsim::fleet
