// Serving results over ranks and as report rows; shared by the phases that serve.
#pragma once

#include "app/row.hpp"
#include "comm/communicator.hpp"
#include "engine/results.hpp"

namespace ckvsim::app {

/// Collective: the sum over ranks of their results; span is the longest.
engine::ServingResult sum_over_ranks(comm::Communicator& comm, engine::ServingResult const& mine);

/// The columns of a latency table for one stage.
Row& set_latency(Row& row, engine::Stage stage, metrics::LatencySketch const& sketch);

}  // namespace ckvsim::app
