// Served scores against the libtorch forward pass stored in each weight file (sim/model/sim.hpp,
// "Reference block").
#pragma once

#include "app/run_context.hpp"

namespace ckvsim::app {

/// Collective. One row of `serving_check` per arm family and seed: the largest difference of a
/// logit with the discrete choices (pool rows, top-k) forced equal, and how often the free-running
/// choices differ. Throws when the forced difference exceeds kServingTolerance: weights and kernels
/// then do not compute the same function. Nothing is forced where pools of HSTU are served: there a
/// sample beyond the tolerance counts as a choice that differs, and more than 5 % of them throw.
void run_serving_check(RunContext& context);

/// fp32 rounding over a few thousand additions; issue and DESIGN ask for 1e-5 on scores
/// (probabilities).
inline constexpr double kServingTolerance = 1e-5;

}  // namespace ckvsim::app
