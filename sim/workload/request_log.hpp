// A user's own request log: CSV `time_s,user[,candidates]`. Internal to this folder: callers use
// load_requests() of request_file.hpp.
#pragma once

#include <vector>

#include "workload/request_file.hpp"

namespace ckvsim::workload {

/// Latest request of a recording or log: the longest traffic that a spec may generate.
inline constexpr std::uint32_t kLatestRequestS = 10'000'000;
inline constexpr std::uint32_t kMostRequestCandidates = 65536;  ///< the spec's limit

/// load_requests() for CSV files, before the speed factor and sorting.
RecordedRequests load_request_log(ReplayParams const& params, Population const& population,
                                  std::vector<std::vector<std::uint32_t>> const& groups);

}  // namespace ckvsim::workload
