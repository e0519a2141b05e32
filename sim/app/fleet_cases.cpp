#include "app/fleet_cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "config/spec.hpp"
#include "core/error.hpp"

namespace ckvsim::app {

namespace {

using config::FleetSearch;
using config::FleetTiers;
using fleet::FleetResult;
using fleet::FleetStage;

template <class T>
std::vector<T> axis(std::vector<T> const& values, T base) {
    return values.empty() ? std::vector<T>{base} : values;
}

FleetTiers base_tiers(fleet::NodeBudget const& budget) {
    if (budget.nvme_tier && budget.dram_tier) return FleetTiers::hbm_dram_nvme;
    return budget.dram_tier ? FleetTiers::hbm_dram : FleetTiers::hbm;
}

std::uint32_t simulated_nodes(fleet::FleetParams const& params) {
    return params.sampled_nodes == 0 ? params.nodes : std::min(params.sampled_nodes, params.nodes);
}

/// Loads and fleet sizes tried by a search differ by at least this.
constexpr double kSearchResolution = 1.02;
constexpr double kLargestLoad = 1e9;
constexpr std::uint32_t kMostNodes = 65536;

std::string number_text(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value);
    return text;
}

/// Runs a case at other loads and sizes, one sampled node alone.
class Search {
  public:
    Search(config::FleetStudy const& study, FleetCase const& item, FleetCaseSetup const& setup)
        : study_(study), item_(item), setup_(setup) {
        item_.fleet.sampled_nodes = 1;
    }

    FleetOutcome max_load() {
        double low = 0.0;
        double high = 0.0;
        double load = item_.fleet.traffic.requests_per_second;
        // Outwards by factors of two until the limit lies between two loads.
        while (low == 0.0 || high == 0.0) {
            if (good(load, item_.fleet.nodes)) {
                low = load;
                load *= 2.0;
                if (load > kLargestLoad) break;
            } else {
                high = load;
                load /= 2.0;
                if (load < 1e-3 * item_.fleet.nodes) break;
            }
        }
        if (low == 0.0)
            return finish(
                "no load meets the SLO: even " + number_text(2.0 * load) + " requests/s miss it",
                false);
        while (high > 0.0 && high / low > kSearchResolution) {
            double const middle = std::sqrt(low * high);
            (good(middle, item_.fleet.nodes) ? low : high) = middle;
        }
        return finish("highest load within the SLO, found to 2 %", true);
    }

    FleetOutcome nodes() {
        double const load = item_.fleet.traffic.requests_per_second;
        auto const most =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(kMostNodes, item_.fleet.users));
        std::uint32_t bad = 0;
        std::uint32_t enough = 1;
        while (!good(load, enough)) {
            bad = enough;
            if (enough == most)
                return finish(
                    "no fleet meets the SLO: " + std::to_string(most) + " nodes miss it, too",
                    false);
            enough = std::min(most, enough * 2);
        }
        while (enough - bad > 1) {
            std::uint32_t const middle = bad + (enough - bad) / 2;
            if (good(load, middle)) {
                enough = middle;
            } else {
                bad = middle;
            }
        }
        return finish("fewest nodes within the SLO", true);
    }

  private:
    bool good(double load, std::uint32_t nodes) {
        FleetCase trial = item_;
        trial.fleet.traffic.requests_per_second = load;
        trial.fleet.nodes = nodes;
        auto outcome = outcome_of(study_, trial, setup_, run_case(study_, trial, setup_, {}, {}));
        requests_ += outcome.simulated_requests;
        bool const meets = meets_slo(study_, outcome);
        if (meets || best_.requests_per_second == 0.0) best_ = std::move(outcome);
        return meets;
    }
    FleetOutcome finish(std::string words, bool feasible) {
        best_.search = std::move(words);
        best_.feasible = feasible;
        best_.simulated_requests = requests_;
        return std::move(best_);
    }

    config::FleetStudy const& study_;
    FleetCase item_;
    FleetCaseSetup const& setup_;
    FleetOutcome best_;
    std::uint64_t requests_ = 0;
};

}  // namespace

std::vector<FleetCase> fleet_cases(config::FleetStudy const& study,
                                   node::Platform const& platform) {
    auto const& s = study.sweep;
    FleetCase base;
    base.fleet = study.fleet;
    base.policy = study.tiers.policy;
    std::vector<FleetCase> cases = {base};
    auto const multiply = [&](auto const& values, auto&& set) {
        std::vector<FleetCase> next;
        next.reserve(cases.size() * values.size());
        for (auto const& item : cases) {
            for (auto const& value : values) {
                next.push_back(item);
                set(next.back(), value);
            }
        }
        cases = std::move(next);
    };
    multiply(study.models, [](FleetCase& c, auto const& v) { c.model = v; });
    multiply(axis(s.users, static_cast<double>(study.fleet.users)),
             [](FleetCase& c, double v) { c.fleet.users = static_cast<std::uint64_t>(v); });
    multiply(axis(s.nodes, study.fleet.nodes), [](FleetCase& c, auto v) { c.fleet.nodes = v; });
    multiply(axis(s.requests_per_second, study.fleet.traffic.requests_per_second),
             [](FleetCase& c, double v) { c.fleet.traffic.requests_per_second = v; });
    multiply(axis(s.catalogue_items, study.catalogue_items),
             [](FleetCase& c, double v) { c.catalogue_items = v; });
    multiply(axis(s.candidates, study.candidates), [](FleetCase& c, auto v) { c.candidates = v; });
    multiply(axis(s.tiers, base_tiers(study.budget)), [](FleetCase& c, auto v) { c.tiers = v; });
    multiply(axis(s.efficiency, platform.efficiency),
             [](FleetCase& c, double v) { c.efficiency = v; });
    multiply(axis(s.policies, study.tiers.policy), [](FleetCase& c, auto v) { c.policy = v; });
    multiply(axis(s.routing, study.fleet.routing.kind),
             [](FleetCase& c, auto v) { c.fleet.routing.kind = v; });
    multiply(study.strategies, [](FleetCase& c, auto const& v) { c.arm = v; });
    for (std::size_t i = 0; i < cases.size(); ++i) {
        cases[i].number = i;
        cases[i].refusal = fleet::refusal(cases[i].model, cases[i].arm.keeping);
    }
    return cases;
}

FleetCaseSetup::FleetCaseSetup(config::FleetStudy const& study, node::Platform platform,
                               std::vector<double> const& noise, FleetCase const& item)
    : costs(item.model, item.arm.keeping, item.catalogue_items, item.candidates) {
    platform.efficiency = item.efficiency;
    auto budget = study.budget;
    budget.dram_tier = item.tiers != FleetTiers::hbm;
    budget.nvme_tier = item.tiers == FleetTiers::hbm_dram_nvme;
    auto tiers = study.tiers;
    tiers.policy = item.policy;
    setup = fleet::make_node_setup(platform, budget, tiers, study.batching, costs,
                                   fleet::catalogue_growth(item.fleet.events));
    setup.noise = noise;
}

double FleetCaseSetup::least_request_ms() const {
    auto const stage_ms = [&](fleet::StageWork const& work) {
        return (std::max(work.bytes * setup.ns_per_byte, work.flops * setup.ns_per_flop) +
                setup.batch_overhead_ns) *
               1e-6;
    };
    return stage_ms(costs.decode(0)) + stage_ms(costs.score());
}

std::uint64_t FleetCaseSetup::largest_tier_bytes() const {
    return std::max({setup.tiers.hbm_bytes, setup.tiers.dram_bytes, setup.tiers.nvme_bytes});
}

fleet::FleetParams run_params(config::FleetStudy const& study, FleetCase const& item) {
    auto params = item.fleet;
    double const share = static_cast<double>(simulated_nodes(params)) / params.nodes;
    params.traffic.duration_s =
        std::max(study.requests / (params.traffic.requests_per_second * share),
                 study.least_slos * params.slo_ms * 1e-3);
    params.warmup_s = params.traffic.duration_s * study.warmup_share;
    return params;
}

FleetResult run_case(config::FleetStudy const& study, FleetCase const& item,
                     FleetCaseSetup const& setup, fleet::FleetPeers const& peers,
                     fleet::FleetProgress const& progress, fleet::RunKeeper* keeper) {
    return fleet::run_fleet(run_params(study, item), setup.setup, setup.costs, peers, progress,
                            keeper);
}

std::array<double, fleet::kDevices> FleetOutcome::busy() const {
    double const gpus = static_cast<double>(simulated_nodes) * setup.gpus;
    double const flash = static_cast<double>(simulated_nodes) * setup.nvme_devices;
    std::array<double, fleet::kDevices> const devices = {gpus, gpus, gpus, flash,
                                                         static_cast<double>(simulated_nodes)};
    std::array<double, fleet::kDevices> shares{};
    for (std::size_t d = 0; d < fleet::kDevices; ++d)
        shares[d] = static_cast<double>(result.busy_ns[d]) / (measured_s * 1e9 * devices[d]);
    return shares;
}

bool meets_slo(config::FleetStudy const& study, FleetOutcome const& outcome) {
    auto const& result = outcome.result;
    auto const& total = result.latency[static_cast<std::size_t>(FleetStage::total)];
    double const shed = result.offered == 0 ? 1.0
                                            : static_cast<double>(result.shed + result.lost) /
                                                  static_cast<double>(result.offered);
    auto const busy = outcome.busy();
    return total.quantile_ns(0.99) <= study.fleet.slo_ms * 1e6 && shed <= study.shed_limit &&
           *std::max_element(busy.begin(), busy.end()) <= 1.0;
}

FleetOutcome outcome_of(config::FleetStudy const& study, FleetCase const& item,
                        FleetCaseSetup const& setup, FleetResult result) {
    FleetOutcome outcome;
    auto const params = run_params(study, item);
    outcome.duration_s = params.traffic.duration_s;
    outcome.measured_s = params.traffic.duration_s - params.warmup_s;
    outcome.simulated_requests = result.offered + result.warmup_requests;
    outcome.result = std::move(result);
    outcome.setup = setup.setup;
    outcome.exact = setup.costs.exact();
    outcome.requests_per_second = item.fleet.traffic.requests_per_second;
    outcome.nodes = item.fleet.nodes;
    outcome.simulated_nodes = simulated_nodes(item.fleet);
    fleet::FleetUsers const users(item.fleet.nodes, item.fleet.nodes, item.fleet.activity,
                                  item.fleet.history, item.fleet.seed);
    outcome.mean_entry_bytes = users.mean_over_lengths([&](std::uint32_t events) {
        return static_cast<double>(
            setup.costs.entry_bytes(std::min(events, setup.costs.max_interactions())));
    });
    return outcome;
}

std::vector<double> load_noise(std::string const& path) {
    if (path.empty()) return {1.0};
    auto const platform = config::load_platform(path);
    for (auto const& [key, stages] : platform.costs) {
        auto const decode = stages.find("decode");
        if (decode != stages.end()) return decode->second.noise_quantiles;
    }
    throw DataError(path, 0,
                    "the platform has no measured decode costs to take variability from; measure "
                    "them with: ckvsim calibrate <spec>");
}

FleetOutcome search_case(config::FleetStudy const& study, FleetCase const& item,
                         FleetCaseSetup const& setup) {
    switch (study.search) {
        case FleetSearch::max_load:
            return Search(study, item, setup).max_load();
        case FleetSearch::nodes:
            return Search(study, item, setup).nodes();
        case FleetSearch::none:
            break;
    }
    return outcome_of(study, item, setup, run_case(study, item, setup, {}, {}));
}

}  // namespace ckvsim::app
