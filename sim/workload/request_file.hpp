// Request streams on disk: recordings of a run (binary, written in parallel by shard) and request
// logs of a user (CSV). Formats: sim/docs/traffic.md. All functions are local.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "workload/requests.hpp"

namespace ckvsim::workload {

/// A recording holds two streams: that of the executed run and its twin, and that of the fleet.
enum class RequestStream : std::uint8_t { executed = 0, simulated = 1 };
inline constexpr std::uint32_t kRequestStreams = 2;

/// What is known of one shard's requests in one stream.
struct RequestBlock {
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;
    std::uint64_t hash = 0;  ///< XXH3-64 of the bytes; 0 without any

    bool operator==(RequestBlock const&) const = default;
};

/// Everything of a recording but the blocks themselves.
struct RequestFileHeader {
    std::uint32_t shards = 0;
    std::uint32_t max_tokens = 0;      ///< Request::tokens are capped at this
    std::uint64_t users = 0;           ///< of the population
    std::uint64_t population = 0;      ///< Population::digest()
    std::uint64_t seed = 0;            ///< candidates are keyed by it
    std::vector<RequestBlock> blocks;  ///< [stream][shard]

    bool operator==(RequestFileHeader const&) const = default;
    [[nodiscard]] std::size_t index(RequestStream stream, std::uint32_t shard) const;
};

/// The bytes of one shard's requests in one stream, about 10 per request.
class RequestEncoder {
  public:
    /// In order of their sequence: times ascend. InternalError otherwise.
    void add(Request const& request);
    [[nodiscard]] std::string const& bytes() const { return bytes_; }
    [[nodiscard]] RequestBlock block() const;

  private:
    std::string bytes_;
    std::uint64_t requests_ = 0;
    Nanoseconds last_ns_ = 0;
    std::uint32_t last_candidates_ = 0;
};

/// Digest of a recording: of the header, which holds the hash of every block.
std::uint64_t request_file_digest(RequestFileHeader const& header);

/// `<path>.partial` with the header and room for the blocks; missing folders are made. BackendError
/// with the operating system's reason.
void create_request_file(std::string const& path, RequestFileHeader const& header);
/// Writes blocks to their places in the partial file; any number of processes that share the file
/// system may do so at once. `bytes[i]` belongs to shards[i].
void write_request_blocks(std::string const& path, RequestFileHeader const& header,
                          RequestStream stream, std::vector<std::uint32_t> const& shards,
                          std::vector<std::string> const& bytes);
/// Reads the partial file back (every hash compared), flushes it and renames it. BackendError.
void publish_request_file(std::string const& path, RequestFileHeader const& header);
/// Removes the partial file, if there is one.
void discard_request_file(std::string const& path) noexcept;

struct RecordedRequests {
    std::vector<std::vector<Request>> groups;  ///< each sorted like make_requests' result
    std::string digest;                        ///< 16 hexadecimal digits: the content of the file
};

/// What requests are read for.
struct ReplayParams {
    std::string path;
    RequestStream stream = RequestStream::executed;  ///< of a recording; a CSV file holds one
    double speed_factor = 1.0;                       ///< times are divided by this
    std::uint32_t shards = 1;                        ///< logical shards of the spec
    std::uint32_t max_tokens = 1;
    std::uint32_t candidates = 1;  ///< where a CSV file has no such column
};

/// Reads the requests of the given groups of shards, from a recording or a CSV file (plain or
/// gzip), told apart by their first bytes. Memory: the result, and one block of a recording. A
/// recording is read only where the groups' blocks lie, a CSV file whole. Throws DataError, for CSV
/// with the line: not sorted, negative or late times, users outside the population, candidates out
/// of range, damage; and for a recording made with other shards, another population or fewer
/// tokens.
RecordedRequests load_requests(ReplayParams const& params, Population const& population,
                               std::vector<std::vector<std::uint32_t>> const& groups);

}  // namespace ckvsim::workload
