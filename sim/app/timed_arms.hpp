// Arms with backends of random weights, for commands that measure time and never accuracy.
#pragma once

#include <vector>

#include "config/spec.hpp"
#include "engine/serving.hpp"
#include "workload/population.hpp"

namespace ckvsim::app {

/// The spec's arms that measure latency, one a set of kernels (decode::cost_key). Costs depend on
/// shapes, not on trained values: weights are random, so that nothing has to be trained first, and
/// axes and codebooks are fitted without histories.
std::vector<engine::ServingArm> timed_arms(config::Spec const& spec,
                                           workload::Population const& population);

/// Name, source and memory of a platform that was measured on this machine.
void name_measured_platform(node::Platform& platform, std::string const& command);

}  // namespace ckvsim::app
