// `ckvsim run`: phases in order, then the report.
#include <omp.h>

#include <cstdio>
#include <filesystem>
#include <set>

#include "app/commands.hpp"
#include "app/machine.hpp"
#include "app/row.hpp"
#include "app/run_context.hpp"
#include "config/fleet_spec.hpp"
#include "core/error.hpp"
#include "report/report_show.hpp"
#include "workload/perturbed.hpp"

namespace ckvsim::app {

namespace {

bool serves(config::Spec const& spec) { return spec.executed.enabled || spec.simulated.enabled; }

void require_recordable(config::Spec const& spec, RunOptions const& options) {
    if (options.record_requests.empty() || serves(spec)) return;
    throw Error(ExitCode::usage,
                "--record-requests " + options.record_requests +
                    ": executed and simulated runs are off, there are no requests. "
                    "switch one on in /measurements");
}

/// Files of recorded requests that do not exist.
std::set<std::string> missing_recordings(config::Spec const& spec) {
    std::set<std::string> missing;
    if (!serves(spec)) return missing;
    for (auto const* traffic : {&spec.executed.traffic, &spec.simulated.traffic}) {
        if (traffic->kind == workload::ArrivalKind::recorded &&
            !std::filesystem::exists(traffic->path))
            missing.insert(traffic->path);
    }
    return missing;
}

/// Everything the run will read must exist before any work starts; one message names all that is
/// missing.
void require_inputs(config::Spec const& spec, std::string const& spec_path) {
    std::vector<std::string> missing;
    bool weights_missing = false;
    bool calibration_missing = false;
    if (spec.accuracy.enabled || spec.memory.resident || spec.executed.enabled ||
        spec.residency.enabled) {
        for (auto const& variant : config::variants_to_train(spec)) {
            for (auto const seed : spec.training.seeds) {
                auto const path = config::weights_path(spec, variant, seed);
                if (std::filesystem::exists(path)) continue;
                weights_missing = true;
                if (missing.size() < 8) missing.push_back(path);
            }
        }
    }
    if (serves(spec)) {
        if (!std::filesystem::exists(calibration_path(spec))) {
            calibration_missing = true;
            missing.push_back(calibration_path(spec));
        }
        if (!std::filesystem::exists(spec.platform_path)) missing.push_back(spec.platform_path);
    }
    auto const recordings = missing_recordings(spec);
    missing.insert(missing.end(), recordings.begin(), recordings.end());
    if (missing.empty()) return;
    std::string message = "missing input, nothing was run:";
    for (auto const& path : missing) message += "\n  " + path;
    if (weights_missing) {
        auto const samples = "results/local/" + spec.name + ".samples.ckvt";
        message += "\nmake the weights with:\n  ckvsim prepare " + spec_path + " -o " + samples +
                   "\n  ckvsim-train " + samples;
    }
    if (calibration_missing)
        message += "\nmake the calibration with:\n  ckvsim calibrate " + spec_path;
    if (!recordings.empty()) {
        message +=
            "\nrecord requests with:\n  ckvsim run SPEC --record-requests FILE\nwhere SPEC makes "
            "its own traffic";
    }
    throw DataError(spec_path, 0, message);
}

/// A run that cannot fit is refused before it starts.
void require_memory(config::Spec const& spec) {
    auto const& node = spec.fleet.node;
    std::uint64_t const tiers =
        (node.hbm_cache_bytes + node.dram_cache_bytes) * std::uint64_t{spec.fleet.nodes};
    if (spec.executed.enabled && tiers > available_memory_bytes()) {
        throw ConfigError(
            spec.name,
            {{"/fleet/node",
              std::to_string(spec.fleet.nodes) + " nodes with real tiers of " +
                  std::to_string(tiers) + " bytes in all, but this machine has " +
                  std::to_string(available_memory_bytes()) + " available",
              "lower hbm_cache_bytes or dram_cache_bytes, or set /measurements/executed/enabled "
              "to false"}});
    }
    if (spec.residency.enabled && spec.residency.memory.budget_bytes > available_memory_bytes()) {
        throw ConfigError(spec.name, {{"/measurements/residency/memory/budget_bytes",
                                       std::to_string(spec.residency.memory.budget_bytes) +
                                           " bytes of resident users, but this machine has " +
                                           std::to_string(available_memory_bytes()) + " available",
                                       "lower it, or give every rank a machine of its own"}});
    }
    if (spec.memory.max_resident_bytes > physical_memory_bytes()) {
        throw ConfigError(spec.name, {{"/measurements/memory/max_resident_bytes",
                                       std::to_string(spec.memory.max_resident_bytes) +
                                           " bytes, but this machine has " +
                                           std::to_string(physical_memory_bytes()),
                                       "lower it or leave it at 0 (60 % of the memory)"}});
    }
}

std::unique_ptr<workload::Population> make_run_population(config::Spec const& spec,
                                                          std::string const& perturb) {
    auto population = make_population(spec);
    if (perturb.empty()) return population;
    unsigned long long user = 0;
    unsigned position = 0;
    char rest = 0;
    if (std::sscanf(perturb.c_str(), "%llu,%u%c", &user, &position, &rest) != 2 ||
        user >= population->users() || position >= population->history_length(user)) {
        throw Error(ExitCode::usage,
                    "--perturb-token " + perturb +
                        ": expected user,position of an existing history token, for example 0,0");
    }
    return workload::perturb_token(std::move(population), user, position);
}

void add_workload_notes(RunContext& context) {
    auto const& scan = context.scan;
    double const mean = static_cast<double>(scan.tokens) /
                        static_cast<double>(std::max<std::uint64_t>(scan.users, 1));
    auto const& model = context.spec.model;
    if (mean < 200 && model.stack_layers() == 0) {
        std::string const branch = model.has_long_attention()
                                       ? "top " + std::to_string(model.top_k)
                                       : std::to_string(model.bucket_rows()) + " sums";
        char text[200];
        std::snprintf(text, sizeof text,
                      "Histories hold %.1f events on average: the long branch (%s) is barely "
                      "exercised; claims on it need "
                      "histories over 200.",
                      mean, branch.c_str());
        context.report.notes.push_back(text);
    }
}

}  // namespace

int run_command(comm::Communicator& comm, RunOptions const& options) {
    if (config::is_fleet_study_file(options.spec)) return fleet_command(comm, options);
    if (options.checkpoint.resume || !options.checkpoint.folder.empty()) {
        throw Error(ExitCode::usage,
                    "--checkpoint, --resume: " + options.spec +
                        " is no fleet study; only those keep their state. run it again");
    }
    config::Spec spec;
    comm.run_phase("reading the spec", [&] {
        spec = config::load_spec(options.spec, options.overrides);
        require_inputs(spec, options.spec);
        require_memory(spec);
        require_recordable(spec, options);
    });
    auto const text = config::dump_spec(spec);
    comm.require_equal(hash_bytes(text.data(), text.size()), "the resolved spec");
    RunContext context(spec, comm, options.quiet);
    context.record_requests = options.record_requests;
    comm.run_phase("opening the workload",
                   [&] { context.population = make_run_population(spec, options.perturb_token); });
    comm.require_equal(context.population->digest(), "the workload");
    context.owned =
        engine::owned_users(context.population->users(), spec.shards, comm.rank(), comm.size());
    context.users = engine::flatten(context.owned);
    plan_residency_phase(context);
    report_arms(context);
    run_workload_phase(context);
    add_workload_notes(context);
    run_memory_phase(context);
    run_accuracy_phase(context);
    run_serving_phase(context);
    run_residency_phase(context);
    finish_report(context, options.perturb_token.empty() ? "none" : options.perturb_token);
    auto const output = !options.output.empty() ? options.output
                        : !spec.output.empty()  ? spec.output
                                                : "results/local/" + spec.name + ".h5";
    context.progress.begin("write " + output);
    report::write_report(comm, output, context.report, context.bulk);
    context.progress.end();
    if (comm.is_root()) {
        std::printf("%s", report::comparison_table(context.report).c_str());
        for (auto const& note : context.report.notes) std::printf("note: %s\n", note.c_str());
        std::printf("hash/logical %s\nhash/scores  %s\nreport       %s\n",
                    context.report.logical_hash.c_str(), context.report.scores_hash.c_str(),
                    output.c_str());
    }
    return 0;
}

}  // namespace ckvsim::app
