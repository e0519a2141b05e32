#include "engine/simulated_cache.hpp"

#include <type_traits>

#include "core/error.hpp"
#include "engine/stack_distance.hpp"
#include "node/policies/belady.hpp"
#include "node/policies/cache.hpp"
#include "node/policies/lru.hpp"
#include "node/policies/s3_fifo.hpp"
#include "node/policies/sieve.hpp"
#include "node/policies/w_tiny_lfu.hpp"

namespace ckvsim::engine {

namespace {

using namespace node::policies;

/// Room from the start; more grows by doubling.
std::uint64_t expected_objects(std::uint64_t capacity, CacheSimulationOptions const& options) {
    return options.objects ? std::min<std::uint64_t>(capacity, std::uint64_t{1} << 26) + 1 : 0;
}

template <EvictionPolicy Policy>
Policy make_policy(std::uint64_t capacity, CacheSimulationOptions const& options) {
    if constexpr (std::is_same_v<Policy, WTinyLfu>)
        return WTinyLfu(capacity, expected_objects(capacity, options));
    return Policy(capacity);
}

template <EvictionPolicy Policy, class AdmissionPolicy>
class SimulatedCache : public BlockConsumer {
  public:
    SimulatedCache(std::uint64_t capacity, CacheSimulationOptions const& options,
                   AdmissionPolicy admission)
        : cache_({.capacity = capacity,
                  .expected_objects = expected_objects(capacity, options),
                  .time_to_live = options.time_to_live},
                 make_policy<Policy>(capacity, options), std::move(admission)) {}

    void consume(RequestBlock const& block) override {
        cache_.access_all(
            block.requests,
            [&](std::size_t at) {
                if constexpr (Policy::kNeedsFuture) {
                    std::uint64_t const now = block.first + at;
                    std::uint32_t const next = block.next[now];
                    cache_.policy().set_future(now, next == 0 ? Policy::kNever : next);
                }
            },
            [&](std::size_t at, bool hit) {
                if (hit || block.first + at < block.warmup) return;
                CacheRequest const& request = block.requests[at];
                tally_.add(request.key, request.bytes, block.sampling);
            });
    }
    [[nodiscard]] std::vector<MissTally> tallies() const override { return {tally_}; }

  private:
    Cache<Policy, AdmissionPolicy> cache_;
    MissTally tally_;
};

template <EvictionPolicy Policy>
std::unique_ptr<BlockConsumer> with_admission(std::uint64_t capacity,
                                              CacheSimulationOptions const& options) {
    if (options.admission == AdmissionRule::all)
        return std::make_unique<SimulatedCache<Policy, AdmitAll>>(capacity, options, AdmitAll{});
    Admission admission(options.admission,
                        std::max<std::uint64_t>(expected_objects(capacity, options), 1U << 16),
                        options.size_limit);
    return std::make_unique<SimulatedCache<Policy, Admission>>(capacity, options,
                                                               std::move(admission));
}

/// Counts requests by the smallest capacity that hits them.
template <class Marks>
class StackConsumer : public BlockConsumer {
  public:
    explicit StackConsumer(std::vector<std::uint64_t> capacities)
        : capacities_(std::move(capacities)), sorted_(capacities_) {
        std::sort(sorted_.begin(), sorted_.end());
        sorted_.erase(std::unique(sorted_.begin(), sorted_.end()), sorted_.end());
        beyond_.resize(sorted_.size() + 1);
        oversized_.resize(sorted_.size() + 1);
    }
    void consume(RequestBlock const& block) override {
        stack_.access_all(block.requests, [&](std::size_t at, std::uint64_t distance) {
            CacheRequest const& request = block.requests[at];
            std::uint32_t const weight = Marks::weight(request);
            if (weight > sorted_.front()) ++oversized_[rank(weight)];
            if (block.first + at < block.warmup) return;
            beyond_[rank(distance)].add(request.key, request.bytes, block.sampling);
        });
    }
    [[nodiscard]] std::vector<MissTally> tallies() const override {
        std::vector<MissTally> result;
        for (std::uint64_t const capacity : capacities_) {
            MissTally sum;
            for (std::size_t at = rank(capacity) + 1; at < beyond_.size(); ++at) {
                sum.misses += beyond_[at].misses;
                sum.bytes += beyond_[at].bytes;
                for (std::size_t g = 0; g < sum.by_group.size(); ++g)
                    sum.by_group[g] += beyond_[at].by_group[g];
            }
            result.push_back(sum);
        }
        return result;
    }
    [[nodiscard]] std::vector<std::uint64_t> inexact() const override {
        std::vector<std::uint64_t> result;
        for (std::uint64_t const capacity : capacities_) {
            std::uint64_t sum = stack_.changed_weights();
            for (std::size_t at = rank(capacity) + 1; at < oversized_.size(); ++at)
                sum += oversized_[at];
            result.push_back(sum);
        }
        return result;
    }

  private:
    /// Number of capacities below `distance`: they miss.
    [[nodiscard]] std::size_t rank(std::uint64_t distance) const {
        return static_cast<std::size_t>(std::lower_bound(sorted_.begin(), sorted_.end(), distance) -
                                        sorted_.begin());
    }
    std::vector<std::uint64_t> capacities_;
    std::vector<std::uint64_t> sorted_;
    LruStack<Marks> stack_;
    std::vector<MissTally> beyond_;         ///< by rank
    std::vector<std::uint64_t> oversized_;  ///< requests larger than so many capacities
};

}  // namespace

std::unique_ptr<BlockConsumer> make_simulated_cache(std::string const& policy,
                                                    std::uint64_t capacity,
                                                    CacheSimulationOptions const& options) {
    if (policy == Lru::kName) return with_admission<Lru>(capacity, options);
    if (policy == Fifo::kName) return with_admission<Fifo>(capacity, options);
    if (policy == Clock::kName) return with_admission<Clock>(capacity, options);
    if (policy == Sieve::kName) return with_admission<Sieve>(capacity, options);
    if (policy == S3Fifo::kName) return with_admission<S3Fifo>(capacity, options);
    if (policy == WTinyLfu::kName) return with_admission<WTinyLfu>(capacity, options);
    if (policy == Belady::kName)
        return std::make_unique<SimulatedCache<Belady, AdmitAll>>(capacity, options, AdmitAll{});
    throw InternalError("engine::make_simulated_cache: unknown policy " + policy);
}

std::unique_ptr<BlockConsumer> make_stack_consumer(std::vector<std::uint64_t> capacities,
                                                   bool objects) {
    if (objects) return std::make_unique<StackConsumer<CountMarks>>(std::move(capacities));
    return std::make_unique<StackConsumer<ByteMarks>>(std::move(capacities));
}

}  // namespace ckvsim::engine
