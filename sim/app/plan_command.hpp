// `ckvsim plan`.
#pragma once

#include "app/plan_options.hpp"
#include "comm/communicator.hpp"

namespace ckvsim::app {

/// Collective. Results go to standard output and the report. Throws ckvsim::Error.
int plan_command(comm::Communicator& comm, PlanOptions const& options);

}  // namespace ckvsim::app
