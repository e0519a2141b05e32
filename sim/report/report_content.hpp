// The part of a report that rank 0 holds: to and from an open file. Internal to this folder.
#pragma once

#include <cstdint>
#include <string>

#include "metrics/report_model.hpp"
#include "report/hdf5_wrap.hpp"

namespace ckvsim::report {

/// Digest over everything in the report (NaNs by their bits), stored in the file and checked on
/// reading.
std::uint64_t digest_report(metrics::Report const& report);
void write_content(hid_t file, metrics::Report const& report);
/// Throws DataError(path, ...) when something is missing, of another type, or does not match the
/// stored digest.
metrics::Report read_content(hid_t file, std::string const& path);

}  // namespace ckvsim::report
