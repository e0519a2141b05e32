// Rules between the values of a spec.
#pragma once

#include "config/problems.hpp"
#include "config/spec.hpp"

namespace ckvsim::config {

/// Adds what is wrong with combinations of values. Rules over a value that `problems` already
/// complains about are skipped: its default would make them misleading.
void check_spec(Spec const& spec, Problems& problems);

}  // namespace ckvsim::config
