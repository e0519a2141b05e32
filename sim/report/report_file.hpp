// HDF5 report: writing (temporary name, read back, rename), reading, comparing. hdf5.h is included
// only in this folder's .cpp files. Layout: sim/docs/schema.md (generated from
// metrics::table_schemas()).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "metrics/report_model.hpp"

namespace ckvsim::report {

/// Bulk array written by all ranks through collective parallel HDF5 (serial build: by the one
/// rank), in logical order: each rank brings contiguous segments (global offset, values).
struct BulkSegment {
    std::uint64_t offset = 0;
    std::uint64_t count = 0;
};
struct BulkArray {
    std::string path;  ///< for example "/predictions/full/seed1/logit"
    std::string unit;
    std::string meaning;
    std::string provenance = "derived";
    std::uint64_t total = 0;
    std::vector<BulkSegment> segments;  ///< this rank's
    std::vector<float> values;          ///< concatenated segments
};

/// Collective. Rank 0's `report` is written; bulk arrays come from everybody (same paths and totals
/// on all ranks). Writes <path>.partial, flushes, reads back and verifies, renames. On failure all
/// ranks throw, nothing is left under the final name (an older file stays).
void write_report(comm::Communicator& comm, std::string const& path, metrics::Report const& report,
                  std::vector<BulkArray> const& bulk);

/// Local. Throws DataError for a foreign, truncated, older-unsupported or newer file.
metrics::Report read_report(std::string const& path);

/// The schema document as Markdown.
std::string schema_markdown();

}  // namespace ckvsim::report
