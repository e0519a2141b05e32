// The one event loop of both twins: admission, look-up, eviction, batching and order are decided
// here and in node/; a Clock, and a Server that carries out (or prices) what was decided, are the
// only differences.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "engine/results.hpp"
#include "kv/strategy.hpp"
#include "node/batcher.hpp"
#include "node/tiered_cache.hpp"
#include "workload/requests.hpp"

namespace ckvsim::engine {

/// Requests of one lane, ascending in time. `order` picks them from `requests`; null = all of them.
struct StreamView {
    workload::Request const* requests = nullptr;
    std::uint32_t const* order = nullptr;
    std::size_t count = 0;
    workload::Request const& operator[](std::size_t i) const {
        return requests[order == nullptr ? i : order[i]];
    }
};

/// Bytes that an entry occupies in a tier, by tokens: layout and cache-line rounding. An entry has
/// room for at least one token.
class EntrySizes {
  public:
    EntrySizes(kv::EntryLayout const& layout, std::uint32_t max_tokens);
    [[nodiscard]] std::uint64_t bytes(std::uint32_t tokens) const { return bytes_[tokens]; }
    [[nodiscard]] std::uint64_t largest() const { return bytes_.back(); }
    static std::uint32_t capacity(std::uint32_t tokens) { return std::max(tokens, 1U); }

  private:
    std::vector<std::uint64_t> bytes_;
};

std::uint32_t max_tokens(StreamView const& stream);
/// Throws InternalError when intended starts do not ascend.
void check_sorted(StreamView const& stream);

/// What one lane is made of.
struct LaneParams {
    std::uint64_t hbm_bytes = 0;  ///< cache, shared tables already taken off
    std::uint64_t dram_bytes = 0;
    node::Batcher batcher{1, 0.0};
    bool cached = true;         ///< ServingArm::cached_in_tiers
    std::uint32_t window = 1;   ///< batches in flight, see node::TieredCache
    Nanoseconds warmup_ns = 0;  ///< requests intended earlier are served and not measured
    bool hash_completions = false;
};

/// When a batch did what. Stages follow each other; waiting in between counts as queueing.
struct BatchTimes {
    Nanoseconds fetch_ns = 0;
    Nanoseconds prefill_ns = 0;
    Nanoseconds host_ns = 0;
    Nanoseconds decode_ns = 0;
    Nanoseconds score_ns = 0;
    Nanoseconds server_start_ns = 0;  ///< the server is busy from here ...
    Nanoseconds end_ns = 0;           ///< ... to here, when the batch's answers leave
    Nanoseconds ready_ns = 0;         ///< the next batch may close from here on
};

/// Collects one lane's result.
class Recorder {
  public:
    explicit Recorder(LaneParams const& lane) : lane_(lane) {}
    [[nodiscard]] bool measured(workload::Request const& request) const {
        return request.intended_start_ns >= lane_.warmup_ns;
    }
    void admitted(workload::Request const& request, node::Placement const& placement,
                  std::uint64_t bytes, std::uint64_t evictions);
    void completed(workload::Request const& request, node::Outcome outcome,
                   BatchTimes const& times);
    void batch_done(BatchTimes const& times, bool any_measured);
    ServingResult take();

  private:
    LaneParams lane_;
    ServingResult result_;
    UnorderedHash hash_;
    Nanoseconds first_start_ns_ = -1;
    Nanoseconds last_end_ns_ = 0;
};

/// Serves a stream to its end.
/// Clock:  Nanoseconds wait_until(Nanoseconds)  returns the time at which it woke up.
/// Server: an EntryMover (node/tiered_cache.hpp) with
///         void begin(std::size_t batch)                         a batch is admitted from here on
///         void add(Request const&, Placement const&, bytes)     its next request
///         BatchTimes finish(Nanoseconds closed_ns)              serves it
/// `progress(done)` is called after every batch.
template <class Clock, class Server, class Progress>
ServingResult serve_stream(StreamView const& stream, EntrySizes const& sizes,
                           LaneParams const& lane, Clock& clock, Server& server,
                           Progress&& progress) {
    // Far enough for the index bucket to arrive, near enough to stay in the first-level cache.
    constexpr std::size_t kPrefetchAhead = 8;
    auto const arrival = [&](std::size_t i) { return stream[i].intended_start_ns; };
    node::TieredCache cache(lane.hbm_bytes, lane.dram_bytes, lane.window);
    Recorder recorder(lane);
    std::vector<node::Outcome> outcomes(lane.batcher.max_batch());
    Nanoseconds ready_ns = 0;
    std::size_t batch = 0;
    for (std::size_t next = 0; next < stream.count; ++batch) {
        Nanoseconds const closed_ns =
            clock.wait_until(lane.batcher.close_ns(next, stream.count, ready_ns, arrival));
        std::size_t const end = lane.batcher.end_of(next, stream.count, closed_ns, arrival);
        cache.begin_batch();
        server.begin(batch);
        bool any_measured = false;
        for (std::size_t i = next; i < end; ++i) {
            workload::Request const& request = stream[i];
            std::uint64_t const bytes = sizes.bytes(request.tokens);
            std::uint64_t const evictions = cache.evictions();
            node::Placement placement{node::Outcome::miss, node::Tier::none, node::kNoSlot, true};
            if (lane.cached) {
                if (i + kPrefetchAhead < stream.count)
                    cache.prefetch(stream[i + kPrefetchAhead].user);
                placement = cache.admit(request.user, request.tokens, bytes, server);
            }
            outcomes[i - next] = placement.outcome;
            any_measured = any_measured || recorder.measured(request);
            recorder.admitted(request, placement, bytes, cache.evictions() - evictions);
            server.add(request, placement, bytes);
        }
        BatchTimes const times = server.finish(closed_ns);
        for (std::size_t i = next; i < end; ++i)
            recorder.completed(stream[i], outcomes[i - next], times);
        recorder.batch_done(times, any_measured);
        ready_ns = times.ready_ns;
        next = end;
        progress(next);
    }
    return recorder.take();
}

}  // namespace ckvsim::engine
