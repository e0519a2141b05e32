// Results of fleet cases as report rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "app/fleet_cases.hpp"
#include "metrics/report_model.hpp"

namespace ckvsim::app {

/// Adds the rows of one case.
void report_case(metrics::Report& report, config::FleetStudy const& study, FleetCase const& item,
                 FleetOutcome const& outcome);
/// What the events of the case did; part of report_case.
void report_events(metrics::Report& report, FleetCase const& item, FleetOutcome const& outcome);
/// A strategy that does not apply: its case and the reason, no results.
void report_refused_case(metrics::Report& report, config::FleetStudy const& study,
                         FleetCase const& item);
/// Winners by regime, from the rows of all cases; empty without a search.
void report_regimes(metrics::Report& report, config::FleetStudy const& study);

/// Rows of the fleet tables as bytes and back, so that cases can be run on any rank.
std::vector<std::byte> pack_rows(metrics::Report const& report);
/// Digest of the tables' columns: rows of another digest cannot be unpacked.
std::uint64_t packed_layout();
void unpack_rows(metrics::Report& report, std::vector<std::byte> const& bytes);
/// Orders the rows of every fleet table by case; ranks finish them in any order.
void sort_by_case(metrics::Report& report);

}  // namespace ckvsim::app
