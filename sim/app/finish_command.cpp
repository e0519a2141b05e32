// `ckvsim finish`: a report of what an interrupted fleet study had done.
#include <filesystem>

#include "app/checkpoint_folder.hpp"
#include "app/commands.hpp"
#include "app/fleet_cases.hpp"
#include "app/fleet_report.hpp"
#include "app/fleet_rows.hpp"
#include "config/spec.hpp"
#include "core/error.hpp"
#include "report/report_file.hpp"

namespace ckvsim::app {

namespace {

namespace fs = std::filesystem;

/// The folder itself, or the one beside the report that it was to become.
std::string folder_of(std::string const& given) {
    std::error_code ignored;
    auto const beside = checkpoint_folder_of(given);
    for (auto const& folder : {given, beside})
        if (fs::exists(folder + "/checkpoint.json", ignored)) return folder;
    throw DataError(given, 0,
                    "no checkpoint there nor in " + beside +
                        ". give the folder, or the report that the run was to write");
}

/// What is about to be overwritten must be asked for.
std::string output_of(std::string const& asked, CheckpointDescription const& found) {
    if (!asked.empty()) return asked;
    std::error_code ignored;
    if (fs::exists(found.report, ignored))
        throw Error(ExitCode::usage, found.report +
                                         ": is there already. name the partial report with -o, "
                                         "this one to replace it");
    return found.report;
}

struct Inputs {
    node::Platform platform;
    std::vector<double> noise;
};

Inputs load_inputs(config::FleetStudy const& study, CheckpointDescription const& found) {
    Inputs inputs{config::load_platform(study.platform_path), load_noise(study.noise_path)};
    auto const now = fleet_inputs(inputs.platform, inputs.noise);
    if (now == found.inputs) return inputs;
    throw DataError(
        study.platform_path + (study.noise_path.empty() ? "" : " or " + study.noise_path), 0,
        "changed since the run: the checkpoint belongs to " + found.inputs + ", now " + now +
            ". put the old file back");
}

/// Cases that apply; the others get their reason in the report, as in a whole one.
std::size_t report_refused(metrics::Report& report, config::FleetStudy const& study,
                           node::Platform const& platform) {
    std::size_t applicable = 0;
    for (auto const& item : fleet_cases(study, platform)) {
        if (item.refusal)
            report_refused_case(report, study, item);
        else
            ++applicable;
    }
    return applicable;
}

std::string partial_note(std::size_t done, std::size_t cases, CheckpointDescription const& found) {
    auto const run = "the run of " + found.started;
    if (done == cases)
        return "PARTIAL: all " + std::to_string(cases) + " cases had finished, but " + run +
               " stopped before its report; winners by regime are left out.";
    return "PARTIAL: " + std::to_string(done) + " of " + std::to_string(cases) +
           " cases had finished when " + run +
           " stopped; the others are missing here. Winners by regime are left out.";
}

}  // namespace

int finish_command(std::string const& given, std::string const& asked) {
    auto const folder = folder_of(given);
    if (checkpoint_in_use(folder))
        throw BackendError(folder +
                           ": its run goes on. wait for its end, or look at it with ckvsim show "
                           "--follow");
    auto const found = read_checkpoint_description(folder);
    auto const output = output_of(asked, found);
    auto const study =
        config::parse_fleet_study(found.spec_json, folder + "/checkpoint.json (spec)");
    auto const inputs = load_inputs(study, found);
    auto const finished = read_finished_cases(folder, found.key, CheckpointFolder::warn);
    if (finished.numbers.empty())
        throw DataError(folder, 0,
                        "none of " + std::to_string(found.cases) +
                            " cases had finished. go on with ckvsim run --resume");
    metrics::Report report;
    unpack_rows(report, finished.rows);
    auto const cases = report_refused(report, study, inputs.platform);
    auto const alone = comm::make_serial();
    complete_fleet_report(report, *alone, study, inputs.platform, inputs.noise, false);
    // Who simulated is the run's program; who wrote is this one.
    report.provenance["partial"] = std::to_string(finished.numbers.size()) + " of " +
                                   std::to_string(cases) + " cases, simulated by " + found.program +
                                   ", begun " + found.started;
    report.provenance["ranks"] = "not kept";
    report.notes.insert(report.notes.begin(), partial_note(finished.numbers.size(), cases, found));
    report::write_report(*alone, output, report, {});
    print_fleet_report(report, output);
    return 0;
}

}  // namespace ckvsim::app
