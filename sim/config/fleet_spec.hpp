// The spec of a fleet study: users, traffic, nodes and strategies without trained weights; one row
// of results for every point of its sweep. `ckvsim run` recognises it by "study": "fleet".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fleet/fleet_run.hpp"
#include "fleet/node_setup.hpp"
#include "fleet/serving_costs.hpp"
#include "fleet/tiers.hpp"
#include "node/platform.hpp"

namespace ckvsim::config {

/// A named way of keeping histories.
struct FleetArm {
    std::string name;
    fleet::KeepingParams keeping;

    bool operator==(FleetArm const&) const = default;
};

/// Which tiers below GPU memory entries may use.
enum class FleetTiers : std::uint8_t { hbm, hbm_dram, hbm_dram_nvme };
std::string to_string(FleetTiers tiers);

/// What to look for at every point besides its metrics.
enum class FleetSearch : std::uint8_t {
    none,
    max_load,  ///< highest load within the SLO on the given nodes
    nodes      ///< fewest nodes that carry the given load within the SLO
};
std::string to_string(FleetSearch search);

/// Axes of the sweep; the points are their product. An empty axis holds the base value alone.
struct FleetSweep {
    std::vector<double> requests_per_second;
    std::vector<double> users;
    std::vector<std::uint32_t> nodes;
    std::vector<double> catalogue_items;
    std::vector<std::uint32_t> candidates;
    std::vector<FleetTiers> tiers;
    std::vector<double> efficiency;  ///< of a nominal platform, see DESIGN honesty rules
    std::vector<fleet::EvictionPolicy> policies;
    std::vector<fleet::RoutingKind> routing;

    bool operator==(FleetSweep const&) const = default;
};

/// A whole fleet study, every default filled in.
struct FleetStudy {
    int schema_version = 1;
    std::string name = "unnamed";
    std::string description;
    std::vector<fleet::ServingModel> models;
    std::vector<FleetArm> strategies;
    double catalogue_items = 1e7;
    std::uint32_t candidates = 128;
    fleet::FleetParams fleet;  ///< traffic.duration_s is derived: requests / rate
    double requests = 1e6;     ///< expected, simulated at every point, warm-up included
    double warmup_share = 0.2;
    double least_slos = 4.0;  ///< a run lasts at least so many times the SLO
    fleet::NodeBudget budget;
    fleet::TierParams tiers;
    fleet::Batching batching;
    FleetSweep sweep;
    FleetSearch search = FleetSearch::none;
    double shed_limit = 0.001;  ///< share of requests that a load within the SLO may shed
    std::string platform_path;
    std::string noise_path;  ///< calibrated platform whose variability service times get
    std::string output;

    bool operator==(FleetStudy const&) const = default;
};

/// True when the text is a JSON object with "study": "fleet"; false for everything else.
bool is_fleet_study(std::string const& text);
bool is_fleet_study_file(std::string const& path);

/// As load_spec and parse_spec (spec.hpp), for fleet studies.
FleetStudy load_fleet_study(std::string const& path,
                            std::vector<std::string> const& overrides = {});
FleetStudy parse_fleet_study(std::string const& text, std::string const& origin,
                             std::vector<std::string> const& overrides = {});
std::string dump_fleet_study(FleetStudy const& study);
/// workloads/schema/fleet.schema.json and sim/docs/fleet_spec.md.
std::string fleet_schema_json();
std::string fleet_markdown();

}  // namespace ckvsim::config
