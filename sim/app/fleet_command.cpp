// `ckvsim run` with a fleet study: cases over ranks, or one case over all ranks, then the report.
#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <mutex>

#include "app/commands.hpp"
#include "app/fleet_cases.hpp"
#include "app/fleet_keeper.hpp"
#include "app/fleet_report.hpp"
#include "app/fleet_rows.hpp"
#include "app/fleet_watch.hpp"
#include "app/machine.hpp"
#include "app/progress.hpp"
#include "app/row.hpp"
#include "config/spec.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "report/report_file.hpp"

namespace ckvsim::app {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Study {
    config::FleetStudy spec;
    node::Platform platform;
    std::vector<double> noise = {1.0};
    std::vector<FleetCase> cases;
    std::uint64_t state_bytes = 0;  ///< most that a case keeps in a checkpoint, all ranks together
};

/// Cases are dealt to ranks when each simulates few nodes; else every case is split by nodes.
bool cases_by_rank(config::FleetStudy const& spec) {
    return spec.search != config::FleetSearch::none || spec.fleet.sampled_nodes > 0;
}

/// An SLO that no request can meet, and more virtual time than visits have ticks for.
void require_possible(config::FleetStudy const& spec, std::string const& file,
                      FleetCase const& item, FleetCaseSetup const& setup) {
    double const least_ms = setup.least_request_ms();
    if (spec.fleet.slo_ms < least_ms) {
        throw ConfigError(
            file, {{"/fleet/slo_ms",
                    std::to_string(spec.fleet.slo_ms) + " ms, but " + item.model.name + " with " +
                        item.arm.name + " takes " + std::to_string(least_ms) +
                        " ms for a request without history on an idle GPU",
                    "a longer SLO, fewer candidates or a faster platform"}});
    }
    auto const& tiers = setup.setup.tiers;
    if (setup.largest_tier_bytes() < setup.costs.entry_bytes(1)) {
        throw ConfigError(file, {{"/fleet/tiers",
                                  "no tier has room for one entry of " +
                                      std::to_string(setup.costs.entry_bytes(1)) + " bytes of " +
                                      item.model.name + " with " + item.arm.name + " (GPU memory " +
                                      std::to_string(tiers.hbm_bytes) + ", host memory " +
                                      std::to_string(tiers.dram_bytes) + ", flash " +
                                      std::to_string(tiers.nvme_bytes) + " bytes)",
                                  "larger tiers, smaller shared tables, or more nodes"}});
    }
    if (item.fleet.users / item.fleet.nodes >= (1U << 30) - 2) {
        throw ConfigError(file, {{"/fleet/nodes",
                                  std::to_string(item.fleet.users) + " users on " +
                                      std::to_string(item.fleet.nodes) +
                                      " nodes are more than 2^30 - 2 on a node",
                                  "more nodes"}});
    }
    double const seconds = run_params(spec, item).traffic.duration_s;
    if (seconds > 2e6 && spec.search == config::FleetSearch::none) {
        throw ConfigError(
            file, {{"/traffic/requests",
                    std::to_string(spec.requests) + " requests at this rate take " +
                        std::to_string(seconds) + " s of virtual time; visits are kept for 2e6 s",
                    "fewer requests or a higher rate"}});
    }
    auto const& shape = item.fleet.traffic.shape;
    if (shape.bursts.multiplier > 1.0 &&
        2.0 * seconds >
            workload::kMostBurstPhases * (shape.bursts.mean_burst_s + shape.bursts.mean_gap_s)) {
        throw ConfigError(file, {{"/traffic/bursts/mean_gap_s",
                                  "more than 500000 bursts in the " + std::to_string(seconds) +
                                      " s that the requests take",
                                  "longer bursts and gaps, or fewer requests"}});
    }
    for (std::size_t i = 0; i < shape.flash_crowds.size(); ++i) {
        if (shape.flash_crowds[i].start_s < seconds) continue;
        throw ConfigError(file, {{"/traffic/flash_crowds/" + std::to_string(i) + "/start_s",
                                  std::to_string(shape.flash_crowds[i].start_s) +
                                      " s is after the end of the traffic: the requests take " +
                                      std::to_string(seconds) + " s at " +
                                      std::to_string(item.fleet.traffic.requests_per_second) + "/s",
                                  "start it earlier, or give traffic.requests more"}});
    }
}

/// A scheduled event must begin while the case runs.
void require_events_in_time(config::FleetStudy const& spec, std::string const& file,
                            FleetCase const& item) {
    auto const params = run_params(spec, item);
    auto const plan = fleet::plan_of_events(params);
    for (std::size_t e = 0; e < plan.events().size(); ++e) {
        double const rolling = plan.seconds(plan.events()[e], plan.events()[e].rolling);
        if (plan.at_s(e) + rolling < params.traffic.duration_s) continue;
        throw ConfigError(file,
                          {{"/events/" + std::to_string(e) + "/at",
                            std::to_string(plan.at_s(e) + rolling) +
                                " s is after the end of the traffic: the requests take " +
                                std::to_string(params.traffic.duration_s) + " s at " +
                                std::to_string(item.fleet.traffic.requests_per_second) + "/s",
                            "begin earlier, give traffic.requests more, or use clock = fraction"}});
    }
}

/// Everything that can fail for its input fails before the first case runs.
Study load_study(RunOptions const& options, int ranks) {
    Study study;
    study.spec = config::load_fleet_study(options.spec, options.overrides);
    study.platform = config::load_platform(study.spec.platform_path);
    study.noise = load_noise(study.spec.noise_path);
    study.cases = fleet_cases(study.spec, study.platform);
    for (auto const& item : study.cases) {
        if (item.refusal) continue;
        FleetCaseSetup const setup(study.spec, study.platform, study.noise, item);
        require_possible(study.spec, options.spec, item, setup);
        if (study.spec.search == config::FleetSearch::none)
            require_events_in_time(study.spec, options.spec, item);
        auto const threads = omp_get_max_threads();
        auto need = fleet::state_bytes_needed(run_params(study.spec, item), item.policy,
                                              cases_by_rank(study.spec) ? 1 : ranks, threads);
        if (!cases_by_rank(study.spec))
            study.state_bytes =
                std::max(study.state_bytes, need * static_cast<std::uint64_t>(ranks));
        need *= cases_by_rank(study.spec) ? static_cast<std::uint64_t>(threads) : 1U;
        if (need * static_cast<std::uint64_t>(ranks) > available_memory_bytes()) {
            throw ConfigError(
                options.spec,
                {{"/fleet/users",
                  std::to_string(item.fleet.users) + " users on " +
                      std::to_string(item.fleet.nodes) + " nodes need " + std::to_string(need) +
                      " bytes of state on each of " + std::to_string(ranks) +
                      " ranks at once, but this machine has " +
                      std::to_string(available_memory_bytes()) + " available",
                  "fewer users, more nodes (a node's state lives while it is simulated), fewer "
                  "threads, or sampled_nodes"}});
        }
    }
    return study;
}

fleet::FleetPeers peers_of(comm::Communicator& comm) {
    fleet::FleetPeers peers;
    peers.rank = comm.rank();
    peers.ranks = comm.size();
    peers.exchange = [&comm](auto const& to) { return comm.exchange(to); };
    peers.max = [&comm](std::vector<std::int64_t>& values) {
        comm.max(std::span<std::int64_t>(values));
    };
    return peers;
}

void add_speed(metrics::Report& report, FleetCase const& item, double seconds,
               std::uint64_t requests, int cores) {
    Row(report.table("fleet_speed"))
        .set("case", item.number)
        .set("seconds", seconds)
        .set("requests", requests)
        .set("requests_per_core_s", static_cast<double>(requests) / (seconds * cores))
        .set("resident_bytes", peak_resident_bytes())
        .add();
}

/// Dealt to ranks and their threads; every case on one thread.
void run_dealt(Study const& study, comm::Communicator& comm, Progress& progress, FleetWatch& watch,
               CheckpointFolder& checkpoint, metrics::Report& report) {
    progress.begin("cases", "cases of rank 0");
    std::vector<FleetCase const*> left;
    for (auto const& item : study.cases)
        if (!checkpoint.finished().numbers.contains(item.number)) left.push_back(&item);
    std::vector<FleetCase const*> mine;
    for (std::size_t i = 0; i < left.size(); ++i)
        if (static_cast<int>(i % static_cast<std::size_t>(comm.size())) == comm.rank())
            mine.push_back(left[i]);
    metrics::Report rows;
    comm.run_phase("simulating the cases", [&] {
        std::mutex mutex;
        std::exception_ptr failure;
        std::size_t done = 0;
#pragma omp parallel for schedule(dynamic, 1)
        for (std::size_t i = 0; i < mine.size(); ++i) {
            try {
                FleetCase const& item = *mine[i];
                if (item.refusal) {
                    std::lock_guard const lock(mutex);
                    report_refused_case(rows, study.spec, item);
                    ++done;
                    continue;
                }
                auto const begin = Clock::now();
                FleetCaseSetup const setup(study.spec, study.platform, study.noise, item);
                auto const outcome = search_case(study.spec, item, setup);
                std::lock_guard const lock(mutex);
                double const seconds = seconds_since(begin);
                metrics::Report own;
                report_case(own, study.spec, item, outcome);
                add_speed(own, item, seconds, outcome.simulated_requests, 1);
                auto const packed = pack_rows(own);
                checkpoint.keep_case(item.number, packed);
                unpack_rows(rows, packed);
                watch.finished(item, outcome, seconds);
                watch.cases_done(++done, mine.size());
            } catch (...) {
                std::lock_guard const lock(mutex);
                failure = std::current_exception();
            }
        }
        if (failure) std::rethrow_exception(failure);
    });
    auto const packed = pack_rows(rows);
    auto const all = comm.gather(std::span<std::byte const>(packed));
    if (comm.is_root()) unpack_rows(report, all);
    progress.end();
}

/// On standard error: what keeping states took and gave, all ranks together.
void tell_cost(comm::Communicator& comm, Progress& progress, KeepingCost const& mine) {
    std::array<std::uint64_t, 3> sums = {mine.writes, mine.bytes, mine.resumed};
    std::array<double, 1> most = {mine.seconds};
    comm.sum(std::span<std::uint64_t>(sums));
    comm.max(std::span<double>(most));
    progress.note("checkpoints: " + std::to_string(sums[0]) + " files, " + std::to_string(sums[1]) +
                  " bytes, " + std::to_string(most[0]) + " s of the slowest rank's threads");
    if (sums[2] > 0)
        progress.note("went on from what was kept of " + std::to_string(sums[2]) + " nodes");
}

/// Case after case, each split by nodes over all ranks.
void run_split(Study const& study, comm::Communicator& comm, Progress& progress, FleetWatch& watch,
               CheckpointFolder& checkpoint, metrics::Report& report) {
    auto const peers = peers_of(comm);
    KeepingCost cost;
    for (auto const& item : study.cases) {
        if (item.refusal) {
            if (comm.is_root()) report_refused_case(report, study.spec, item);
            continue;
        }
        if (checkpoint.finished().numbers.contains(item.number)) continue;
        progress.begin("case " + std::to_string(item.number + 1) + " of " +
                           std::to_string(study.cases.size()) + ": " + item.model.name + " " +
                           item.arm.name,
                       "requests of rank 0");
        auto const begin = Clock::now();
        FleetCaseSetup const setup(study.spec, study.platform, study.noise, item);
        fleet::FleetResult mine;
        std::optional<FleetKeeper> keeper;
        if (checkpoint.on()) keeper.emplace(checkpoint, comm, item.number);
        comm.run_phase("simulating " + item.arm.name, [&] {
            mine = run_case(
                study.spec, item, setup, peers,
                [&](std::uint64_t done, std::uint64_t total, auto const& part) {
                    watch.running(item, part, done, total);
                },
                keeper ? &*keeper : nullptr);
        });
        if (keeper) cost.add(keeper->cost());
        auto sums = fleet::sum_part(mine);
        auto maxima = fleet::max_part(mine);
        comm.sum(std::span<std::int64_t>(sums));
        comm.max(std::span<std::int64_t>(maxima));
        if (comm.is_root()) {
            auto const outcome =
                outcome_of(study.spec, item, setup, fleet::from_parts(sums, maxima));
            metrics::Report own;
            report_case(own, study.spec, item, outcome);
            double const seconds = seconds_since(begin);
            add_speed(own, item, seconds, outcome.simulated_requests,
                      comm.size() * std::min(omp_get_max_threads(), online_cores()));
            auto const packed = pack_rows(own);
            checkpoint.keep_case(item.number, packed);
            if (keeper) keeper->forget();
            unpack_rows(report, packed);
            watch.finished(item, outcome, seconds);
        }
        progress.end();
    }
    if (checkpoint.on()) tell_cost(comm, progress, cost);
}

void finish(Study const& study, comm::Communicator& comm, Progress& progress,
            metrics::Report& report, std::string const& output) {
    if (comm.is_root()) {
        for (auto const& [phase, seconds] : progress.phases())
            Row(report.table("phases")).set("phase", phase).set("seconds", seconds).add();
    }
    complete_fleet_report(report, comm, study.spec, study.platform, study.noise, true);
    progress.begin("write " + output);
    report::write_report(comm, output, report, {});
    progress.end();
}

std::string output_of(Study const& study, RunOptions const& options) {
    return options.output.empty() ? study.spec.output : options.output;
}

/// What a checkpoint of the study is valid for.
CheckpointStudy checkpoint_study(Study const& study, std::string const& spec_json,
                                 std::string const& output) {
    return {spec_json, fleet_inputs(study.platform, study.noise), output, study.cases.size(),
            study.state_bytes};
}

}  // namespace

int fleet_command(comm::Communicator& comm, RunOptions const& options) {
    Study study;
    comm.run_phase("reading the fleet study", [&] {
        if (!options.perturb_token.empty())
            throw Error(ExitCode::usage, "--perturb-token: a fleet study has no tokens to change");
        study = load_study(options, comm.size());
    });
    auto const text = config::dump_fleet_study(study.spec);
    comm.require_equal(hash_bytes(text.data(), text.size()), "the resolved fleet study");
    auto const output = output_of(study, options);
    CheckpointFolder checkpoint(comm, options.checkpoint, checkpoint_study(study, text, output));
    if (comm.is_root()) remove_partial_results(output);
    Progress progress(options.quiet || !comm.is_root());
    if (auto const done = checkpoint.finished().numbers.size(); done > 0)
        progress.note("going on: " + std::to_string(done) + " of " +
                      std::to_string(study.cases.size()) + " cases had finished");
    metrics::Report report;
    if (comm.is_root()) unpack_rows(report, checkpoint.finished().rows);
    FleetWatch watch(progress, output, comm.rank(), study.cases.size());
    if (cases_by_rank(study.spec)) {
        run_dealt(study, comm, progress, watch, checkpoint, report);
    } else {
        run_split(study, comm, progress, watch, checkpoint, report);
    }
    finish(study, comm, progress, report, output);
    watch.complete();
    if (comm.is_root()) checkpoint.complete();
    if (comm.is_root()) print_fleet_report(report, output);
    return 0;
}

}  // namespace ckvsim::app
