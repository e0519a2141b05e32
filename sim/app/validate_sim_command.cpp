#include "app/validate_sim_command.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/fidelity_points.hpp"
#include "app/machine.hpp"
#include "app/progress.hpp"
#include "app/row.hpp"
#include "app/run_context.hpp"
#include "app/spec_options.hpp"
#include "app/timed_arms.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "engine/calibration.hpp"
#include "report/report_show.hpp"

namespace ckvsim::app {

namespace {

/// Wall-clock figures of over-subscribed cores would say nothing about the simulation.
void require_quiet_cores(comm::Communicator const& comm) {
    if (comm.size() > 1) {
        throw Error(ExitCode::usage,
                    "validate-sim: started on " + std::to_string(comm.size()) +
                        " ranks; it measures one node with all threads of one process. start it "
                        "without mpirun");
    }
    int const cores = std::min(online_cores(), affinity_cores());
    if (omp_get_max_threads() <= cores) return;
    throw Error(ExitCode::usage, "validate-sim: " + std::to_string(omp_get_max_threads()) +
                                     " threads on " + std::to_string(cores) +
                                     " cores: wall-clock times would not be comparable. use "
                                     "--threads " +
                                     std::to_string(cores));
}

/// The spec with one node, whose stream is as long as a pass may be.
config::Spec one_node_spec(ValidateSimOptions const& options) {
    auto spec = config::load_spec(options.spec, options.overrides);
    spec.fleet.nodes = 1;
    if (!spec.executed.enabled) {
        throw ConfigError(options.spec,
                          {{"/measurements/executed/enabled", "false: there is no traffic to run",
                            "true, with traffic for the executed twin"}});
    }
    auto& traffic = spec.executed.traffic;
    if (traffic.kind == workload::ArrivalKind::poisson)
        traffic.duration_s = 1.5 * options.requests / traffic.requests_per_second;
    return spec;
}

ValidateSimOptions with_defaults(ValidateSimOptions options, config::Spec const& spec) {
    std::uint32_t const most = spec.model.max_tokens;
    if (options.lengths.empty()) options.lengths = {std::max(most / 3, 1U), most};
    for (auto const length : options.lengths) {
        if (length >= 1 && length <= most) continue;
        throw Error(ExitCode::usage, "validate-sim: --lengths " + std::to_string(length) +
                                         ": expected 1 to " + std::to_string(most) +
                                         ", the spec's /model/max_tokens");
    }
    if (options.output.empty()) options.output = "results/local/" + spec.name + "-fidelity.h5";
    return options;
}

/// Executed passes over all points, each time in another order, with calibration between them.
class Validation {
  public:
    Validation(RunContext& context, ValidateSimOptions const& options)
        : context_(context), options_(options) {}

    std::vector<PointOutcome> run() {
        prepare();
        slice(0);
        plan();
        for (std::uint32_t pass = 0; pass < options_.repeats; ++pass) {
            execute(pass);
            slice(pass + 1);
        }
        calibration_->say_what_was_measured();
        platform_ = calibration_->platform();
        name_measured_platform(platform_, "ckvsim validate-sim");
        judge();
        return std::move(outcomes_);
    }
    [[nodiscard]] node::Platform const& platform() const { return platform_; }

  private:
    void prepare() {
        context_.progress.begin("requests and backends");
        arms_ = timed_arms(context_.spec, *context_.population);
        if (arms_.empty()) {
            throw ConfigError(options_.spec, {{"/arms", "none measures latency",
                                               "give one \"measure\": [\"latency\", ...]"}});
        }
        stream_ = base_stream(context_, options_.requests);
        engine::CalibrationParams params;
        params.seed = context_.spec.seed;
        for (auto const& arm : arms_)
            params.arena_bytes_by_arm.push_back(entries_bytes(arm, stream_));
        calibration_ = std::make_unique<engine::Calibration>(
            arms_, *context_.population, params,
            [this](std::string const& line) { context_.progress.note(line); });
    }
    void slice(std::uint32_t number) {
        context_.progress.begin("calibrate, slice " + std::to_string(number + 1) + " of " +
                                std::to_string(options_.repeats + 1));
        calibration_->run(options_.calibration_seconds / (options_.repeats + 1));
    }
    /// Rates follow from the first slice; the points are judged by all of them.
    void plan() {
        context_.progress.begin("plan");
        auto const first = calibration_->platform();
        for (auto const& arm : arms_) {
            for (auto const tokens : options_.lengths) {
                for (auto const candidates : options_.candidates) {
                    auto const requests = cut_stream(stream_, tokens, candidates);
                    for (auto const over : options_.oversubscription) {
                        PointSetting setting{&arm, candidates, tokens, over,
                                             tiers_of(arm, requests, over, context_.spec)};
                        double const capacity =
                            capacity_per_s(setting, first, requests, context_.spec.seed);
                        for (double const load : options_.loads) {
                            points_.push_back(make_point(setting, requests, load, load * capacity,
                                                         options_.seconds_per_pass,
                                                         options_.requests));
                        }
                    }
                }
            }
        }
        passes_.resize(points_.size());
    }
    void execute(std::uint32_t pass) {
        context_.progress.begin(
            "execute, pass " + std::to_string(pass + 1) + " of " + std::to_string(options_.repeats),
            "points");
        std::vector<std::size_t> order(points_.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        CounterRng rng(context_.spec.seed, Purpose::calibration, 2 + pass);
        for (std::size_t i = order.size(); i > 1; --i)
            std::swap(order[i - 1], order[rng.below(static_cast<std::uint32_t>(i))]);
        std::size_t done = 0;
        for (auto const i : order) {
            auto const& point = points_[i];
            passes_[i].push_back(engine::run_executed(*point.setting.arm,
                                                      params_of(point, context_.spec.seed),
                                                      *context_.population, point.requests));
            context_.progress.update(++done, order.size());
        }
    }
    void judge() {
        context_.progress.begin("simulate", "points");
        for (std::size_t i = 0; i < points_.size(); ++i) {
            auto const& point = points_[i];
            auto simulated =
                engine::run_simulated(*point.setting.arm, platform_,
                                      params_of(point, context_.spec.seed), {0}, {point.requests});
            outcomes_.push_back(outcome_of(point, passes_[i], std::move(simulated)));
            context_.progress.update(i + 1, points_.size());
        }
        context_.progress.end();
    }

    RunContext& context_;
    ValidateSimOptions const& options_;
    std::vector<engine::ServingArm> arms_;
    std::vector<workload::Request> stream_;
    std::unique_ptr<engine::Calibration> calibration_;
    std::vector<TimedPoint> points_;
    std::vector<std::vector<engine::ServingResult>> passes_;  ///< [point][pass]
    std::vector<PointOutcome> outcomes_;
    node::Platform platform_;
};

void write(RunContext& context, ValidateSimOptions const& options,
           std::vector<PointOutcome> const& outcomes, node::Platform const& platform) {
    auto const platform_path = options.output + ".platform.json";
    config::write_platform(platform, platform_path);
    auto& report = context.report;
    report_arms(context);
    report_outcomes(report, outcomes);
    report.spec_json = config::dump_spec(context.spec);
    report.logical_hash = to_hex(stream_hash(outcomes));
    report.scores_hash = to_hex(0);
    report.notes.push_back(
        "Weights are random: times depend on shapes. Executed figures are wall-clock times of this "
        "machine; other work on it widens the repeat error and with it the bound.");
    report.notes.push_back("The simulated twin is priced by " + platform_path +
                           ", measured in slices between the passes on a grid of its own.");
    for (auto& [key, value] : machine_provenance()) report.provenance[key] = value;
    report.provenance["ranks"] = "1";
    report.provenance["mpi"] = comm::Runtime::library_version();
    report.provenance["seed"] = std::to_string(context.spec.seed);
    for (auto const& [phase, seconds] : context.progress.phases())
        Row(report.table("phases")).set("phase", phase).set("seconds", seconds).add();
    report::write_report(context.comm, options.output, report, {});
}

}  // namespace

CLI::App* declare_validate_sim(CLI::App& parent, ValidateSimOptions& options) {
    auto* command = parent.add_subcommand(
        "validate-sim",
        "How wrong is the simulation? Runs requests for real on this machine and simulates the "
        "same ones from a calibration that has not seen them");
    add_spec_options(*command, options);
    command->add_option("-o,--output", options.output,
                        "Report (default: results/local/<name>-fidelity.h5); the measured platform "
                        "is written beside it");
    command
        ->add_option("--loads", options.loads,
                     "Request rates, in shares of what the arm can serve at the point")
        ->delimiter(',')
        ->check(CLI::Range(0.01, 100.0))
        ->capture_default_str();
    command->add_option("--candidates", options.candidates, "Candidates a request")
        ->delimiter(',')
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
    command
        ->add_option("--lengths", options.lengths,
                     "Histories are cut to so many of their newest tokens (default: a third of the "
                     "model's max_tokens, and all)")
        ->delimiter(',');
    command
        ->add_option("--oversubscription", options.oversubscription,
                     "Bytes of all entries over the capacity of the tiers")
        ->delimiter(',')
        ->check(CLI::Range(0.01, 1000.0))
        ->capture_default_str();
    command
        ->add_option("--requests", options.requests,
                     "Requests a pass at most; the first 40 % warm the caches")
        ->check(CLI::Range(100, 10'000'000))
        ->capture_default_str();
    command
        ->add_option("--seconds-per-pass", options.seconds_per_pass,
                     "Time of traffic a pass at most; fewer requests are run instead")
        ->check(CLI::Range(0.05, 3600.0))
        ->capture_default_str();
    command->add_option("--repeats", options.repeats, "Executed passes over every point")
        ->check(CLI::Range(2, 20))
        ->capture_default_str();
    command
        ->add_option("--calibration-seconds", options.calibration_seconds,
                     "In slices before, between and after the passes")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    command->footer(
        "Examples: ckvsim validate-sim workloads/specs/fidelity.json\n"
        "          ckvsim validate-sim workloads/specs/ci.json --loads 0.5,2 --requests 500 "
        "--seconds-per-pass 0.2 --calibration-seconds 4\n"
        "          scripts/plot results/local/fidelity-fidelity.h5 --only fidelity_regimes");
    return command;
}

int validate_sim_command(comm::Communicator& comm, ValidateSimOptions const& given) {
    require_quiet_cores(comm);
    auto spec = one_node_spec(given);
    auto const options = with_defaults(given, spec);
    RunContext context(std::move(spec), comm, options.quiet);
    context.population = make_population(context.spec);
    Validation validation(context, options);
    auto const outcomes = validation.run();
    write(context, options, outcomes, validation.platform());
    std::printf("%s", report::fidelity_summary(context.report).c_str());
    for (auto const& note : context.report.notes) std::printf("note: %s\n", note.c_str());
    std::printf("report       %s\n", options.output.c_str());
    return 0;
}

}  // namespace ckvsim::app
