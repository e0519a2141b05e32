// Runtime of builds without MPI: the process is the whole job.
#include <cstdlib>

#include "comm/communicator.hpp"

namespace ckvsim::comm {

Runtime::Runtime(int&, char**&) : world_(make_serial()) {}

Runtime::~Runtime() = default;

void Runtime::abort(int exit_code) { std::_Exit(exit_code); }

std::string Runtime::library_version() { return "none (built without MPI)"; }

}  // namespace ckvsim::comm
