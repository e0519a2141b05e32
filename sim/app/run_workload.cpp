// The workload phase of a run: one pass over every history.
#include <algorithm>
#include <cmath>
#include <functional>

#include "app/row.hpp"
#include "app/run_context.hpp"
#include "core/error.hpp"
#include "engine/expansion_distance.hpp"
#include "report/dataset_file.hpp"

namespace ckvsim::app {

namespace {

/// Users compared with the recorded ones: enough for a noise floor well below 0.01.
constexpr std::uint64_t kExpansionSample = 200000;

bool wants(config::Spec const& spec, config::Control control) {
    auto const& controls = spec.accuracy.controls;
    return spec.accuracy.enabled &&
           std::find(controls.begin(), controls.end(), control) != controls.end();
}

void add_statistic(metrics::Report& report, std::string const& name, double value,
                   std::string const& unit) {
    Row(report.table("workload"))
        .set("statistic", name)
        .set("value", value)
        .set("unit", unit)
        .add();
}

void report_lengths(metrics::Report& report, engine::PopulationScan const& scan) {
    for (std::size_t bucket = 0; bucket < scan.users_by_length.size(); ++bucket) {
        if (scan.users_by_length[bucket] == 0) continue;
        Row(report.table("history_lengths"))
            .set("tokens_low", engine::PopulationScan::bucket_low(bucket))
            .set("tokens_high", engine::PopulationScan::bucket_high(bucket))
            .set("users", scan.users_by_length[bucket])
            .add();
    }
}

/// Popularity by rank at 1, 2, 5, 10, 20, ...: enough for a log-log curve.
void report_popularity(metrics::Report& report, engine::PopulationScan const& scan) {
    auto events = scan.item_events;
    std::sort(events.begin(), events.end(), std::greater<>());
    double const total = static_cast<double>(std::max<std::uint64_t>(scan.tokens, 1));
    double cumulative = 0;
    std::size_t next = 1;
    int step = 0;
    for (std::size_t rank = 1; rank <= events.size() && events[rank - 1] > 0; ++rank) {
        double const share = static_cast<double>(events[rank - 1]) / total;
        cumulative += share;
        if (rank != next) continue;
        Row(report.table("popularity"))
            .set("rank", rank)
            .set("share", share)
            .set("cumulative", cumulative)
            .add();
        next = step % 3 == 1 ? next * 5 / 2 : next * 2;
        ++step;
    }
}

/// Distances are asked of the expansion itself, before any perturbation, by rank 0.
void report_expansion(RunContext& context) {
    auto const& spec = context.spec;
    if (spec.workload.kind != config::WorkloadKind::expanded) return;
    context.progress.begin("distances of the expansion");
    context.comm.run_phase("distances of the expansion", [&] {
        if (!context.comm.is_root()) return;
        auto const dataset = report::read_dataset(spec.workload.dataset_path);
        auto params = spec.workload.expansion;
        workload::ExpandedPopulation const expanded(dataset, params);
        params.shuffle_items = true;
        workload::ExpandedPopulation const shuffled(dataset, params);
        for (auto const& row : engine::expansion_distances(expanded, shuffled, kExpansionSample,
                                                           spec.seed, params.neighbourhood)) {
            Row(context.report.table("expansion"))
                .set("distribution", row.distribution)
                .set("expanded", row.expanded)
                .set("noise_floor", row.noise_floor)
                .set("shuffled", row.shuffled)
                .add();
        }
        context.report.notes.push_back("Users are expanded from " +
                                       std::to_string(expanded.source_users()) +
                                       " recorded ones: they add load, never statistical weight.");
    });
    context.progress.end();
}

}  // namespace

void run_workload_phase(RunContext& context) {
    auto& comm = context.comm;
    context.progress.begin("scan histories", "users");
    comm.run_phase("scan histories", [&] {
        context.scan = engine::scan_population(
            *context.population, context.users, context.spec.model.max_tokens,
            wants(context.spec, config::Control::popularity),
            [&](std::uint64_t done, std::uint64_t total) { context.progress.update(done, total); });
    });
    context.logical_hash.merge(context.scan.token_hash);
    auto parts = context.scan.parts();
    comm.sum(std::span<std::uint64_t>(parts));
    context.scan.assign_parts(parts);
    context.progress.end();
    comm.run_phase("histories", [&] {
        if (context.scan.tokens > 0 || !comm.is_root()) return;
        throw DataError(context.population->describe(), 0,
                        "every history is empty, so that there is nothing to keep; give users "
                        "events (synthetic: /workload/synthetic/history_min, history_median)");
    });

    auto& report = context.report;
    auto const& scan = context.scan;
    auto const& catalogue = context.population->catalogue();
    auto const used = std::count_if(scan.item_events.begin(), scan.item_events.end(),
                                    [](auto n) { return n > 0; });
    add_statistic(report, "users", static_cast<double>(scan.users), "1");
    add_statistic(report, "items in the catalogue (V)", catalogue.items, "1");
    add_statistic(report, "items that occur in histories", static_cast<double>(used), "1");
    add_statistic(report, "history events", static_cast<double>(scan.tokens), "1");
    add_statistic(report, "history events after the model's cap",
                  static_cast<double>(scan.capped_tokens), "1");
    add_statistic(report, "history events per user",
                  static_cast<double>(scan.tokens) /
                      static_cast<double>(std::max<std::uint64_t>(scan.users, 1)),
                  "1");
    report_lengths(report, scan);
    report_popularity(report, scan);
    report_expansion(context);
    report.provenance["workload"] = context.population->describe();
}

}  // namespace ckvsim::app
