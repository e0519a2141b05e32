// Requests per second of one cache, one thread, on Zipf-distributed requests. Axis: the policy.
// (Belady is left out: its future would have to be made for the repeated trace.)
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "node/policies/cache.hpp"
#include "node/policies/lru.hpp"
#include "node/policies/s3_fifo.hpp"
#include "node/policies/sieve.hpp"
#include "node/policies/w_tiny_lfu.hpp"
#include "workload/cache_trace.hpp"

namespace {

using namespace ckvsim;
using namespace ckvsim::node::policies;

constexpr std::uint64_t kObjects = 10'000'000;
constexpr std::uint64_t kCapacity = 1'000'000;
constexpr std::size_t kRequests = 4'000'000;

std::vector<CacheRequest> const& requests() {
    static std::vector<CacheRequest> const made = [] {
        std::vector<CacheRequest> all(kRequests);
        workload::make_zipf_trace({.alpha = 1.0, .objects = kObjects, .requests = kRequests})
            ->read(all);
        return all;
    }();
    return made;
}

/// Hits of one pass over the trace.
template <class AnyCache>
std::uint64_t pass(AnyCache& cache) {
    std::uint64_t hits = 0;
    cache.access_all(
        requests(), [](std::size_t) {}, [&](std::size_t, bool hit) { hits += hit ? 1 : 0; });
    return hits;
}

/// A hashed cache of 1 M of 10 M objects, filled by one pass before the clock starts.
template <class Policy>
void hashed(benchmark::State& state) {
    CacheOptions const options{.capacity = kCapacity, .expected_objects = kCapacity + 1};
    Cache<Policy> cache(options);
    pass(cache);
    std::uint64_t hits = 0;
    for (auto _ : state) hits = pass(cache);
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRequests));
    state.counters["hit_ratio"] = static_cast<double>(hits) / static_cast<double>(kRequests);
    state.counters["memory_bytes"] = static_cast<double>(cache.memory_bytes());
}

}  // namespace

BENCHMARK(hashed<Lru>)->Name("cache/lru")->Unit(benchmark::kMillisecond);
BENCHMARK(hashed<Fifo>)->Name("cache/fifo")->Unit(benchmark::kMillisecond);
BENCHMARK(hashed<Clock>)->Name("cache/clock")->Unit(benchmark::kMillisecond);
BENCHMARK(hashed<Sieve>)->Name("cache/sieve")->Unit(benchmark::kMillisecond);
BENCHMARK(hashed<S3Fifo>)->Name("cache/s3fifo")->Unit(benchmark::kMillisecond);
BENCHMARK(hashed<WTinyLfu>)->Name("cache/wtinylfu")->Unit(benchmark::kMillisecond);
BENCHMARK_MAIN();
