#include "app/fleet_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>

#include "app/fleet_rows.hpp"
#include "app/machine.hpp"
#include "core/hash.hpp"
#include "report/report_show.hpp"

namespace ckvsim::app {

namespace {

/// How many cases of the fleet table still drift, beyond error and half a per cent.
std::size_t drifting_cases(metrics::Table const& fleet) {
    auto const& columns = fleet.schema().columns;
    auto const column = [&](char const* name) {
        return static_cast<std::size_t>(
            std::find_if(columns.begin(), columns.end(),
                         [&](auto const& c) { return c.name == name; }) -
            columns.begin());
    };
    std::size_t drifting = 0;
    for (auto const& row : fleet.rows()) {
        double const drift = std::abs(std::get<double>(row[column("drift")]));
        if (drift > std::max(std::get<double>(row[column("drift_error")]), 0.005)) ++drifting;
    }
    return drifting;
}

void add_notes(metrics::Report& report, node::Platform const& platform,
               std::vector<double> const& noise) {
    if (platform.kind == node::PlatformKind::nominal) {
        report.notes.push_back(
            "Nominal platform: rates come from data sheets times the stated efficiency; nothing "
            "was measured on such a node.");
    }
    if (noise.size() == 1)
        report.notes.push_back("Service times do not vary (files.noise is empty).");
    auto const found = report.tables.find("fleet");
    if (found == report.tables.end()) return;
    if (auto const drifting = drifting_cases(found->second); drifting > 0) {
        report.notes.push_back(std::to_string(drifting) + " of " +
                               std::to_string(found->second.rows().size()) +
                               " cases drift: their hit ratio still changes after the warm-up "
                               "(columns drift, drift_error); give them more requests.");
    }
}

std::uint64_t logical_hash(metrics::Report const& report) {
    UnorderedHash hash;
    auto const found = report.tables.find("fleet");
    if (found == report.tables.end()) return 0;
    for (auto const& row : found->second.rows()) {
        auto const& text = std::get<std::string>(row.back());
        hash.add(static_cast<std::uint64_t>(std::get<std::int64_t>(row.front())),
                 hash_bytes(text.data(), text.size()));
    }
    return hash.value();
}

}  // namespace

std::string fleet_inputs(node::Platform const& platform, std::vector<double> const& noise) {
    return "platform " + platform.digest + ", noise " +
           to_hex(hash_span(std::span<double const>(noise)));
}

void complete_fleet_report(metrics::Report& report, comm::Communicator const& comm,
                           config::FleetStudy const& study, node::Platform const& platform,
                           std::vector<double> const& noise, bool whole) {
    if (comm.is_root()) {
        sort_by_case(report);
        if (whole) report_regimes(report, study);
        add_notes(report, platform, noise);
        report.table("fleet").attributes["platform"] =
            platform.name + " (" +
            (platform.kind == node::PlatformKind::nominal ? "nominal" : "measured") + ")";
        report.table("fleet").attributes["calibration"] = platform.digest;
        report.logical_hash = to_hex(logical_hash(report));
    }
    report.scores_hash = to_hex(0);
    report.spec_json = config::dump_fleet_study(study);
    for (auto& [key, value] : machine_provenance()) report.provenance[key] = value;
    report.provenance["ranks"] = std::to_string(comm.size());
    report.provenance["mpi"] = comm::Runtime::library_version();
    report.provenance["seed"] = std::to_string(study.fleet.seed);
    report.provenance["platform"] = platform.name + " " + platform.digest;
}

void print_fleet_report(metrics::Report const& report, std::string const& path) {
    std::printf("%s", report::fleet_summary(report).c_str());
    for (auto const& note : report.notes) std::printf("note: %s\n", note.c_str());
    std::printf("hash/logical %s\nreport       %s\n", report.logical_hash.c_str(), path.c_str());
}

}  // namespace ckvsim::app
