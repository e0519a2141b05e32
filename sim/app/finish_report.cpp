// What every report of a spec with arms ends with: hashes, the resolved spec, provenance, times.
#include "app/machine.hpp"
#include "app/row.hpp"
#include "app/run_context.hpp"

namespace ckvsim::app {

namespace {

/// Collective: the slowest rank's time of every phase.
void report_phases(RunContext& context) {
    auto const& phases = context.progress.phases();
    context.comm.require_equal(phases.size(), "the number of phases");
    std::vector<double> seconds;
    for (auto const& phase : phases) seconds.push_back(phase.second);
    context.comm.max(std::span<double>(seconds));
    for (std::size_t i = 0; i < phases.size(); ++i) {
        Row(context.report.table("phases"))
            .set("phase", phases[i].first)
            .set("seconds", seconds[i])
            .add();
    }
}

}  // namespace

void finish_report(RunContext& context, std::string const& perturbed_token) {
    auto& report = context.report;
    std::vector<std::uint64_t> sums = {context.logical_hash.value(), context.scores_hash.value()};
    context.comm.sum(std::span<std::uint64_t>(sums));
    report.logical_hash = to_hex(sums[0]);
    report.scores_hash = to_hex(sums[1]);
    report.spec_json = config::dump_spec(context.spec);
    for (auto& [key, value] : machine_provenance()) report.provenance[key] = value;
    report.provenance["ranks"] = std::to_string(context.comm.size());
    report.provenance["mpi"] = comm::Runtime::library_version();
    report.provenance["seed"] = std::to_string(context.spec.seed);
    report.provenance["kernels"] = "reproducible (fixed summation order)";
    report.provenance["perturbed_token"] = perturbed_token;
    report_phases(context);
}

}  // namespace ckvsim::app
