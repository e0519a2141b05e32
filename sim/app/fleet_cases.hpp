// The cases of a fleet study and their results: what `ckvsim run` does with "study": "fleet".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/fleet_spec.hpp"
#include "fleet/fleet_run.hpp"
#include "node/platform.hpp"

namespace ckvsim::app {

/// One point of the sweep served by one strategy.
struct FleetCase {
    std::size_t number = 0;
    fleet::ServingModel model;
    config::FleetArm arm;
    fleet::FleetParams fleet;
    double catalogue_items = 0.0;
    std::uint32_t candidates = 0;
    config::FleetTiers tiers = config::FleetTiers::hbm_dram_nvme;
    fleet::EvictionPolicy policy = fleet::EvictionPolicy::lru;
    double efficiency = 1.0;
    std::optional<std::string> refusal;
};

struct FleetOutcome {
    fleet::FleetResult result;
    fleet::NodeSetup setup;
    bool exact = false;
    double mean_entry_bytes = 0.0;
    std::uint64_t simulated_requests = 0;  ///< of all runs of a search
    std::string search;                    ///< what the search found, in words; empty without one
    double requests_per_second = 0.0;      ///< of the last good run
    std::uint32_t nodes = 0;
    std::uint32_t simulated_nodes = 0;
    double duration_s = 0.0;  ///< virtual, warm-up included
    double measured_s = 0.0;  ///< virtual, without the warm-up
    bool feasible = true;

    /// Busy time of the devices of one kind over the measured time: above 1 they get more work than
    /// they can do, however short the queues still are.
    [[nodiscard]] std::array<double, fleet::kDevices> busy() const;
};

/// The product of the sweep's axes with models and strategies, in a fixed order. Strategies that do
/// not apply are cases, too, with their reason.
std::vector<FleetCase> fleet_cases(config::FleetStudy const& study, node::Platform const& platform);

/// Setup and costs of a case; ConfigError when weights and pools do not fit a GPU.
struct FleetCaseSetup {
    fleet::ServingCosts costs;
    fleet::NodeSetup setup;
    FleetCaseSetup(config::FleetStudy const& study, node::Platform platform,
                   std::vector<double> const& noise, FleetCase const& item);

    /// A request without history on an idle GPU: no SLO below that can be met.
    [[nodiscard]] double least_request_ms() const;
    /// Room for entries in the largest tier of a node.
    [[nodiscard]] std::uint64_t largest_tier_bytes() const;
};

/// The case's parameters with the virtual time that its expected requests take, and at least
/// study.least_slos times the SLO: a shorter run ends before an overload shows.
fleet::FleetParams run_params(config::FleetStudy const& study, FleetCase const& item);

/// One run of the case, this rank's part. Collective where `peers` has several ranks.
fleet::FleetResult run_case(config::FleetStudy const& study, FleetCase const& item,
                            FleetCaseSetup const& setup, fleet::FleetPeers const& peers,
                            fleet::FleetProgress const& progress,
                            fleet::RunKeeper* keeper = nullptr);

/// Ratios of measured decode times to their mean, from the first strategy of a calibrated platform
/// file that has them; {1} for an empty path. Throws DataError when none has.
std::vector<double> load_noise(std::string const& path);

/// The case with its search, on this process alone.
FleetOutcome search_case(config::FleetStudy const& study, FleetCase const& item,
                         FleetCaseSetup const& setup);

/// p99 within the SLO, hardly anything shed, and no device given more work than it can do.
bool meets_slo(config::FleetStudy const& study, FleetOutcome const& outcome);
/// Fills in what a result says about its case.
FleetOutcome outcome_of(config::FleetStudy const& study, FleetCase const& item,
                        FleetCaseSetup const& setup, fleet::FleetResult result);

}  // namespace ckvsim::app
