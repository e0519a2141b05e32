// Merging of serving results over lanes, nodes and ranks. Flat form:
//   sums:   requests, warmup_requests, hbm_hits, dram_hits, misses, rejected, evictions, batches,
//           fetched_bytes, prefilled_tokens, busy_ns, decision_hash (low 32 bits, high 32 bits),
//           then the flat sketches by stage
//   maxima: span_ns, then the largest latency by stage
// The hash adds modulo 2^64; its halves travel apart so that no signed sum overflows.
#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "engine/serving.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::uint64_t kLow = 0xFFFFFFFFULL;

/// The plain counters, in the order of the flat form.
constexpr std::array kCounters = {&ServingResult::requests,      &ServingResult::warmup_requests,
                                  &ServingResult::hbm_hits,      &ServingResult::dram_hits,
                                  &ServingResult::misses,        &ServingResult::rejected,
                                  &ServingResult::evictions,     &ServingResult::batches,
                                  &ServingResult::fetched_bytes, &ServingResult::prefilled_tokens};
constexpr std::size_t kHeader = kCounters.size() + 3;

}  // namespace

std::string to_string(Stage stage) {
    switch (stage) {
        case Stage::queue:
            return "queue";
        case Stage::fetch:
            return "fetch";
        case Stage::prefill:
            return "prefill";
        case Stage::decode:
            return "decode";
        case Stage::score:
            return "score";
        case Stage::host:
            return "host";
        case Stage::total:
            return "total";
        case Stage::count_:
            break;
    }
    throw InternalError("engine::to_string: unknown stage");
}

void merge(ServingResult& a, ServingResult const& b) {
    for (auto const counter : kCounters) a.*counter += b.*counter;
    a.busy_ns += b.busy_ns;
    a.decision_hash += b.decision_hash;
    a.span_ns = std::max(a.span_ns, b.span_ns);
    for (std::size_t s = 0; s < kStages; ++s) a.latency[s].merge(b.latency[s]);
}

std::vector<std::int64_t> sum_part(ServingResult const& result) {
    std::vector<std::int64_t> flat;
    for (auto const counter : kCounters) flat.push_back(static_cast<std::int64_t>(result.*counter));
    flat.push_back(result.busy_ns);
    flat.push_back(static_cast<std::int64_t>(result.decision_hash & kLow));
    flat.push_back(static_cast<std::int64_t>(result.decision_hash >> 32));
    for (auto const& sketch : result.latency) {
        auto const part = sketch.serialise();
        flat.insert(flat.end(), part.begin(), part.end());
    }
    return flat;
}

std::vector<std::int64_t> max_part(ServingResult const& result) {
    std::vector<std::int64_t> flat = {result.span_ns};
    for (auto const& sketch : result.latency) flat.push_back(sketch.max_ns());
    return flat;
}

ServingResult from_parts(std::vector<std::int64_t> const& sums,
                         std::vector<std::int64_t> const& maxima) {
    validate(sums.size() > kHeader && (sums.size() - kHeader) % kStages == 0 &&
                 maxima.size() == 1 + kStages,
             "engine::from_parts: flat serving results of another length");
    ServingResult result;
    for (std::size_t i = 0; i < kCounters.size(); ++i)
        result.*kCounters[i] = static_cast<std::uint64_t>(sums[i]);
    result.busy_ns = sums[kCounters.size()];
    result.decision_hash = static_cast<std::uint64_t>(sums[kHeader - 2]) +
                           (static_cast<std::uint64_t>(sums[kHeader - 1]) << 32);
    result.span_ns = maxima[0];
    auto const length = static_cast<std::ptrdiff_t>((sums.size() - kHeader) / kStages);
    for (std::size_t s = 0; s < kStages; ++s) {
        auto const from = sums.begin() + static_cast<std::ptrdiff_t>(kHeader) +
                          static_cast<std::ptrdiff_t>(s) * length;
        result.latency[s] =
            metrics::LatencySketch::deserialise({from, from + length}, maxima[1 + s]);
    }
    return result;
}

}  // namespace ckvsim::engine
