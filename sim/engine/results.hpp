// Results of serving runs, the same for the executed and the simulated twin.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "metrics/latency_sketch.hpp"

namespace ckvsim::engine {

/// Stages of a request; their sum is its latency. queue = intended start -> its batch starts;
/// fetch / prefill / decode / score / host = the batch's time in that stage.
enum class Stage : std::uint8_t { queue, fetch, prefill, decode, score, host, total, count_ };
inline constexpr std::size_t kStages = static_cast<std::size_t>(Stage::count_);
std::string to_string(Stage stage);

/// Counters and sketches of one arm in one twin; merged over nodes and ranks exactly.
struct ServingResult {
    std::uint64_t requests = 0;  ///< measured (after warm-up)
    std::uint64_t warmup_requests = 0;
    std::uint64_t hbm_hits = 0;
    std::uint64_t dram_hits = 0;
    std::uint64_t misses = 0;    ///< prefilled from ids
    std::uint64_t rejected = 0;  ///< entry larger than the tier: served by prefill, never cached
    std::uint64_t evictions = 0;
    std::uint64_t batches = 0;
    std::uint64_t fetched_bytes = 0;
    std::uint64_t prefilled_tokens = 0;
    std::int64_t span_ns = 0;  ///< first intended start to last completion, measured requests
    std::int64_t busy_ns = 0;  ///< server busy time
    std::uint64_t decision_hash =
        0;  ///< order-free hash of (request, tier outcome[, virtual completion])
    std::array<metrics::LatencySketch, kStages> latency;
};

}  // namespace ckvsim::engine
