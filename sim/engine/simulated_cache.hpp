// Caches of any policy behind one interface, called per block of requests. Internal to the cache
// simulation.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "engine/cache_simulation.hpp"
#include "engine/cache_tally.hpp"

namespace ckvsim::engine {

/// A block of requests with what the counting needs to know.
struct RequestBlock {
    std::span<CacheRequest const> requests;
    std::uint64_t first = 0;  ///< position of requests[0] in the (sampled) trace
    std::uint64_t warmup = 0;
    std::uint32_t const* next = nullptr;  ///< by position: Belady's future, 0 = never
    bool sampling = false;
};

/// One or more caches that are fed the same requests, block by block. Not thread-safe.
class BlockConsumer {
  public:
    virtual ~BlockConsumer() = default;
    virtual void consume(RequestBlock const& block) = 0;
    /// One per capacity, in order.
    [[nodiscard]] virtual std::vector<MissTally> tallies() const = 0;
    /// Why results are not exact: requests that break the method's assumptions, per capacity.
    [[nodiscard]] virtual std::vector<std::uint64_t> inexact() const {
        return std::vector<std::uint64_t>(tallies().size(), 0);
    }
    double seconds = 0.0;
};

/// One cache. `capacity` is scaled to the sample already.
std::unique_ptr<BlockConsumer> make_simulated_cache(std::string const& policy,
                                                    std::uint64_t capacity,
                                                    CacheSimulationOptions const& options);

/// All capacities of LRU by stack distances; capacities in any order.
std::unique_ptr<BlockConsumer> make_stack_consumer(std::vector<std::uint64_t> capacities,
                                                   bool objects);

}  // namespace ckvsim::engine
