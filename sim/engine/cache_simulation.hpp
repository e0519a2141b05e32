// Plain cache simulation of a trace: several policies and capacities fed in one pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/policies/admission.hpp"
#include "workload/cache_trace.hpp"

namespace ckvsim::engine {

enum class LruMethod : std::uint8_t {
    automatic,  ///< stack distances where they are exact and pay: objects, four capacities or more
    simulate,   ///< one cache per capacity
    stack       ///< stack distances always; for bytes see CacheResult::inexact
};

struct CacheSimulationOptions {
    std::vector<std::string> policies;      ///< names of cache_policy_names()
    std::vector<std::uint64_t> capacities;  ///< bytes, or objects when the trace ignores sizes
    bool objects = false;                   ///< capacities count objects
    std::uint32_t time_to_live = 0;         ///< in the trace's time unit; 0 = none
    std::uint64_t warmup = 0;               ///< first requests that are not counted
    node::policies::AdmissionRule admission = node::policies::AdmissionRule::all;
    std::uint64_t size_limit = 0;  ///< of AdmissionRule::size
    /// Share of the keys that is simulated, with capacities scaled alike (SHARDS; Waldspurger et
    /// al., FAST 2015, and miniature simulation, ATC 2017); 1 = all.
    double sample = 1.0;
    LruMethod lru_method = LruMethod::automatic;
    int threads = 1;
};

/// What one policy at one capacity missed.
struct CacheResult {
    std::string policy;
    std::uint64_t capacity = 0;
    std::string method;           ///< "simulated", "stack" (distances); "sampled" is added
    std::uint64_t requests = 0;   ///< counted ones of the whole trace
    std::uint64_t simulated = 0;  ///< counted ones that were simulated
    std::uint64_t processed = 0;  ///< simulated, the warm-up included
    std::uint64_t misses = 0;     ///< of the simulated
    std::uint64_t bytes = 0;      ///< of the simulated
    std::uint64_t missed_bytes = 0;
    double miss_ratio = 0.0;
    double byte_miss_ratio = 0.0;
    /// Standard error of miss_ratio over 16 groups of keys; 0 without sampling.
    double standard_error = 0.0;
    double seconds = 0.0;  ///< in the policy alone, without reading the trace
    /// Stack distances in bytes: requests that break the method's assumptions (an object larger
    /// than the capacity, a key whose size changed); 0 = exact.
    std::uint64_t inexact = 0;
};

/// What the caller's machine offers; pure code has no clock of its own.
struct CacheSimulationHooks {
    std::function<double()> seconds = [] { return 0.0; };
    std::function<void(std::uint64_t done, std::uint64_t total)> progress = [](std::uint64_t,
                                                                               std::uint64_t) {};
};

/// "lru", "fifo", "clock", "sieve", "s3fifo", "wtinylfu", "belady".
std::vector<std::string> const& cache_policy_names();

/// Results in the order policies x capacities, the same for any number of threads. `open` makes the
/// trace anew: Belady reads it twice (and then needs 4 bytes a request). Throws Error (usage) for
/// options that contradict each other, and what the trace throws.
std::vector<CacheResult> simulate_caches(
    std::function<std::unique_ptr<workload::CacheTrace>()> const& open,
    CacheSimulationOptions const& options, CacheSimulationHooks const& hooks = {});

}  // namespace ckvsim::engine
