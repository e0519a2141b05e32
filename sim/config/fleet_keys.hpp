// The description of every key of a fleet study (key_visitor.hpp says how it is used).
#pragma once

#include "config/fleet_spec.hpp"
#include "config/key_visitor.hpp"
#include "config/problems.hpp"

namespace ckvsim::config {

void describe(KeyVisitor& visitor, FleetStudy& study);
/// The events of fleet_event_keys.cpp.
void describe_events(KeyVisitor& visitor, std::vector<fleet::FleetEvent>& events);
void check_events(FleetStudy const& study, Problems& problems);
/// Adds what is wrong with combinations of values.
void check_fleet_study(FleetStudy const& study, Problems& problems);

}  // namespace ckvsim::config
