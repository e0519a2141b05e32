// Request streams of a run: generated or read from a file, hashed, recorded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/run_context.hpp"
#include "workload/request_file.hpp"
#include "workload/requests.hpp"

namespace ckvsim::app {

/// This rank's logical nodes and their requests.
struct NodeStreams {
    std::vector<std::uint32_t> ids;
    std::vector<std::vector<workload::Request>> requests;
    std::string source;  ///< recorded traffic: path and digest of the file
    [[nodiscard]] std::uint64_t total() const;
};

/// The traffic of measurements.executed or measurements.simulated. Local.
NodeStreams make_streams(RunContext const& context,
                         std::vector<std::vector<UserId>> const& shard_users,
                         workload::RequestStream stream);

/// Adds the requests to the logical hash. Local.
void hash_streams(RunContext& context, NodeStreams const& streams);

/// Files that requests were read from go into the provenance. Collective: all ranks must have read
/// the same files.
void report_sources(RunContext& context, NodeStreams const& executed, NodeStreams const& simulated);

/// Writes both streams to context.record_requests, the same bytes for any number of ranks.
/// Collective; all ranks see the file system that the file is on.
void record_requests(RunContext& context, NodeStreams const& executed,
                     NodeStreams const& simulated);

}  // namespace ckvsim::app
