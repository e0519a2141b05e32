#include "engine/cache_simulation.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/large_array.hpp"
#include "engine/cache_tally.hpp"
#include "engine/parallel_failure.hpp"
#include "engine/simulated_cache.hpp"
#include "node/policies/key_index.hpp"

namespace ckvsim::engine {

namespace {

using node::policies::AdmissionRule;
using node::policies::KeyIndex;

constexpr std::size_t kBlock = std::size_t{1} << 16;

/// The requests of a trace whose keys belong to the sample.
class SampledTrace {
  public:
    SampledTrace(std::unique_ptr<workload::CacheTrace> trace, KeySample sample)
        : trace_(std::move(trace)), sample_(sample), block_(kBlock) {}
    /// Next block, empty at the end; valid until the next call.
    std::span<CacheRequest const> next(std::uint64_t warmup) {
        for (;;) {
            std::size_t const got = trace_->read(block_);
            if (got == 0) return {};
            std::uint64_t const first = seen_;
            seen_ += got;
            if (sample_.all()) return {block_.data(), got};
            std::size_t kept = 0;
            for (std::size_t at = 0; at < got; ++at) {
                if (!sample_.holds(block_[at].key)) continue;
                warmup_kept_ += first + at < warmup ? 1 : 0;
                block_[kept++] = block_[at];
            }
            if (kept > 0) return {block_.data(), kept};
        }
    }
    [[nodiscard]] std::uint64_t seen() const { return seen_; }
    /// How many of the sampled requests so far belong to the warm-up.
    [[nodiscard]] std::uint64_t warmup(std::uint64_t warmup) const {
        return sample_.all() ? warmup : warmup_kept_;
    }
    [[nodiscard]] workload::CacheTrace const& trace() const { return *trace_; }

  private:
    std::unique_ptr<workload::CacheTrace> trace_;
    KeySample sample_;
    std::vector<CacheRequest> block_;
    std::uint64_t seen_ = 0;
    std::uint64_t warmup_kept_ = 0;
};

/// Position of each (sampled) request's successor for the same key; 0 = none.
struct Future {
    LargeArray<std::uint32_t> next;
    std::uint64_t requests = 0;
    bool known = false;
};

Future read_future(SampledTrace trace) {
    LargeArray<std::uint32_t> next(kBlock);
    LargeArray<std::uint64_t> keys(kBlock);
    LargeArray<std::uint32_t> last(kBlock);
    KeyIndex index;
    std::uint64_t position = 0;
    std::uint64_t known = 0;
    for (auto block = trace.next(0); !block.empty(); block = trace.next(0)) {
        if (position + block.size() > next.size()) next.grow(2 * next.size());
        for (std::size_t at = 0; at < block.size(); ++at, ++position) {
            if (position >= 0xFFFFFFFFULL)
                throw Error(ExitCode::usage,
                            "cachesim: policy belady takes at most 4,294,967,295 requests; give "
                            "--sample");
            if (at + 16 < block.size()) index.prefetch(KeyIndex::hash_of(block[at + 16].key));
            std::uint64_t const hash = KeyIndex::hash_of(block[at].key);
            auto slot = index.find(block[at].key, hash, [&](auto s) { return keys[s]; });
            if (slot == node::policies::kNone) {
                validate(known < node::policies::kNone, "cachesim: more than 2^30 - 1 keys");
                if (known == keys.size()) {
                    keys.grow(2 * known);
                    last.grow(2 * known);
                }
                slot = static_cast<node::policies::Slot>(known++);
                keys[slot] = block[at].key;
                index.insert(hash, slot);
            } else {
                next[last[slot]] = static_cast<std::uint32_t>(position);
            }
            last[slot] = static_cast<std::uint32_t>(position);
        }
    }
    return {std::move(next), position, true};
}

[[noreturn]] void refuse(std::string const& what) {
    throw Error(ExitCode::usage, "cachesim: " + what);
}

void check(CacheSimulationOptions const& options) {
    auto const& names = cache_policy_names();
    if (options.policies.empty()) refuse("no policy; give --policy lru or others");
    if (options.capacities.empty()) refuse("no capacity; give --capacity N");
    if (!(options.sample > 0.0 && options.sample <= 1.0))
        refuse("--sample must be above 0 and at most 1");
    for (auto const& policy : options.policies) {
        if (std::find(names.begin(), names.end(), policy) == names.end()) {
            std::string all;
            for (auto const& name : names) all += (all.empty() ? "" : ", ") + name;
            refuse("no policy '" + policy + "'; known are " + all);
        }
        bool const belady = policy == "belady";
        if (belady && options.time_to_live > 0)
            refuse("belady is no bound with a time to live; leave --ttl or belady out");
        if (belady && options.admission != AdmissionRule::all)
            refuse("belady decides admission itself; leave --admission or belady out");
        if (options.admission == AdmissionRule::frequency &&
            (policy == "s3fifo" || policy == "wtinylfu"))
            refuse(policy +
                   " filters newcomers itself and names no victim to compare with; leave "
                   "--admission tinylfu out for it");
    }
    for (std::uint64_t const capacity : options.capacities)
        if (capacity == 0) refuse("capacity 0 holds nothing; give at least 1");
    if (options.lru_method == LruMethod::stack &&
        (options.time_to_live > 0 || options.admission != AdmissionRule::all))
        refuse("stack distances know neither --ttl nor --admission; give --lru-method simulate");
}

bool uses_stack(CacheSimulationOptions const& options) {
    if (options.lru_method != LruMethod::automatic) return options.lru_method == LruMethod::stack;
    return options.objects && options.capacities.size() >= 4 && options.time_to_live == 0 &&
           options.admission == AdmissionRule::all;
}

std::uint64_t scaled(std::uint64_t capacity, double sample) {
    if (sample >= 1.0) return capacity;
    return std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(std::llround(static_cast<double>(capacity) * sample)));
}

/// One consumer and the results that it fills.
struct Job {
    std::unique_ptr<BlockConsumer> consumer;
    std::size_t first_result = 0;
};

class Simulation {
  public:
    Simulation(CacheSimulationOptions const& options, CacheSimulationHooks const& hooks)
        : options_(options), hooks_(hooks), sample_(options.sample) {
        for (auto const& policy : options.policies) add_policy(policy);
    }
    void run(SampledTrace trace, Future const& future) {
        std::uint64_t position = 0;
        for (auto block = trace.next(options_.warmup); !block.empty();
             block = trace.next(options_.warmup)) {
            if (future.known && position + block.size() > future.requests) fail_changed();
            RequestBlock const job_block{block, position, trace.warmup(options_.warmup),
                                         future.next.data(), !sample_.all()};
            consume(job_block);
            count(job_block);
            position += block.size();
            hooks_.progress(trace.trace().done(), trace.trace().total());
        }
        if (future.known && position != future.requests) fail_changed();
        processed_ = position;
        requests_ = trace.seen() - std::min(trace.seen(), options_.warmup);
    }
    [[nodiscard]] std::vector<CacheResult> results() const {
        auto results = results_;
        for (Job const& job : jobs_) {
            auto const tallies = job.consumer->tallies();
            auto const inexact = job.consumer->inexact();
            for (std::size_t i = 0; i < tallies.size(); ++i) {
                CacheResult& result = results[job.first_result + i];
                result.seconds = job.consumer->seconds;
                result.inexact = inexact[i];
                fill(result, tallies[i]);
            }
        }
        return results;
    }

  private:
    [[noreturn]] static void fail_changed() {
        throw Error(ExitCode::data,
                    "cachesim: the trace was not the same when policy belady read it a second "
                    "time; give a file that does not change, no pipe");
    }
    void add_policy(std::string const& policy) {
        bool const stack = policy == "lru" && uses_stack(options_);
        std::vector<std::uint64_t> capacities;
        for (std::uint64_t const capacity : options_.capacities) {
            capacities.push_back(scaled(capacity, options_.sample));
            if (!stack)
                jobs_.push_back(
                    {make_simulated_cache(policy, capacities.back(), options_), results_.size()});
            CacheResult result;
            result.policy = policy;
            result.capacity = capacity;
            result.method =
                std::string(stack ? "stack" : "simulated") + (sample_.all() ? "" : ", sampled");
            results_.push_back(result);
        }
        if (stack)
            jobs_.push_back({make_stack_consumer(capacities, options_.objects),
                             results_.size() - capacities.size()});
    }
    void consume(RequestBlock const& block) {
        ParallelFailure failure;
        auto const count = static_cast<std::int64_t>(jobs_.size());
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::max(1, options_.threads))
        for (std::int64_t at = 0; at < count; ++at) {
            failure.guard([&] {
                BlockConsumer& consumer = *jobs_[static_cast<std::size_t>(at)].consumer;
                double const begin = hooks_.seconds();
                consumer.consume(block);
                consumer.seconds += hooks_.seconds() - begin;
            });
        }
        failure.rethrow();
    }
    void count(RequestBlock const& block) {
        for (std::size_t at = 0; at < block.requests.size(); ++at) {
            if (block.first + at < block.warmup) continue;
            ++simulated_;
            bytes_ += block.requests[at].bytes;
        }
    }
    void fill(CacheResult& result, MissTally const& tally) const {
        result.requests = requests_;
        result.simulated = simulated_;
        result.processed = processed_;
        result.bytes = bytes_;
        result.misses = tally.misses;
        result.missed_bytes = tally.bytes;
        // SHARDS-adj: the sample should hold this many requests; the difference is hits of keys so
        // popular that a few more or fewer of them decide.
        double const expected = sample_.all() ? static_cast<double>(simulated_)
                                              : options_.sample * static_cast<double>(requests_);
        if (expected > 0.0) {
            result.miss_ratio = std::min(1.0, static_cast<double>(tally.misses) / expected);
            if (!sample_.all()) result.standard_error = tally.standard_error() / expected;
        }
        if (bytes_ > 0)
            result.byte_miss_ratio = static_cast<double>(tally.bytes) / static_cast<double>(bytes_);
    }

    CacheSimulationOptions const& options_;
    CacheSimulationHooks const& hooks_;
    KeySample sample_;
    std::vector<Job> jobs_;
    std::vector<CacheResult> results_;
    std::uint64_t requests_ = 0;
    std::uint64_t simulated_ = 0;
    std::uint64_t processed_ = 0;
    std::uint64_t bytes_ = 0;
};

}  // namespace

std::vector<std::string> const& cache_policy_names() {
    static std::vector<std::string> const names{"lru",    "fifo",     "clock", "sieve",
                                                "s3fifo", "wtinylfu", "belady"};
    return names;
}

std::vector<CacheResult> simulate_caches(
    std::function<std::unique_ptr<workload::CacheTrace>()> const& open,
    CacheSimulationOptions const& options, CacheSimulationHooks const& hooks) {
    check(options);
    KeySample const sample(options.sample);
    Future future;
    if (std::find(options.policies.begin(), options.policies.end(), "belady") !=
        options.policies.end())
        future = read_future(SampledTrace(open(), sample));
    Simulation simulation(options, hooks);
    simulation.run(SampledTrace(open(), sample), future);
    return simulation.results();
}

}  // namespace ckvsim::engine
