// The two twins of a serving run. Both drive node/ decision code (lookup, eviction, batching, queue
// order); they differ in clock, store and server.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "decode/backend.hpp"
#include "decode/nominal_work.hpp"
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
        backend;               ///< executed twin only; may be null for the simulated one
    decode::NominalWork work;  ///< bytes and flops by formula, for platforms without measured costs
    bool cached_in_tiers = true;  ///< false: nothing is kept, ids are encoded at every request
};

/// An arm from shapes: entry layout, shared bytes (kv::shared_bytes), cost key and nominal work
/// (decode/nominal_work.hpp holds the formulas and what they assume). recompute keeps nothing in
/// the tiers. The backend is left empty.
ServingArm make_serving_arm(std::string name, model::SimShape const& shape,
                            model::VariantParams const& variant, kv::StrategyParams const& strategy,
                            workload::Catalogue const& catalogue, std::uint32_t context_vocabulary);

/// What a serving run needs besides its arm and its requests.
struct ServingRunParams {
    node::NodeParams node;
    std::uint32_t nodes = 1;
    std::uint64_t seed = 1;
    double warmup_s = 0.0;
};

/// Progress hook: (done, total) requests of the current arm; may be empty.
using ServingProgress = std::function<void(std::uint64_t, std::uint64_t)>;

/// Simulated twin, local: virtual time for the given logical nodes' requests (requests_by_node[i]
/// sorted by time, for node ids[i]). A node has Platform::gpus lanes: a GPU with its own batcher,
/// link and equal shares of both tiers; users are dealt to lanes by hash (router/hash_router.hpp).
/// Costs are the platform's measured ones for arm.cost_key, else, on a nominal platform, the
/// formulas of arm.work; a measured platform without the key is refused (DataError). With
/// fetch_overlaps_decode the next batch is admitted and fetched while the server works on the last
/// one; otherwise the server copies itself. OpenMP-parallel over lanes; deterministic; independent
/// of threads and of which rank simulates which node. Memory: 4 bytes per request where gpus > 1,
/// and about 50 bytes per cached user.
ServingResult run_simulated(ServingArm const& arm, node::Platform const& platform,
                            ServingRunParams const& params,
                            std::vector<std::uint32_t> const& node_ids,
                            std::vector<std::vector<workload::Request>> const& requests_by_node,
                            ServingProgress const& progress = {});

/// Executed twin, local: wall-clock, open loop, real entries in two real tiers, real kernels.
/// `requests` is the stream of this rank's one logical node, a single lane. Latency counts from the
/// intended start. Before the clock starts, histories are loaded (a feature store's work, the same
/// for every strategy) and the tiers' memory is touched. Call between barriers so that ranks start
/// together. Throws BackendError when the tiers do not fit into memory.
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

}  // namespace ckvsim::engine
