// Access to the job's communicator from MPI tests.
#pragma once

#include "comm/communicator.hpp"

namespace ckvsim::test {

comm::Communicator& world();
void set_world(comm::Communicator& world);

}  // namespace ckvsim::test
