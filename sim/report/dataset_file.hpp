// The compact dataset file written by `ckvsim import` (HDF5).
#pragma once

#include <string>

#include "workload/dataset.hpp"

namespace ckvsim::report {

/// Local. Temporary name, read back (digest compared), rename. Bit-equal for equal datasets (no
/// timestamps inside).
void write_dataset(std::string const& path, workload::Dataset const& dataset);
/// Local. Verifies the digest and every invariant; DataError otherwise.
workload::Dataset read_dataset(std::string const& path);

}  // namespace ckvsim::report
