// The description of every key of a fleet study (key_visitor.hpp says how it is used).
#pragma once

#include "config/fleet_spec.hpp"
#include "config/key_visitor.hpp"
#include "config/problems.hpp"

namespace ckvsim::config {

void describe(KeyVisitor& visitor, FleetStudy& study);
/// Adds what is wrong with combinations of values.
void check_fleet_study(FleetStudy const& study, Problems& problems);

}  // namespace ckvsim::config
