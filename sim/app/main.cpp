// ckvsim: command line. Results go to standard output, diagnostics and progress to standard error.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <new>
#include <optional>

#include "app/analyze_command.hpp"
#include "app/cachesim_command.hpp"
#include "app/commands.hpp"
#include "app/plan_command.hpp"
#include "app/running_stage.hpp"
#include "app/spec_options.hpp"
#include "app/validate_sim_command.hpp"
#include "core/error.hpp"
#include "workload/readers.hpp"

namespace {

using ckvsim::app::add_spec_options;
using ckvsim::app::RunOptions;
using ckvsim::app::SpecOptions;

char const* const kFooter =
    "Exit codes: 0 ok, 1 internal error, 2 command line, 3 spec or platform file, 4 data or "
    "weights file,\n"
    "            5 MPI, HDF5, file system or memory, 6 reports differ (diff).\n"
    "Example:    scripts/quickstart            (everything, from set-up to plots)";

void apply_threads(SpecOptions const& options) {
    if (options.threads > 0) omp_set_num_threads(options.threads);
}

/// Declares every subcommand; the callback chosen by the command line is stored in `chosen`.
class CommandLine {
  public:
    explicit CommandLine(ckvsim::comm::Communicator& comm) : comm_(comm) {
        app_.description(
            "Compares full per-user KV caches with CollectiveKV and exact alternatives: memory, "
            "latency, accuracy.");
        app_.footer(kFooter);
        app_.require_subcommand(1);
        app_.set_help_all_flag("--help-all", "Help of all subcommands");
        app_.set_version_flag("--version", ckvsim::app::version_line, "Print version and commit");
        declare_run();
        ckvsim::app::declare_plan(app_, plan_)->callback([this] {
            chosen_ = [this] { return ckvsim::app::plan_command(comm_, plan_); };
        });
        declare_spec_commands();
        declare_file_commands();
    }
    CLI::App& app() { return app_; }
    int run() { return chosen_(); }

  private:
    void declare_run() {
        auto* run =
            app_.add_subcommand("run", "Run a spec and write its report (under mpirun or alone)");
        run->footer(
            "Example: mpirun -n 2 ckvsim run workloads/specs/quickstart.json -o "
            "results/local/quickstart.h5\n"
            "         mpirun -n 2 ckvsim run workloads/specs/fleet-ci.json      (a fleet study)\n"
            "         mpirun -n 2 ckvsim run workloads/specs/fleet-ci.json --resume   (after a "
            "kill)");
        add_spec_options(*run, run_);
        run->add_option("-o,--output", run_.output,
                        "Report file (default: files.output of the spec)");
        run->add_option("--checkpoint", run_.checkpoint.folder,
                        "Fleet studies: folder for the state of the unfinished run (default: "
                        "REPORT.checkpoint; none: no checkpoints)");
        run->add_option("--checkpoint-interval", run_.checkpoint.interval_s,
                        "Seconds between states of a running case (default: the longer of 300 and "
                        "50 times the last write)")
            ->check(CLI::Range(0.001, 1e9));
        run->add_flag("--resume", run_.checkpoint.resume,
                      "Go on where the run was that was stopped or killed; the report is the one "
                      "it would have made. Without a checkpoint it begins at the beginning");
        run->add_option("--record-requests", run_.record_requests,
                        "Record the request streams in this file; replay it with traffic of kind "
                        "recorded (sim/docs/traffic.md)");
        run->add_option(
            "--perturb-token", run_.perturb_token,
            "Self-check: replace history token 'user,position' and watch the logical hash change");
        run->callback([this] {
            chosen_ = [this] {
                apply_threads(run_);
                return ckvsim::app::run_command(comm_, run_);
            };
        });
    }
    void declare_spec_commands() {
        auto* validate = app_.add_subcommand(
            "validate", "Check a spec and print it with every default filled in");
        add_spec_options(*validate, spec_);
        validate->add_option("--print", print_,
                             "Print only this value, for example --print files.output; repeatable");
        validate->callback(
            [this] { choose([this] { return ckvsim::app::validate_command(spec_, print_); }); });

        auto* prepare =
            app_.add_subcommand("prepare", "Write the sample file that ckvsim-train reads");
        prepare->footer(
            "Example: ckvsim prepare workloads/specs/quickstart.json && ckvsim-train "
            "results/local/quickstart.samples.ckvt");
        add_spec_options(*prepare, spec_);
        prepare->add_option("-o,--output", output_,
                            "Sample file (default: results/local/<name>.samples.ckvt)");
        prepare->callback(
            [this] { choose([this] { return ckvsim::app::prepare_command(spec_, output_); }); });

        auto* calibrate = app_.add_subcommand(
            "calibrate", "Measure this machine's stage costs for a spec's strategies");
        add_spec_options(*calibrate, spec_);
        calibrate->add_option("-o,--output", output_,
                              "Platform file (default: files.calibration of the spec)");
        calibrate->add_option("--seconds", seconds_, "Time budget in seconds")
            ->capture_default_str()
            ->check(CLI::Range(1.0, 3600.0));
        calibrate->add_option("--storage", storage_,
                              "Also measure the storage device under this folder (256 MiB)");
        calibrate->callback([this] {
            choose([this] {
                return ckvsim::app::calibrate_command(spec_, output_, seconds_, storage_);
            });
        });
        ckvsim::app::declare_analyze(app_, analyze_)->callback([this] {
            chosen_ = [this] {  // collective
                apply_threads(analyze_);
                return ckvsim::app::analyze_command(comm_, analyze_);
            };
        });
        ckvsim::app::declare_validate_sim(app_, validate_sim_)->callback([this] {
            choose([this] {
                apply_threads(validate_sim_);
                return ckvsim::app::validate_sim_command(comm_, validate_sim_);
            });
        });
    }
    void declare_diff() {
        auto* diff = app_.add_subcommand(
            "diff",
            "Compare reports with the first one: what changed in spec and environment, which "
            "numbers differ; exit code 6 when any does");
        diff->add_option("reports", reports_, "Two or more report files, the baseline first")
            ->required()
            ->expected(2, 1000);
        diff->add_flag("--wall-clock", wall_clock_, "Compare wall-clock tables too, at 30 %");
        diff->add_flag("--noise", noise_,
                       "Judge measured numbers by their own noise instead: intervals that do not "
                       "overlap, wall-clock times beyond the difference of each run's two passes")
            ->excludes("--wall-clock");
        diff->footer(
            "Examples: ckvsim diff results/golden/ci.h5 new.h5      same code and spec? (CI gate)\n"
            "          ckvsim diff --noise before.h5 after.h5       did anything measured change?\n"
            "          ckvsim diff --noise base.h5 a.h5 b.h5        several runs against one");
        diff->callback([this] {
            choose([this] { return ckvsim::app::diff_command(reports_, wall_clock_, noise_); });
        });
    }
    void declare_file_commands() {
        declare_import();
        ckvsim::app::declare_cachesim(app_, cachesim_)->callback([this] {
            choose([this] { return ckvsim::app::cachesim_command(cachesim_); });
        });

        auto* show = app_.add_subcommand("show", "Print a report's tables");
        show->footer(
            "Examples: ckvsim show results/local/quickstart.h5 accuracy memory\n"
            "          ckvsim show --follow results/local/fleet-ci.h5     (a fleet study that "
            "runs)");
        show->add_option("report", left_, "Report file")->required();
        show->add_option("tables", print_,
                         "Tables to print (default: summary, provenance and all tables)");
        show->add_flag("-f,--follow", follow_,
                       "The report of a fleet study that runs: print its cases as they end, then "
                       "the report; exit code 5 when the run stops without one");
        show->callback([this] {
            choose([this] {
                int const code = follow_ ? ckvsim::app::follow_command(left_) : 0;
                return code != 0 ? code : ckvsim::app::show_command(left_, print_);
            });
        });

        auto* finish = app_.add_subcommand(
            "finish", "Make a partial report of a fleet study that was interrupted");
        finish->footer(
            "Example: ckvsim finish results/local/fleet-ci.h5 -o "
            "results/local/fleet-ci-partial.h5\n"
            "The checkpoint stays: ckvsim run --resume still goes on from it.");
        finish->add_option("report", left_, "Report that the run was to write, or its checkpoint")
            ->required();
        finish->add_option("-o,--output", output_,
                           "Partial report (default: the run's, when it is not there)");
        finish->callback(
            [this] { choose([this] { return ckvsim::app::finish_command(left_, output_); }); });

        declare_diff();

        auto* schema = app_.add_subcommand(
            "schema",
            "Print what a report holds or which keys a spec has, as documented in sim/docs");
        schema
            ->add_option("what", schema_,
                         "report, spec or fleet: Markdown; spec-json, fleet-json: JSON Schema "
                         "(default: report)")
            ->check(CLI::IsMember({"report", "spec", "spec-json", "fleet", "fleet-json"}));
        schema->callback(
            [this] { choose([this] { return ckvsim::app::schema_command(schema_); }); });
        app_.add_subcommand("version", "Print version, commit, compiler, MPI and CPU")
            ->callback([this] { choose(ckvsim::app::version_command); });
    }
    /// The formats and their options come from the registry of readers.
    void declare_import() {
        auto* importer =
            app_.add_subcommand("import", "Convert a dataset into one compact HDF5 file (rank 0)");
        std::string footer = "Formats (sim/docs/datasets.md):\n";
        std::map<std::string, std::string> meanings;
        for (auto const& reader : ckvsim::workload::readers()) {
            footer += "  " + reader.name + ": " + reader.summary + "\n";
            for (auto const& option : reader.options) {
                std::string const shown =
                    option.default_value.empty() ? "" : " (default " + option.default_value + ")";
                meanings[option.name] += (meanings[option.name].empty() ? "" : "; ") + reader.name +
                                         ": " + option.meaning + shown;
            }
        }
        footer +=
            "Examples: ckvsim import kuairand-pure /data/kuairand-pure -o "
            "results/local/kuairand-pure.dataset.h5\n"
            "          ckvsim import log clicks.tsv.gz --columns "
            "user=uid,item=video,time=ts,label=click --delimiter tab -o clicks.dataset.h5";
        importer->footer(footer);
        importer->add_option("format", import_.format, "Dataset format, see below")->required();
        importer->add_option("path", import_.path, "Folder or file of the dataset (plain or .gz)")
            ->required();
        importer->add_option("-o,--output", import_.output, "Dataset file to write")->required();
        importer->add_flag("-q,--quiet", import_.quiet, "No progress on standard error");
        for (auto const& [name, meaning] : meanings) {
            importer->add_option_function<std::string>(
                "--" + name,
                [this, option = name](std::string const& value) {
                    import_.reader_options[option] = value;
                },
                meaning);
        }
        importer->callback(
            [this] { choose([this] { return ckvsim::app::import_command(import_); }); });
    }
    /// Commands that are not collective run on rank 0 alone.
    void choose(std::function<int()> command) {
        chosen_ = [this, command = std::move(command)] {
            if (!comm_.is_root()) return 0;
            apply_threads(spec_);
            return command();
        };
    }

    ckvsim::comm::Communicator& comm_;
    CLI::App app_;
    RunOptions run_;
    SpecOptions spec_;
    ckvsim::app::ImportCommand import_;
    ckvsim::app::CachesimOptions cachesim_;
    ckvsim::app::AnalyzeOptions analyze_;
    ckvsim::app::ValidateSimOptions validate_sim_;
    ckvsim::app::PlanOptions plan_;
    std::string output_, schema_, left_;
    std::vector<std::string> print_;
    double seconds_ = 30.0;
    std::string storage_;
    std::vector<std::string> reports_;
    bool wall_clock_ = false, noise_ = false, follow_ = false;
    std::function<int()> chosen_;
};

/// "stage: " for errors that do not say themselves where they happened.
std::string in_stage() {
    auto const stage = ckvsim::app::running_stage();
    return stage.empty() ? "" : stage + ": ";
}

std::string who(ckvsim::comm::Communicator const& comm) {
    if (comm.size() == 1) return "";
    return "rank " + std::to_string(comm.rank()) + " of " + std::to_string(comm.size());
}

int report_error(ckvsim::comm::Communicator const& comm, char const* what, ckvsim::ExitCode code) {
    // Agreed failures carry the same message on every rank: one rank prints it.
    if (comm.is_root()) std::fprintf(stderr, "ckvsim: %s\n", what);
    return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {  // NOLINT(bugprone-exception-escape): only --help may throw
    // A file size limit then fails a write with EFBIG, which is reported, instead of killing the
    // rank.
    std::signal(SIGXFSZ, SIG_IGN);
    std::optional<ckvsim::app::StageSignals> early("");
    ckvsim::comm::Runtime runtime(argc, argv);
    auto& comm = runtime.world();
    early.reset();  // MPI has set handlers of its own meanwhile
    // Ends before MPI does, where ranks that leave together may still be told to stop.
    ckvsim::app::StageSignals const signals(who(comm));
    CommandLine line(comm);
    try {
        line.app().parse(argc, argv);
    } catch (CLI::ParseError const& error) {
        if (!comm.is_root()) return error.get_exit_code() == 0 ? 0 : 2;
        return line.app().exit(error) == 0 ? 0 : static_cast<int>(ckvsim::ExitCode::usage);
    }
    std::string const speaker = comm.size() == 1 ? "" : who(comm) + ": ";
    try {
        ckvsim::comm::require_launched(comm);
        return line.run();
    } catch (ckvsim::comm::CollectiveError const& error) {
        return report_error(comm, error.what(), error.exit_code());
    } catch (ckvsim::Error const& error) {
        // Not agreed on: the other ranks may wait for this one in a collective call.
        std::fprintf(stderr, "ckvsim: %s%s%s\n", speaker.c_str(), in_stage().c_str(), error.what());
        if (comm.size() == 1) return static_cast<int>(error.exit_code());
        runtime.abort(static_cast<int>(error.exit_code()));
    } catch (std::bad_alloc const&) {
        std::fprintf(stderr,
                     "ckvsim: %s%smemory: an allocation failed (out of memory). use fewer users, "
                     "fewer arms or more machines\n",
                     speaker.c_str(), in_stage().c_str());
        if (comm.size() == 1) return static_cast<int>(ckvsim::ExitCode::backend);
        runtime.abort(static_cast<int>(ckvsim::ExitCode::backend));
    } catch (std::exception const& error) {
        std::fprintf(stderr, "ckvsim: %s%s%s; ending the job\n", speaker.c_str(),
                     in_stage().c_str(), error.what());
        runtime.abort(static_cast<int>(ckvsim::ExitCode::internal));
    }
}
