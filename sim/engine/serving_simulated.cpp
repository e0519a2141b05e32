// The simulated twin: virtual time, priced stages, a queue for the link and one for the server.
#include <omp.h>

#include <atomic>

#include "engine/parallel_failure.hpp"
#include "engine/serving.hpp"
#include "engine/serving_loop.hpp"
#include "engine/stage_costs.hpp"
#include "node/fifo_server.hpp"
#include "router/hash_router.hpp"

namespace ckvsim::engine {

namespace {

struct VirtualClock {
    static Nanoseconds wait_until(Nanoseconds at) { return at; }
};

/// Prices what was decided. With overlap, transfers use the link while the server works; without,
/// the server copies itself.
template <class Costs>
class SimulatedServer {
  public:
    SimulatedServer(Costs costs, bool overlap) : costs_(std::move(costs)), overlap_(overlap) {}

    void promote(std::uint32_t, node::CacheEntry const& e) { costs_.add_fetch(e.tokens, e.bytes); }
    void stream(std::uint32_t, node::CacheEntry const& e) { costs_.add_fetch(e.tokens, e.bytes); }
    void demote(std::uint32_t, node::CacheEntry const& e) { costs_.add_demotion(e.tokens); }
    void drop(std::uint32_t, node::CacheEntry const&, node::Tier) {}
    void place(std::uint32_t, node::CacheEntry const& e, node::Tier tier) {
        if (tier == node::Tier::dram) costs_.add_store(e.tokens);
    }

    void begin(std::size_t batch) { batch_ = batch; }
    void add(workload::Request const& request, node::Placement const& placement, std::uint64_t) {
        if (placement.outcome == node::Outcome::miss) costs_.add_prefill(request.tokens);
        costs_.add_request(request.tokens, request.candidates);
    }
    BatchTimes finish(Nanoseconds closed_ns) {
        BatchPrice const price = costs_.take(batch_);
        BatchTimes times;
        times.fetch_ns = price.fetch_ns;
        times.prefill_ns = price.prefill_ns;
        times.host_ns = price.host_ns;
        times.decode_ns = price.decode_ns;
        times.score_ns = price.score_ns;
        Nanoseconds const work =
            price.prefill_ns + price.host_ns + price.decode_ns + price.score_ns;
        if (!overlap_) {
            auto const slot = server_.serve(closed_ns, price.fetch_ns + work);
            times.server_start_ns = slot.start_ns;
            times.end_ns = times.ready_ns = slot.end_ns;
            return times;
        }
        Nanoseconds arrived_ns = closed_ns;
        if (price.fetch_ns > 0) {
            arrived_ns = link_.serve(closed_ns, price.fetch_ns).end_ns;
            times.fetch_ns = arrived_ns - closed_ns;  // with the wait for the link
        }
        auto const slot = server_.serve(arrived_ns, work);
        times.server_start_ns = times.ready_ns = slot.start_ns;
        times.end_ns = slot.end_ns;
        return times;
    }

  private:
    Costs costs_;
    bool overlap_;
    node::FifoServer link_;
    node::FifoServer server_;
    std::size_t batch_ = 0;
};

/// One GPU of one node.
struct Lane {
    StreamView stream;
    std::uint32_t id = 0;  ///< over all nodes; names the noise stream
};

/// Requests of every lane of the given nodes. `orders` keeps the lanes' request numbers alive.
std::vector<Lane> split_lanes(std::vector<std::uint32_t> const& node_ids,
                              std::vector<std::vector<workload::Request>> const& requests_by_node,
                              std::uint32_t lanes_per_node,
                              std::vector<std::vector<std::uint32_t>>& orders) {
    std::vector<Lane> lanes;
    orders.reserve(node_ids.size() * lanes_per_node);
    for (std::size_t i = 0; i < node_ids.size(); ++i) {
        auto const& requests = requests_by_node[i];
        validate(requests.size() < UINT32_MAX, "engine::run_simulated: too many requests a node");
        std::size_t const first = orders.size();
        if (lanes_per_node > 1) {
            orders.resize(first + lanes_per_node);
            for (std::uint32_t r = 0; r < requests.size(); ++r) {
                auto const lane = router::HashRouter::lane_of(requests[r].user, lanes_per_node);
                orders[first + lane].push_back(r);
            }
        }
        for (std::uint32_t lane = 0; lane < lanes_per_node; ++lane) {
            StreamView stream{requests.data(), nullptr, requests.size()};
            if (lanes_per_node > 1) {
                auto const& order = orders[first + lane];
                stream.order = order.data();
                stream.count = order.size();
            }
            lanes.push_back({stream, node_ids[i] * lanes_per_node + lane});
        }
    }
    return lanes;
}

/// Counts requests over lanes; reports from the calling thread only.
class LaneProgress {
  public:
    LaneProgress(ServingProgress const& report, std::uint64_t total)
        : report_(report), total_(total) {}
    void add(std::uint64_t requests) {
        std::uint64_t const done = done_.fetch_add(requests, std::memory_order_relaxed) + requests;
        if (report_ && omp_get_thread_num() == 0) report_(done, total_);
    }

  private:
    ServingProgress const& report_;
    std::uint64_t total_;
    std::atomic<std::uint64_t> done_{0};
};

LaneParams lane_params(ServingArm const& arm, node::Platform const& platform,
                       ServingRunParams const& params, std::uint32_t lanes_per_node) {
    std::uint64_t const hbm = params.node.hbm_cache_bytes;
    LaneParams lane;
    lane.hbm_bytes = (hbm - std::min(hbm, arm.shared_bytes)) / lanes_per_node;
    lane.dram_bytes = params.node.dram_cache_bytes / lanes_per_node;
    lane.batcher = node::Batcher(params.node.max_batch, params.node.max_wait_us);
    lane.cached = arm.cached_in_tiers;
    lane.window = platform.fetch_overlaps_decode ? 2 : 1;
    lane.warmup_ns = static_cast<Nanoseconds>(std::llround(params.warmup_s * 1e9));
    lane.hash_completions = true;
    return lane;
}

template <class Costs>
ServingResult simulate_lane(Lane const& lane, EntrySizes const& sizes, LaneParams const& params,
                            Costs costs, bool overlap, LaneProgress& progress) {
    constexpr std::size_t kReportEvery = 1U << 16U;
    check_sorted(lane.stream);
    SimulatedServer<Costs> server(std::move(costs), overlap);
    VirtualClock clock;
    std::size_t reported = 0;
    auto result = serve_stream(lane.stream, sizes, params, clock, server, [&](std::size_t done) {
        if (done - reported < kReportEvery) return;
        progress.add(done - reported);
        reported = done;
    });
    progress.add(lane.stream.count - reported);
    return result;
}

}  // namespace

ServingResult run_simulated(ServingArm const& arm, node::Platform const& platform,
                            ServingRunParams const& params,
                            std::vector<std::uint32_t> const& node_ids,
                            std::vector<std::vector<workload::Request>> const& requests_by_node,
                            ServingProgress const& progress) {
    validate(node_ids.size() == requests_by_node.size(),
             "engine::run_simulated: needs one request stream per node");
    std::uint32_t const lanes_per_node = std::max(platform.gpus, 1U);
    std::vector<std::vector<std::uint32_t>> orders;
    auto const lanes = split_lanes(node_ids, requests_by_node, lanes_per_node, orders);
    std::uint32_t longest = 0;
    std::uint64_t total = 0;
    for (auto const& lane : lanes) {
        longest = std::max(longest, max_tokens(lane.stream));
        total += lane.stream.count;
    }
    EntrySizes const sizes(arm.layout, longest);
    LaneParams const lane = lane_params(arm, platform, params, lanes_per_node);
    bool const measured =
        platform.costs.contains(arm.cost_key) || platform.kind == node::PlatformKind::measured;
    bool const overlap = platform.fetch_overlaps_decode;
    LaneProgress done(progress, total);
    std::vector<ServingResult> results(lanes.size());
    ParallelFailure failure;
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t i = 0; i < lanes.size(); ++i) {
        failure.guard([&] {
            results[i] =
                measured
                    ? simulate_lane(lanes[i], sizes, lane,
                                    MeasuredCosts(platform, arm.cost_key, params.seed, lanes[i].id),
                                    overlap, done)
                    : simulate_lane(lanes[i], sizes, lane, NominalCosts(platform, arm.work),
                                    overlap, done);
        });
    }
    failure.rethrow();
    ServingResult merged;
    for (auto const& result : results) merge(merged, result);
    return merged;
}

}  // namespace ckvsim::engine
