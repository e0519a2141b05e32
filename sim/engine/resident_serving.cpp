#include "engine/resident_serving.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "engine/batch_kernels.hpp"
#include "engine/execution_clock.hpp"
#include "engine/file_residents.hpp"
#include "engine/serving_loop.hpp"
#include "engine/slab_store.hpp"

namespace ckvsim::engine {

namespace {

/// A step that visits all of `count` positions before it returns to the first: near the golden
/// ratio of the range, so that neighbours in time are far apart in memory.
std::uint64_t visiting_step(std::uint64_t count) {
    constexpr double kGoldenRatio = 0.6180339887498949;
    auto step = std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(kGoldenRatio * static_cast<double>(count)));
    while (std::gcd(step, count) != 1) ++step;
    return step;
}

/// Decodes kept entries; everything that a cache would decide has nothing to do.
class ResidentServer {
  public:
    ResidentServer(EntrySource& source, BatchKernels& kernels, ExecutionClock& clock)
        : source_(source), kernels_(kernels), clock_(clock) {}
    void promote(std::uint32_t, node::CacheEntry const&) {}
    void stream(std::uint32_t, node::CacheEntry const&) {}
    void demote(std::uint32_t, node::CacheEntry const&) {}
    void drop(std::uint32_t, node::CacheEntry const&, node::Tier) {}
    void place(std::uint32_t, node::CacheEntry const&, node::Tier) {}

    void begin(std::size_t) {
        batch_.clear();
        users_.clear();
    }
    void add(workload::Request const& request, node::Placement const&, std::uint64_t) {
        batch_.push_back(&request);
        users_.push_back(request.user);
    }
    BatchTimes finish(Nanoseconds closed_ns) {
        BatchTimes times;
        source_.fetch(users_, entries_);
        Nanoseconds const fetched = clock_.now_ns();
        kernels_.begin();
        for (std::size_t i = 0; i < batch_.size(); ++i)
            kernels_.add_request(*batch_[i], entries_[i]);
        kernels_.assemble();
        Nanoseconds const assembled = clock_.now_ns();
        kernels_.decode();
        Nanoseconds const decoded = clock_.now_ns();
        kernels_.score();
        times.end_ns = times.ready_ns = clock_.now_ns();
        times.server_start_ns = closed_ns;
        times.fetch_ns = fetched - closed_ns;
        times.host_ns = assembled - fetched;
        times.decode_ns = decoded - assembled;
        times.score_ns = times.end_ns - decoded;
        return times;
    }

  private:
    EntrySource& source_;
    BatchKernels& kernels_;
    ExecutionClock& clock_;
    std::vector<workload::Request const*> batch_;
    std::vector<std::size_t> users_;
    std::vector<decode::EntryRef> entries_;
};

}  // namespace

std::string to_string(ResidentTier tier) {
    return tier == ResidentTier::memory ? "memory" : "file";
}

std::uint64_t users_that_fit(workload::Population const& population,
                             std::vector<UserId> const& users, kv::EntryLayout const& layout,
                             std::uint32_t max_tokens, ResidentTier tier,
                             std::uint64_t budget_bytes) {
    SlabLadder const ladder(layout, max_tokens);
    std::vector<std::uint64_t> filled(ladder.classes());  // slots, by class
    std::uint64_t used = 0;
    std::uint64_t chunks = 0;
    for (std::uint64_t count = 0; count < users.size(); ++count) {
        auto const tokens = std::min(population.history_length(users[count]), max_tokens);
        if (tier == ResidentTier::file) {
            used +=
                FileResidents::kIndexBytes + FileResidents::slot_bytes(layout.entry_bytes(tokens));
            if (used > budget_bytes) return count;
            continue;
        }
        used += SlabStore::kRecordBytes;
        auto const size_class = ladder.class_of(tokens);
        if (filled[size_class]++ % ladder.slots_in_chunk(size_class) == 0) ++chunks;
        if (used + chunks * ladder.chunk_bytes() > budget_bytes) return count;
    }
    return users.size();
}

std::vector<workload::Request> resident_requests(EntrySource const& source, std::uint64_t held,
                                                 ResidentLoad const& load) {
    validate(load.requests_per_second > 0 && load.candidates > 0,
             "engine::resident_requests: a load needs a rate and candidates");
    if (held == 0) return {};
    auto const share =
        static_cast<std::uint64_t>(std::ceil(load.user_share * static_cast<double>(held)));
    auto const count = std::max(share, load.min_requests);
    auto const step = visiting_step(held);
    CounterRng rng(load.seed, Purpose::arrivals, held);
    std::uint64_t position = rng.next_u64() % held;
    double time_ns = 0.0;
    std::vector<workload::Request> requests(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        time_ns += rng.exponential(1e9 / load.requests_per_second);
        auto& request = requests[i];
        request.intended_start_ns = static_cast<Nanoseconds>(time_ns);
        request.user = position;
        request.sequence = static_cast<std::uint32_t>(i);
        request.candidates = load.candidates;
        request.tokens = source.tokens(position);
        position = (position + step) % held;
    }
    return requests;
}

ServingResult serve_residents(EntrySource& source, decode::Backend const& backend,
                              std::vector<workload::Request> const& requests,
                              ResidentLoad const& load, node::NodeParams const& node,
                              ServingProgress const& progress) {
    StreamView const stream{requests.data(), nullptr, requests.size()};
    EntrySizes const sizes(backend.layout(), max_tokens(stream));
    LaneParams lane;
    lane.batcher = node::Batcher(node.max_batch, node.max_wait_us);
    lane.cached = false;
    lane.warmup_ns = static_cast<Nanoseconds>(std::llround(load.warmup_s * 1e9));
    BatchKernels kernels(backend, load.seed, backend.weights().items, lane.batcher.max_batch(),
                         load.candidates);
    WallExecutionClock clock;
    ResidentServer server(source, kernels, clock);
    clock.start();
    return serve_stream(stream, sizes, lane, clock, server, [&](std::size_t done) {
        if (progress) progress(done, requests.size());
    });
}

}  // namespace ckvsim::engine
