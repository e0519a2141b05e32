// A report as plain text: the summary printed after a run, and `ckvsim show`. Works on the report
// in memory; every text of the report is made harmless for terminals.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "metrics/report_model.hpp"

namespace ckvsim::report {

/// No line of the summary or of a table is wider, unless its key columns alone are.
inline constexpr std::size_t kTextWidth = 160;

/// The summary: one line per arm in the spec's order (bytes, ratios, executed and simulated
/// latency, AUC and history lift kept with its 95 % interval and verdict), then controls and
/// oracle. Column groups name the provenance: measured, simulated or derived. A ratio is printed
/// only where the report names model and scope. Executed figures that the report calls not
/// comparable are starred, with the reason below.
std::string comparison_table(metrics::Report const& report);
/// The same of a fleet study: one line a case; comparison_table() gives it for such reports.
std::string fleet_summary(metrics::Report const& report);
/// The same of `ckvsim validate-sim`: errors by metric, and by regime.
std::string fidelity_summary(metrics::Report const& report);
/// The same of a plan: for every population and model what each strategy needs.
std::string plan_summary(metrics::Report const& report);

/// The named tables in full; further names: summary, notes, hash, provenance, spec. Without names:
/// summary, notes, hashes, provenance and every table, long ones cut. Bytes and times are scaled
/// and carry their unit; "-" means not measured or too few samples. Throws Error (usage) for an
/// unknown name and lists the known ones.
std::string show(metrics::Report const& report, std::vector<std::string> const& tables);

}  // namespace ckvsim::report
