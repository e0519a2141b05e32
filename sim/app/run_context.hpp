// State of one `ckvsim run`, shared by its phases. All phases are collective.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "app/progress.hpp"
#include "comm/communicator.hpp"
#include "config/spec.hpp"
#include "core/hash.hpp"
#include "decode/backend.hpp"
#include "engine/population_scan.hpp"
#include "engine/user_set.hpp"
#include "metrics/report_model.hpp"
#include "report/report_file.hpp"
#include "workload/population.hpp"

namespace ckvsim::app {

struct RunContext {
    config::Spec spec;
    comm::Communicator& comm;
    Progress progress;
    std::unique_ptr<workload::Population> population;
    std::vector<engine::ShardUsers> owned;  ///< this rank's shards and users
    std::vector<UserId> users;              ///< flattened
    engine::PopulationScan scan;            ///< summed over ranks
    UnorderedHash logical_hash;             ///< contributions of this rank only; summed at the end
    UnorderedHash scores_hash;
    metrics::Report report;  ///< meaningful on rank 0
    std::vector<report::BulkArray> bulk;
    std::string record_requests;  ///< file to record the request streams in; empty: none
    std::map<std::string, double> bytes_per_interaction;  ///< by arm, set by the memory phase

    RunContext(config::Spec s, comm::Communicator& c, bool quiet)
        : spec(std::move(s)), comm(c), progress(quiet || !c.is_root()) {}

    /// Weights of a variant and seed, loaded once. DataError when the file is missing or foreign.
    std::shared_ptr<model::SimWeights const> weights(model::VariantParams const& variant,
                                                     std::uint64_t seed);
    /// A new serving backend, fitted to fit_histories() where the strategy fits anything. Not
    /// cached: per-item tables of several arms need not live at once.
    std::shared_ptr<decode::Backend const> backend(model::VariantParams const& variant,
                                                   kv::StrategyParams const& strategy,
                                                   std::uint64_t seed);
    /// Layout of an arm's entries; needs the population.
    [[nodiscard]] kv::EntryLayout layout(config::ArmSpec const& arm) const;

  private:
    /// engine::fit_histories() of the spec, drawn once. DataError when HSTU has nothing to learn
    /// from.
    std::span<std::vector<ItemId> const> fit_histories();

    std::map<std::string, std::shared_ptr<model::SimWeights const>> weights_;
    std::optional<std::vector<std::vector<ItemId>>> fit_histories_;
};

/// Spec -> population. Local; a dataset is read from its HDF5 file.
std::unique_ptr<workload::Population> make_population(config::Spec const& spec);

void report_arms(RunContext& context);         ///< table arms; needs the population
void run_workload_phase(RunContext& context);  ///< scan, workload tables, token hash
void run_memory_phase(RunContext& context);
/// Whether every arm's budgets hold a user and the storage has room; throws ConfigError on all
/// ranks.
void plan_residency_phase(RunContext& context);
void run_residency_phase(RunContext& context);
void run_accuracy_phase(RunContext& context);
void run_serving_phase(RunContext& context);

/// Hashes, the resolved spec, provenance and phase times into the report. `perturbed_token` is what
/// --perturb-token named, or "none". Collective.
void finish_report(RunContext& context, std::string const& perturbed_token);

/// Calibration file of the spec or its default place.
std::string calibration_path(config::Spec const& spec);

}  // namespace ckvsim::app
