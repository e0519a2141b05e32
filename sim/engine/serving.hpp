// The two twins of a serving run. Both drive node/ decision code (lookup, eviction, batching, queue
// order); they differ in clock, store and server.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "decode/backend.hpp"
#include "engine/results.hpp"
#include "node/platform.hpp"
#include "workload/population.hpp"
#include "workload/requests.hpp"

namespace ckvsim::engine {

/// One arm as the twins see it.
struct ServingArm {
    std::string name;
    kv::EntryLayout layout;
    std::uint64_t shared_bytes = 0;  ///< taken off the HBM tier, once per node (GPU)
    std::string cost_key;  ///< decode::cost_key(weights, strategy), finds the platform's costs
    std::shared_ptr<decode::Backend const>
        backend;                        ///< executed twin only; may be null for the simulated one
    double decode_bytes_per_token = 0;  ///< for nominal platforms: bytes read per token of history
    double flops_per_token_candidate = 0;  ///< ... attention flops per (token, candidate)
    double flops_per_candidate = 0;        ///< ... tower and projections
    double prefill_flops_per_token = 0;
    bool cached_in_tiers = true;
};

/// Nominal cost description of an arm (bytes and flops by formula) from shapes.
ServingArm make_serving_arm(std::string name, model::SimShape const& shape,
                            model::VariantParams const& variant, kv::StrategyParams const& strategy,
                            workload::Catalogue const& catalogue, std::uint32_t context_vocabulary);

struct ServingRunParams {
    node::NodeParams node;
    std::uint32_t nodes = 1;
    std::uint64_t seed = 1;
    double warmup_s = 0.0;
};

/// Progress hook: (done, total) requests of the current arm; may be empty.
using ServingProgress = std::function<void(std::uint64_t, std::uint64_t)>;

/// Simulated twin, local: virtual time for the given logical nodes' requests (requests_by_node[i]
/// sorted by time, for node ids[i]). Deterministic; result independent of which rank simulates
/// which node.
ServingResult run_simulated(ServingArm const& arm, node::Platform const& platform,
                            ServingRunParams const& params,
                            std::vector<std::uint32_t> const& node_ids,
                            std::vector<std::vector<workload::Request>> const& requests_by_node,
                            ServingProgress const& progress = {});

/// Executed twin, local: wall-clock, open loop, real entries in two real tiers, real kernels.
/// `requests` is the stream of this rank's one logical node. Call between barriers so that ranks
/// start together.
ServingResult run_executed(ServingArm const& arm, ServingRunParams const& params,
                           workload::Population const& population,
                           std::vector<workload::Request> const& requests,
                           ServingProgress const& progress = {});

/// Merges b into a: counters add, sketches merge, span is the maximum, hashes add.
void merge(ServingResult& a, ServingResult const& b);
/// Flat integers for an MPI sum and maximum; see serving_reduce.cpp.
std::vector<std::int64_t> sum_part(ServingResult const& result);
std::vector<std::int64_t> max_part(ServingResult const& result);
ServingResult from_parts(std::vector<std::int64_t> const& sums,
                         std::vector<std::int64_t> const& maxima);

/// Measures stage costs of the given arms on this machine over a grid (executed kernels, wall
/// clock). `seconds`: time budget over all arms.
node::Platform calibrate(std::vector<ServingArm> const& arms,
                         workload::Population const& population, double seconds, std::uint64_t seed,
                         std::function<void(std::string const&)> const& log);

}  // namespace ckvsim::engine
