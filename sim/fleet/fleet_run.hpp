// A fleet under traffic: nodes on their own where users stay at home, in windows where routing
// looks at load.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "fleet/arrivals.hpp"
#include "fleet/events.hpp"
#include "fleet/fleet_result.hpp"
#include "fleet/fleet_users.hpp"
#include "fleet/node_setup.hpp"
#include "fleet/node_sim.hpp"
#include "fleet/routing.hpp"
#include "fleet/run_keeper.hpp"
#include "fleet/start_state.hpp"

namespace ckvsim::fleet {

/// Users, traffic and nodes of one run.
struct FleetParams {
    std::uint64_t users = 1'000'000;
    std::uint32_t nodes = 8;
    /// Simulate only so many of the nodes, evenly spread, with all their users and requests; 0 =
    /// all. Counters are not scaled. Only where users stay at home: nodes are independent then.
    std::uint32_t sampled_nodes = 0;
    ActivityParams activity;
    HistoryParams history;
    FleetTraffic traffic;
    RoutingParams routing;
    StartState start = StartState::stationary;
    double warmup_s = 0.0;
    double slo_ms = 30.0;
    double prefetch_lead_ms = 0.0;
    std::vector<FleetEvent> events = {};  ///< at most kMostEvents
    std::uint64_t seed = 1;

    bool operator==(FleetParams const&) const = default;
};

/// How ranks talk, given by the application; the default is one process alone. Collective.
struct FleetPeers {
    int rank = 0;
    int ranks = 1;
    /// Sends `to[r]` to rank r; returns what came, in rank order.
    std::function<std::vector<std::byte>(std::vector<std::vector<std::byte>> const& to)> exchange;
    /// Element-wise maximum over ranks.
    std::function<void(std::vector<std::int64_t>&)> max;
};

/// (requests done here, requests expected here, what one of the nodes has counted so far). The last
/// is a sample of a running fleet, without gauges and hash; valid during the call.
using FleetProgress = std::function<void(std::uint64_t, std::uint64_t, FleetResult const&)>;

/// Nodes that a rank simulates, ascending.
std::vector<std::uint32_t> nodes_of_rank(FleetParams const& params, int rank, int ranks);
/// The run's events with the nodes that they hit.
EventPlan plan_of_events(FleetParams const& params);
/// Bytes of user state a rank needs at once at most, with `threads` nodes side by side.
std::uint64_t state_bytes_needed(FleetParams const& params, EvictionPolicy policy, int ranks,
                                 int threads);

/// This rank's part; merge over ranks (fleet_result.hpp). Collective where routing looks at load.
/// With a keeper it begins where an earlier run was and keeps where it is.
FleetResult run_fleet(FleetParams const& params, NodeSetup const& setup, ServingCosts const& costs,
                      FleetPeers const& peers, FleetProgress const& progress = {},
                      RunKeeper* keeper = nullptr);

}  // namespace ckvsim::fleet
