#include "engine/serving_loop.hpp"

#include "node/arena_allocator.hpp"

namespace ckvsim::engine {

EntrySizes::EntrySizes(kv::EntryLayout const& layout, std::uint32_t max_tokens) {
    bytes_.reserve(max_tokens + std::size_t{1});
    for (std::uint32_t tokens = 0; tokens <= max_tokens; ++tokens)
        bytes_.push_back(node::ArenaAllocator::rounded(layout.entry_bytes(capacity(tokens))));
}

std::uint32_t max_tokens(StreamView const& stream) {
    std::uint32_t most = 0;
    for (std::size_t i = 0; i < stream.count; ++i) most = std::max(most, stream[i].tokens);
    return most;
}

void check_sorted(StreamView const& stream) {
    for (std::size_t i = 0; i < stream.count; ++i) {
        Nanoseconds const before = i == 0 ? 0 : stream[i - 1].intended_start_ns;
        validate(stream[i].intended_start_ns >= before,
                 "engine::serve_stream: intended starts must ascend from 0");
    }
}

void Recorder::admitted(workload::Request const& request, node::Placement const& placement,
                        std::uint64_t bytes, std::uint64_t evictions) {
    if (!measured(request)) {
        ++result_.warmup_requests;
        return;
    }
    if (first_start_ns_ < 0) first_start_ns_ = request.intended_start_ns;
    ++result_.requests;
    result_.evictions += evictions;
    switch (placement.outcome) {
        case node::Outcome::hbm_hit:
            ++result_.hbm_hits;
            break;
        case node::Outcome::dram_hit:
            ++result_.dram_hits;
            result_.fetched_bytes += bytes;
            break;
        case node::Outcome::miss:
            ++result_.misses;
            result_.prefilled_tokens += request.tokens;
            if (lane_.cached && placement.tier == node::Tier::none) ++result_.rejected;
            break;
    }
}

void Recorder::completed(workload::Request const& request, node::Outcome outcome,
                         BatchTimes const& times) {
    std::uint64_t const id = (static_cast<std::uint64_t>(request.shard) << 32) | request.sequence;
    std::uint64_t const completion =
        lane_.hash_completions ? static_cast<std::uint64_t>(times.end_ns) : 0;
    hash_.add(id, (completion << 2) | static_cast<std::uint64_t>(outcome));
    if (!measured(request)) return;
    Nanoseconds const total = times.end_ns - request.intended_start_ns;
    Nanoseconds const served =
        times.fetch_ns + times.prefill_ns + times.host_ns + times.decode_ns + times.score_ns;
    auto const add = [&](Stage stage, Nanoseconds value) {
        result_.latency[static_cast<std::size_t>(stage)].add(value);
    };
    add(Stage::queue, total - served);
    add(Stage::fetch, times.fetch_ns);
    add(Stage::prefill, times.prefill_ns);
    add(Stage::decode, times.decode_ns);
    add(Stage::score, times.score_ns);
    add(Stage::host, times.host_ns);
    add(Stage::total, total);
    last_end_ns_ = std::max(last_end_ns_, times.end_ns);
}

void Recorder::batch_done(BatchTimes const& times, bool any_measured) {
    if (!any_measured) return;
    ++result_.batches;
    // A batch that holds warm-up requests too may have begun before the measurement.
    result_.busy_ns +=
        std::max<Nanoseconds>(0, times.end_ns - std::max(times.server_start_ns, first_start_ns_));
}

ServingResult Recorder::take() {
    result_.decision_hash = hash_.value();
    if (result_.requests > 0) result_.span_ns = last_end_ns_ - first_start_ns_;
    return std::move(result_);
}

}  // namespace ckvsim::engine
