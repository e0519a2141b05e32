// The executed twin's node, with a view of its scores and a clock of choice. run_executed() of
// serving.hpp is this on the wall's clock and without the view.
#pragma once

#include <functional>
#include <span>

#include "engine/execution_clock.hpp"
#include "engine/serving.hpp"

namespace ckvsim::engine {

/// Gets every request's scores [C] when its batch is done, warm-up included. On the serving thread:
/// it delays the next batch.
using ScoreSink = std::function<void(workload::Request const&, std::span<float const>)>;

ServingResult execute_node(ServingArm const& arm, ServingRunParams const& params,
                           workload::Population const& population,
                           std::vector<workload::Request> const& requests,
                           ServingProgress const& progress, ScoreSink const& sink,
                           ExecutionClock& clock);

}  // namespace ckvsim::engine
