// Ledgers of held users over ranks; shared by the phases that hold them.
#pragma once

#include "comm/communicator.hpp"
#include "engine/residency.hpp"

namespace ckvsim::app {

/// Collective: both become the sums over ranks. Seconds stay this rank's.
void sum_over_ranks(comm::Communicator& comm, engine::LedgerPrediction& prediction,
                    engine::Residency& residency);

}  // namespace ckvsim::app
