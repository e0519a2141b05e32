#include "engine/executed_node.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.hpp"
#include "engine/batch_kernels.hpp"
#include "engine/history_store.hpp"
#include "engine/serving_loop.hpp"
#include "engine/tier_store.hpp"

namespace ckvsim::engine {

namespace {

/// No tier needs more memory than all entries of the stream's users together.
std::uint64_t bounded(std::uint64_t capacity_bytes, HistoryStore const& histories,
                      EntrySizes const& sizes) {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < histories.users(); ++i)
        all += sizes.bytes(histories.most_tokens(i));
    return std::min(capacity_bytes, all);
}

std::uint32_t most_candidates(std::vector<workload::Request> const& requests) {
    std::uint32_t most = 1;
    for (auto const& request : requests) most = std::max(most, request.candidates);
    return most;
}

/// Carries out what was decided: copies between two arenas, encodes, decodes, scores.
class ExecutedServer {
  public:
    ExecutedServer(ServingArm const& arm, std::uint64_t seed, std::uint32_t items,
                   LaneParams const& lane, EntrySizes const& sizes, HistoryStore const& histories,
                   std::uint32_t max_candidates, ScoreSink const& sink, ExecutionClock& clock)
        : histories_(histories),
          sink_(sink),
          clock_(clock),
          kernels_(*arm.backend, seed, items, lane.batcher.max_batch(), max_candidates),
          hbm_(bounded(lane.hbm_bytes, histories, sizes), sizes.largest(), "the HBM tier"),
          dram_(bounded(lane.dram_bytes, histories, sizes), sizes.largest(), "the DRAM tier"),
          workspace_stride_(sizes.largest()),
          workspace_(workspace_stride_ * lane.batcher.max_batch(), "a batch's workspace") {
        admitted_.reserve(lane.batcher.max_batch());
    }
    void promote(std::uint32_t slot, node::CacheEntry const& e) {
        hbm_.put(slot, e.bytes);
        std::memcpy(hbm_.at(slot), dram_.at(slot), e.bytes);
        clock_.copied(e.tokens);
        dram_.release(slot);
    }
    void stream(std::uint32_t slot, node::CacheEntry const& e) {
        std::memcpy(claim_workspace(slot), dram_.at(slot), e.bytes);
        clock_.copied(e.tokens);
    }
    void demote(std::uint32_t slot, node::CacheEntry const& e) {
        dram_.put(slot, e.bytes);
        std::memcpy(dram_.at(slot), hbm_.at(slot), e.bytes);
        clock_.copied(e.tokens);
        hbm_.release(slot);
    }
    void drop(std::uint32_t slot, node::CacheEntry const&, node::Tier tier) {
        tier_store(tier).release(slot);
    }
    void place(std::uint32_t slot, node::CacheEntry const& e, node::Tier tier) {
        tier_store(tier).put(slot, e.bytes);
        if (tier == node::Tier::dram) claim_workspace(slot);
    }

    void begin(std::size_t) { admitted_.clear(); }
    void add(workload::Request const& request, node::Placement const& placement,
             std::uint64_t bytes) {
        admitted_.push_back({&request, placement, bytes});
    }
    BatchTimes finish(Nanoseconds closed_ns) {
        Nanoseconds const fetched = clock_.now_ns();
        prefill();
        Nanoseconds const prefilled = clock_.now_ns();
        kernels_.assemble();
        for (Admitted const& a : admitted_) clock_.assembled(*a.request);
        Nanoseconds const assembled = clock_.now_ns();
        kernels_.decode();
        Nanoseconds const decoded = clock_.now_ns();
        kernels_.score();
        Nanoseconds const end = clock_.now_ns();
        if (sink_) {
            for (std::size_t i = 0; i < admitted_.size(); ++i)
                sink_(*admitted_[i].request, kernels_.logits(i));
        }
        BatchTimes times;
        times.fetch_ns = fetched - closed_ns;
        times.prefill_ns = prefilled - fetched;
        times.host_ns = assembled - prefilled;
        times.decode_ns = decoded - assembled;
        times.score_ns = end - decoded;
        times.server_start_ns = closed_ns;
        times.end_ns = times.ready_ns = end;
        return times;
    }

  private:
    struct Admitted {
        workload::Request const* request;
        node::Placement placement;
        std::uint64_t bytes;
    };

    TierStore& tier_store(node::Tier tier) { return tier == node::Tier::hbm ? hbm_ : dram_; }
    [[nodiscard]] std::byte* workspace(std::size_t position) const {
        return workspace_.data() + position * workspace_stride_;
    }
    /// The workspace of the request being admitted, remembered for others of the batch.
    std::byte* claim_workspace(std::uint32_t slot) {
        if (slot >= workspace_of_slot_.size()) workspace_of_slot_.resize(slot + std::size_t{1});
        workspace_of_slot_[slot] = static_cast<std::uint32_t>(admitted_.size());
        return workspace(admitted_.size());
    }
    /// Where a request's entry lies now that the batch is admitted and nothing moves any more.
    [[nodiscard]] std::byte* entry_of(std::size_t position) const {
        node::Placement const& placement = admitted_[position].placement;
        if (!placement.workspace) return hbm_.at(placement.slot);
        bool const known = placement.slot != node::kNoSlot;
        return workspace(known ? workspace_of_slot_[placement.slot] : position);
    }
    /// Encodes the batch's misses; what lives in DRAM is written there.
    void prefill() {
        kernels_.begin();
        for (std::size_t i = 0; i < admitted_.size(); ++i) {
            workload::Request const& request = *admitted_[i].request;
            std::uint32_t const capacity = EntrySizes::capacity(request.tokens);
            std::byte* const entry = entry_of(i);
            if (admitted_[i].placement.outcome == node::Outcome::miss)
                kernels_.add_prefill(histories_.history(request), capacity, entry);
            kernels_.add_request(request, {entry, request.tokens, capacity});
        }
        kernels_.prefill();
        for (Admitted const& a : admitted_) {
            if (a.placement.outcome != node::Outcome::miss || a.placement.tier != node::Tier::dram)
                continue;
            std::memcpy(dram_.at(a.placement.slot), workspace(workspace_of_slot_[a.placement.slot]),
                        a.bytes);
            clock_.copied(a.request->tokens);
        }
    }

    HistoryStore const& histories_;
    ScoreSink const& sink_;
    ExecutionClock& clock_;
    BatchKernels kernels_;
    TierStore hbm_;
    TierStore dram_;
    std::uint64_t workspace_stride_;
    TouchedBytes workspace_;
    std::vector<std::uint32_t> workspace_of_slot_;
    std::vector<Admitted> admitted_;
};

}  // namespace

ServingResult execute_node(ServingArm const& arm, ServingRunParams const& params,
                           workload::Population const& population,
                           std::vector<workload::Request> const& requests,
                           ServingProgress const& progress, ScoreSink const& sink,
                           ExecutionClock& clock) {
    constexpr Nanoseconds kReportEvery = 500'000'000;
    validate(arm.backend != nullptr, "engine::run_executed: the arm has no backend");
    StreamView const stream{requests.data(), nullptr, requests.size()};
    check_sorted(stream);
    EntrySizes const sizes(arm.layout, max_tokens(stream));
    LaneParams lane;
    lane.hbm_bytes =
        params.node.hbm_cache_bytes - std::min(params.node.hbm_cache_bytes, arm.shared_bytes);
    lane.dram_bytes = params.node.dram_cache_bytes;
    lane.batcher = node::Batcher(params.node.max_batch, params.node.max_wait_us);
    lane.cached = arm.cached_in_tiers;
    lane.warmup_ns = static_cast<Nanoseconds>(std::llround(params.warmup_s * 1e9));
    lane.hash_completions = clock.is_virtual();
    HistoryStore const histories(population, requests);
    ExecutedServer server(arm, params.seed, population.catalogue().items, lane, sizes, histories,
                          most_candidates(requests), sink, clock);
    clock.start();
    Nanoseconds reported = 0;
    return serve_stream(stream, sizes, lane, clock, server, [&](std::size_t done) {
        if (!progress) return;
        Nanoseconds const now = clock.now_ns();
        if (now - reported < kReportEvery && done < requests.size()) return;
        reported = now;
        progress(done, requests.size());
    });
}

ServingResult run_executed(ServingArm const& arm, ServingRunParams const& params,
                           workload::Population const& population,
                           std::vector<workload::Request> const& requests,
                           ServingProgress const& progress) {
    WallExecutionClock clock;
    return execute_node(arm, params, population, requests, progress, {}, clock);
}

}  // namespace ckvsim::engine
