// The subcommands of ckvsim. Each returns a process exit code or throws ckvsim::Error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/checkpoint_folder.hpp"
#include "comm/communicator.hpp"
#include "workload/readers.hpp"

namespace ckvsim::app {

struct SpecOptions {
    std::string spec;
    std::vector<std::string> overrides;  ///< "/json/pointer=value"
    bool quiet = false;
    int threads = 0;  ///< per rank; 0 = OMP_NUM_THREADS or all cores in the affinity mask
};

struct RunOptions : SpecOptions {
    std::string output;            ///< empty: the spec's
    std::string record_requests;   ///< empty: requests are not recorded
    std::string perturb_token;     ///< "user,position": self-check of the hashes
    CheckpointOptions checkpoint;  ///< of a fleet study
};

struct ImportCommand {
    std::string format;
    std::string path;
    std::string output;
    bool quiet = false;
    workload::ImportOptions reader_options;  ///< as given; see workload/readers.hpp
};

int run_command(comm::Communicator& comm, RunOptions const& options);  ///< collective
/// A spec with "study": "fleet"; called by run_command(). Collective.
int fleet_command(comm::Communicator& comm, RunOptions const& options);
int validate_command(SpecOptions const& options, std::vector<std::string> const& print);
int prepare_command(SpecOptions const& options, std::string const& output);
/// `storage`: a folder whose device is measured too; empty = none.
int calibrate_command(SpecOptions const& options, std::string const& output, double seconds,
                      std::string const& storage);
int import_command(ImportCommand const& command);
/// A report of the finished cases of an interrupted fleet study. `given`: its report or checkpoint
/// folder; `output`: empty = the report that the run was to write, when there is none. Local.
int finish_command(std::string const& given, std::string const& output);
int show_command(std::string const& report, std::vector<std::string> const& tables);
/// `show --follow`: prints what a running fleet study writes beside its report, until it ends.
/// ExitCode::backend when it ended without its report. Local.
int follow_command(std::string const& report);
/// Compares each further report with the first. ExitCode::difference when any of them differs:
/// beyond the registry's tolerances, or beyond noise where `noise` asks for that instead.
int diff_command(std::vector<std::string> const& reports, bool wall_clock, bool noise);
/// `what`: report, spec, fleet (Markdown) or spec-json, fleet-json (JSON Schema).
int schema_command(std::string const& what);
/// "ckvsim 0.1.0 (commit 1234567)": one line.
std::string version_line();
int version_command();

}  // namespace ckvsim::app
