// Cache traces: CSV, the common binary layout, or made up. Streams: memory does not grow with the
// trace. sim/docs/cachesim.md defines the formats.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/cache_request.hpp"

namespace ckvsim::workload {

/// A trace from its beginning to its end. Local; not shared between threads.
class CacheTrace {
  public:
    virtual ~CacheTrace() = default;
    /// Fills `out` from its beginning; fewer than its size (0) only at the end. Throws DataError,
    /// naming the line or record.
    virtual std::size_t read(std::span<CacheRequest> out) = 0;
    /// How far it is, in units of its own.
    [[nodiscard]] virtual std::uint64_t done() const = 0;
    [[nodiscard]] virtual std::uint64_t total() const = 0;
};

enum class TraceFormat : std::uint8_t { csv, binary };

/// By the name: ".csv" and ".txt" are CSV, ".bin" and ".oracleGeneral" binary, each also with
/// ".gz". Throws Error (usage) for any other name.
TraceFormat trace_format_of(std::string const& path);

/// `ignore_size`: sizes are not looked at and every request has bytes = 1. Throws DataError when
/// the file cannot be opened.
std::unique_ptr<CacheTrace> open_trace(std::string const& path, TraceFormat format,
                                       bool ignore_size);

/// Independent requests with Zipf popularity; request i depends on seed and i alone.
struct ZipfTrace {
    double alpha = 1.0;
    std::uint64_t objects = 10'000'000;
    std::uint64_t requests = 20'000'000;
    std::uint32_t bytes = 1;  ///< of every object
    std::uint64_t seed = 1;
};

/// "zipf:alpha=1.0,objects=1e7,requests=2e7,bytes=1,seed=1", any of them left out. Throws Error
/// (usage) that names what is wrong.
ZipfTrace parse_zipf_trace(std::string const& text);
std::unique_ptr<CacheTrace> make_zipf_trace(ZipfTrace const& parameters);

}  // namespace ckvsim::workload
