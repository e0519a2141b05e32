// What a fleet study's report holds besides the rows of its cases: regimes, notes, hash,
// provenance.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "config/fleet_spec.hpp"
#include "metrics/report_model.hpp"
#include "node/platform.hpp"

namespace ckvsim::app {

/// Digests of the files that a study reads besides its spec.
std::string fleet_inputs(node::Platform const& platform, std::vector<double> const& noise);

/// Completes a report in which rank 0 has the rows of cases, in any order; a missing case looks
/// like one that misses its SLO, so that regimes have winners only when `whole`. Any rank may call
/// it: tables, notes and hash are rank 0's.
void complete_fleet_report(metrics::Report& report, comm::Communicator const& comm,
                           config::FleetStudy const& study, node::Platform const& platform,
                           std::vector<double> const& noise, bool whole);

/// Summary, notes, hash and path on standard output.
void print_fleet_report(metrics::Report const& report, std::string const& path);

}  // namespace ckvsim::app
