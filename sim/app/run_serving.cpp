// The serving phase: executed runs on this machine, their simulated twins on its calibration, and
// the fleet's platform.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>

#include "app/machine.hpp"
#include "app/request_streams.hpp"
#include "app/row.hpp"
#include "app/run_context.hpp"
#include "app/serving_rows.hpp"
#include "core/error.hpp"
#include "engine/fidelity.hpp"
#include "engine/serving.hpp"

namespace ckvsim::app {

namespace {

using engine::hit_ratio;
using engine::ServingArm;
using engine::ServingResult;
using engine::Stage;
using engine::throughput_per_s;
using engine::total_latency;

Row& set_cache(Row& row, ServingResult const& r, std::uint32_t servers) {
    double const busy = static_cast<double>(r.busy_ns);
    double const span = static_cast<double>(r.span_ns) * servers;
    return row.set("requests", r.requests)
        .set("warmup_requests", r.warmup_requests)
        .set("hbm_hits", r.hbm_hits)
        .set("dram_hits", r.dram_hits)
        .set("misses", r.misses)
        .set("rejected", r.rejected)
        .set("evictions", r.evictions)
        .set("batches", r.batches)
        .set("fetched_bytes", r.fetched_bytes)
        .set("prefilled_tokens", r.prefilled_tokens)
        .set("hit_ratio", hit_ratio(r))
        .set("throughput_per_s", throughput_per_s(r))
        .set("utilisation", span > 0 ? busy / span : std::nan(""));
}

/// The total latency's percentiles for plots; `keys` fills the key columns of one row.
void report_cdf(metrics::Table& table, ServingResult const& result,
                std::function<void(Row&)> const& keys) {
    auto const& sketch = total_latency(result);
    if (sketch.count() == 0) return;
    for (int percent = 1; percent <= 99; ++percent) {
        Row row(table);
        keys(row);
        row.set("quantile", percent / 100.0)
            .set("latency_ns", sketch.quantile_unchecked_ns(percent / 100.0))
            .add();
    }
}

void report_simulated(metrics::Report& report, std::string const& arm,
                      node::Platform const& platform, std::uint32_t nodes,
                      ServingResult const& result) {
    for (std::size_t s = 0; s < engine::kStages; ++s) {
        Row row(report.table("simulated_latency"));
        row.set("arm", arm).set("platform", platform.name);
        set_latency(row, static_cast<Stage>(s), result.latency[s]).add();
    }
    Row row(report.table("simulated_cache"));
    row.set("arm", arm).set("platform", platform.name);
    set_cache(row, result, nodes * std::max(platform.gpus, 1U)).add();
    report_cdf(report.table("simulated_cdf"), result,
               [&](Row& point) { point.set("arm", arm).set("platform", platform.name); });
}

void report_executed(metrics::Report& report, std::string const& arm, int pass, std::uint32_t nodes,
                     std::string const& not_comparable, ServingResult const& result) {
    for (std::size_t s = 0; s < engine::kStages; ++s) {
        Row row(report.table("executed_latency"));
        row.set("arm", arm).set("pass", pass);
        set_latency(row, static_cast<Stage>(s), result.latency[s]).add();
    }
    Row row(report.table("executed_cache"));
    row.set("arm", arm)
        .set("pass", pass)
        .set("comparable", not_comparable.empty() ? 1 : 0)
        .set("reason", not_comparable);
    set_cache(row, result, nodes).add();
    if (pass != 1) return;
    report_cdf(report.table("executed_cdf"), result, [&](Row& point) { point.set("arm", arm); });
}

/// DESIGN honesty rule 8: wall-clock figures need one logical node per rank and a core for every
/// thread.
std::string why_not_comparable(RunContext const& context) {
    int const ranks = context.comm.size();
    int const threads = std::stoi(machine_provenance().at("threads_per_rank"));
    if (static_cast<int>(context.spec.fleet.nodes) != ranks) {
        return std::to_string(context.spec.fleet.nodes) + " logical nodes on " +
               std::to_string(ranks) + " ranks";
    }
    if (ranks * threads > online_cores()) {
        return std::to_string(ranks) + " ranks of " + std::to_string(threads) + " threads on " +
               std::to_string(online_cores()) + " cores";
    }
    return "";
}

/// What makes the simulated twin's costs another machine's; empty: nothing known. Data sheets are
/// no measurement of any machine.
std::string foreign_calibration(node::Platform const& calibration) {
    if (calibration.kind != node::PlatformKind::measured) return "";
    auto const threads = machine_provenance().at("threads_per_rank");
    if (std::to_string(calibration.workers) != threads) {
        return "measured with " + std::to_string(calibration.workers) + " threads, this run has " +
               threads + " a rank";
    }
    if (calibration.source.find(" on " + cpu_model() + ",") == std::string::npos)
        return calibration.source + "; this run is on " + cpu_model();
    return "";
}

void report_fidelity(metrics::Report& report, std::string const& arm, ServingResult const& executed,
                     std::optional<ServingResult> const& repeat, ServingResult const& simulated) {
    auto const& e = total_latency(executed);
    auto const& s = total_latency(simulated);
    struct Line {
        char const* metric;
        double executed, repeat, simulated;
    };
    double const nan = std::nan("");
    auto const again = [&](auto&& get) { return repeat ? get(*repeat) : nan; };
    std::vector<Line> const lines = {
        {"mean_ns", e.mean_ns(), again([](auto const& r) { return total_latency(r).mean_ns(); }),
         s.mean_ns()},
        {"p50_ns", e.quantile_ns(0.5),
         again([](auto const& r) { return total_latency(r).quantile_ns(0.5); }),
         s.quantile_ns(0.5)},
        {"p99_ns", e.quantile_ns(0.99),
         again([](auto const& r) { return total_latency(r).quantile_ns(0.99); }),
         s.quantile_ns(0.99)},
        {"throughput_per_s", throughput_per_s(executed),
         again([](auto const& r) { return throughput_per_s(r); }), throughput_per_s(simulated)},
        {"hit_ratio", hit_ratio(executed), again([](auto const& r) { return hit_ratio(r); }),
         hit_ratio(simulated)}};
    for (auto const& line : lines) {
        Row(report.table("fidelity"))
            .set("arm", arm)
            .set("metric", std::string(line.metric))
            .set("executed", line.executed)
            .set("repeat", line.repeat)
            .set("simulated", line.simulated)
            .set("error_relative", line.simulated / line.executed - 1.0)
            .set("repeat_error_relative", line.repeat / line.executed - 1.0)
            .add();
    }
}

/// Runs arms one after the other; holds what they share.
class ServingPhase {
  public:
    explicit ServingPhase(RunContext& context) : context_(context) {
        auto const& spec = context.spec;
        context.comm.run_phase("making request streams", [&] {
            calibration_ = config::load_platform(calibration_path(spec));
            platform_ = config::load_platform(spec.platform_path);
            auto const shard_users =
                workload::users_by_shard(context.population->users(), spec.shards);
            executed_streams_ =
                make_streams(context, shard_users, workload::RequestStream::executed);
            fleet_streams_ = make_streams(context, shard_users, workload::RequestStream::simulated);
        });
        hash_streams(context, executed_streams_);
        hash_streams(context, fleet_streams_);
        report_sources(context, executed_streams_, fleet_streams_);
        if (!context.record_requests.empty())
            record_requests(context, executed_streams_, fleet_streams_);
        not_comparable_ = why_not_comparable(context);
        auto const foreign = foreign_calibration(calibration_);
        if (spec.executed.enabled && spec.simulated.enabled && !foreign.empty()) {
            context.report.notes.push_back(
                "The calibration is another machine's or setting's (" + foreign +
                "): table fidelity compares two machines. Make one here with ckvsim calibrate.");
        }
        context.report.provenance["calibration"] = calibration_.name + " " + calibration_.digest;
        context.report.provenance["platform"] = platform_.name + " " + platform_.digest;
        for (auto const* name :
             {"simulated_latency", "simulated_cache", "simulated_cdf", "fidelity"}) {
            context.report.table(name).attributes["calibration"] =
                calibration_.digest + " " + platform_.digest;
        }
    }

    void run(config::ArmSpec const& arm) {
        auto const& spec = context_.spec;
        auto serving = engine::make_serving_arm(arm.name, spec.model, arm.weights, arm.strategy,
                                                context_.population->catalogue(),
                                                context_.population->context_vocabulary());
        std::optional<ServingResult> executed;
        std::optional<ServingResult> repeat;
        if (spec.executed.enabled) {
            context_.comm.run_phase("backend of " + arm.name, [&] {
                serving.backend =
                    context_.backend(arm.weights, arm.strategy, spec.training.seeds.front());
            });
            executed = execute(serving, 1);
            if (spec.executed.repeat) repeat = execute(serving, 2);
            serving.backend.reset();
        }
        if (!spec.simulated.enabled) return;
        auto const twin = simulate(serving, calibration_, executed_streams_, spec.fleet.node,
                                   spec.executed.warmup_s);
        auto fleet_arm = serving;
        fleet_arm.shared_bytes *=
            std::max(platform_.gpus, 1U);  // every GPU of a node holds its own copy
        simulate(fleet_arm, platform_, fleet_streams_, spec.fleet.platform_node,
                 spec.simulated.warmup_s);
        if (executed && context_.comm.is_root()) {
            report_fidelity(context_.report, arm.name, *executed, repeat, twin);
        }
    }

  private:
    [[nodiscard]] engine::ServingRunParams params(node::NodeParams const& node,
                                                  double warmup_s) const {
        engine::ServingRunParams params;
        params.node = node;
        params.nodes = context_.spec.fleet.nodes;
        params.seed = context_.spec.seed;
        params.warmup_s = warmup_s;
        return params;
    }
    /// p99 and hit ratio of a run that ended, while others go on.
    void note_figures(ServingResult const& result) {
        if (result.requests == 0) return;
        char text[96];
        double const p99_ns = total_latency(result).quantile_ns(0.99);
        std::snprintf(text, sizeof text,
                      std::isnan(p99_ns) ? "  hits %.1f %%" : "  hits %.1f %%, p99 %.3g ms",
                      100.0 * hit_ratio(result), p99_ns * 1e-6);
        context_.progress.note(text);
    }
    engine::ServingProgress progress() {
        return [this](std::uint64_t done, std::uint64_t total) {
            context_.progress.update(done, total);
        };
    }

    ServingResult execute(ServingArm const& arm, int pass) {
        context_.progress.begin("execute " + arm.name + " pass " + std::to_string(pass),
                                "requests");
        context_.comm.barrier();
        ServingResult mine;
        context_.comm.run_phase("executed run of " + arm.name, [&] {
            for (auto const& stream : executed_streams_.requests) {
                engine::merge(mine, engine::run_executed(arm,
                                                         params(context_.spec.fleet.node,
                                                                context_.spec.executed.warmup_s),
                                                         *context_.population, stream, progress()));
            }
        });
        auto const result = sum_over_ranks(context_.comm, mine);
        if (context_.comm.is_root()) {
            report_executed(context_.report, arm.name, pass, context_.spec.fleet.nodes,
                            not_comparable_, result);
        }
        context_.progress.end();
        note_figures(result);
        return result;
    }

    ServingResult simulate(ServingArm const& arm, node::Platform const& platform,
                           NodeStreams const& streams, node::NodeParams const& node,
                           double warmup_s) {
        context_.progress.begin("simulate " + arm.name + " on " + platform.name, "requests");
        ServingResult mine;
        context_.comm.run_phase("simulated run of " + arm.name, [&] {
            mine = engine::run_simulated(arm, platform, params(node, warmup_s), streams.ids,
                                         streams.requests, progress());
        });
        auto const key = hash_bytes(arm.name.data(), arm.name.size(),
                                    hash_bytes(platform.name.data(), platform.name.size()));
        auto const result = sum_over_ranks(context_.comm, mine);
        if (context_.comm.is_root()) {
            context_.logical_hash.add(key, result.decision_hash);
            report_simulated(context_.report, arm.name, platform, context_.spec.fleet.nodes,
                             result);
        }
        context_.progress.end();
        note_figures(result);
        return result;
    }

    RunContext& context_;
    node::Platform calibration_;
    node::Platform platform_;
    NodeStreams executed_streams_;
    NodeStreams fleet_streams_;
    std::string not_comparable_;
};

}  // namespace

void run_serving_phase(RunContext& context) {
    auto const& spec = context.spec;
    if (!spec.executed.enabled && !spec.simulated.enabled) return;
    ServingPhase phase(context);
    for (auto const& arm : spec.arms) {
        if (arm.latency) phase.run(arm);
    }
}

}  // namespace ckvsim::app
