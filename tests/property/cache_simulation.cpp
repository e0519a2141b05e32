// Whole simulations: one pass over many capacities equals single runs, sampling stays within its
// stated error, threads change nothing, contradictions are refused.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "engine/cache_simulation.hpp"

namespace ckvsim::engine {
namespace {

class ListedTrace : public workload::CacheTrace {
  public:
    explicit ListedTrace(std::vector<CacheRequest> const& requests) : requests_(requests) {}
    std::size_t read(std::span<CacheRequest> out) override {
        std::size_t const count = std::min(out.size(), requests_.size() - at_);
        std::copy_n(requests_.begin() + static_cast<std::ptrdiff_t>(at_), count, out.begin());
        at_ += count;
        return count;
    }
    [[nodiscard]] std::uint64_t done() const override { return at_; }
    [[nodiscard]] std::uint64_t total() const override { return requests_.size(); }

  private:
    std::vector<CacheRequest> const& requests_;
    std::size_t at_ = 0;
};

/// Sizes are a function of the key.
std::vector<CacheRequest> random_trace(std::uint64_t seed, std::size_t count, std::uint32_t keys,
                                       std::uint32_t largest) {
    CounterRng rng(seed, Purpose::test, 11);
    std::vector<CacheRequest> made;
    for (std::size_t i = 0; i < count; ++i) {
        double const u = rng.uniform();
        auto const key = static_cast<std::uint64_t>(u * u * keys);
        made.push_back({key, 1 + static_cast<std::uint32_t>(mix64(key + seed) % largest),
                        static_cast<std::uint32_t>(i)});
    }
    return made;
}

std::vector<CacheResult> simulate(std::vector<CacheRequest> const& requests,
                                  CacheSimulationOptions const& options) {
    return simulate_caches([&] { return std::make_unique<ListedTrace>(requests); }, options);
}

CacheSimulationOptions lru(std::vector<std::uint64_t> capacities, LruMethod method) {
    CacheSimulationOptions options;
    options.policies = {"lru"};
    options.capacities = std::move(capacities);
    options.lru_method = method;
    return options;
}

void expect_same_misses(std::vector<CacheResult> const& a, std::vector<CacheResult> const& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].misses, b[i].misses) << a[i].policy << " " << a[i].capacity;
        EXPECT_EQ(a[i].missed_bytes, b[i].missed_bytes) << a[i].policy << " " << a[i].capacity;
        EXPECT_EQ(a[i].simulated, b[i].simulated);
    }
}

TEST(CacheSimulation, LruStackDistancesEqualSingleRunsForEqualSizes) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        auto const requests = random_trace(seed, 20'000, 3000, 1);
        auto stack = lru({1, 2, 3, 10, 57, 500, 1000, 2999, 3000, 57}, LruMethod::stack);
        stack.objects = true;
        stack.warmup = seed * 700;
        auto single = stack;
        single.lru_method = LruMethod::simulate;
        auto const a = simulate(requests, stack);
        expect_same_misses(a, simulate(requests, single));
        EXPECT_EQ(a.front().method, "stack");
        for (auto const& result : a) EXPECT_EQ(result.inexact, 0U);
    }
}

TEST(CacheSimulation, LruStackDistancesInBytesEqualSingleRunsWhereNothingExceedsTheCache) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        auto const requests = random_trace(seed, 20'000, 2000, 100);
        auto const a = simulate(requests, lru({100, 123, 1000, 20'000}, LruMethod::stack));
        expect_same_misses(a,
                           simulate(requests, lru({100, 123, 1000, 20'000}, LruMethod::simulate)));
        for (auto const& result : a) EXPECT_EQ(result.inexact, 0U);
        auto const smaller = simulate(requests, lru({50}, LruMethod::stack));
        EXPECT_GT(smaller[0].inexact, 0U) << "objects above the capacity must be reported";
    }
}

TEST(CacheSimulation, LruMissesFallWithCapacityAndBeladyBoundsAll) {
    auto const requests = random_trace(4, 30'000, 2000, 1);
    CacheSimulationOptions options;
    options.policies = cache_policy_names();
    options.capacities = {1, 7, 60, 400, 1500};
    options.objects = true;
    auto const results = simulate(requests, options);
    ASSERT_EQ(results.size(), 35U);
    for (std::size_t p = 0; p < 7; ++p) {
        for (std::size_t c = 0; c < 5; ++c) {
            auto const& result = results[p * 5 + c];
            EXPECT_EQ(result.policy, options.policies[p]);
            EXPECT_EQ(result.capacity, options.capacities[c]);
            EXPECT_EQ(result.requests, 30'000U);
            EXPECT_GE(result.misses, results[30 + c].misses);
            if (p == 0 && c > 0) {
                EXPECT_LT(result.misses, results[c - 1].misses);
            }
        }
    }
    options.threads = 3;
    expect_same_misses(results, simulate(requests, options));
}

TEST(CacheSimulation, SamplingStaysWithinFiveStandardErrors) {
    auto const requests = random_trace(8, 400'000, 60'000, 1);
    for (std::string const policy : {"lru", "fifo", "sieve", "belady"}) {
        CacheSimulationOptions options;
        options.policies = {policy};
        options.capacities = {2000, 10'000, 30'000};
        options.objects = true;
        auto const exact = simulate(requests, options);
        options.sample = 0.1;
        auto const sampled = simulate(requests, options);
        for (std::size_t i = 0; i < exact.size(); ++i) {
            EXPECT_EQ(exact[i].standard_error, 0.0);
            EXPECT_GT(sampled[i].standard_error, 0.0);
            EXPECT_LT(sampled[i].standard_error, 0.05);
            EXPECT_NEAR(sampled[i].miss_ratio, exact[i].miss_ratio,
                        5 * sampled[i].standard_error + 0.002)
                << policy << " " << exact[i].capacity;
            EXPECT_NEAR(static_cast<double>(sampled[i].simulated), 40'000, 4000);
            EXPECT_EQ(sampled[i].requests, 400'000U);
        }
    }
}

TEST(CacheSimulation, EmptyTracesAndLongWarmUpsCountNothing) {
    auto options = lru({5}, LruMethod::automatic);
    auto const empty = simulate({}, options);
    EXPECT_EQ(empty[0].requests, 0U);
    EXPECT_EQ(empty[0].miss_ratio, 0.0);
    options.warmup = 1000;
    auto const warm = simulate(random_trace(1, 500, 10, 1), options);
    EXPECT_EQ(warm[0].requests, 0U);
    EXPECT_EQ(warm[0].misses, 0U);
    EXPECT_EQ(warm[0].processed, 500U);
}

TEST(CacheSimulation, ObjectsAboveTheCapacityAlwaysMiss) {
    std::vector<CacheRequest> const requests(10, CacheRequest{1, 100, 0});
    for (auto const& policy : cache_policy_names()) {
        auto options = lru({99}, LruMethod::simulate);
        options.policies = {policy};
        EXPECT_EQ(simulate(requests, options)[0].misses, 10U) << policy;
        // W-TinyLFU divides the capacity into 1 and 99: the object fits into neither part.
        options.capacities = {100};
        EXPECT_EQ(simulate(requests, options)[0].misses, policy == "wtinylfu" ? 10U : 1U) << policy;
    }
}

TEST(CacheSimulation, BeladyRefusesATraceThatChangesBetweenItsTwoPasses) {
    auto const requests = random_trace(1, 1000, 10, 1);
    auto const fewer = random_trace(1, 900, 10, 1);
    auto options = lru({5}, LruMethod::automatic);
    options.policies = {"belady"};
    for (auto const& [first, second] :
         {std::pair{&requests, &fewer}, std::pair{&fewer, &requests}}) {
        int opened = 0;
        auto const open = [&, first = first, second = second] {
            return std::make_unique<ListedTrace>(opened++ == 0 ? *first : *second);
        };
        EXPECT_THROW(simulate_caches(open, options), Error);
        EXPECT_EQ(opened, 2);
    }
}

TEST(CacheSimulation, RefusesOptionsThatContradictEachOther) {
    using node::policies::AdmissionRule;
    auto refused = [](auto change) {
        auto options = lru({5}, LruMethod::automatic);
        change(options);
        EXPECT_THROW(simulate({}, options), Error);
    };
    refused([](auto& o) { o.policies = {"lfu"}; });
    refused([](auto& o) { o.policies = {}; });
    refused([](auto& o) { o.capacities = {}; });
    refused([](auto& o) { o.capacities = {0}; });
    refused([](auto& o) { o.sample = 0.0; });
    refused([](auto& o) { o.sample = 1.5; });
    refused([](auto& o) {
        o.policies = {"belady"};
        o.time_to_live = 3;
    });
    refused([](auto& o) {
        o.policies = {"belady"};
        o.admission = AdmissionRule::size;
    });
    refused([](auto& o) {
        o.policies = {"s3fifo"};
        o.admission = AdmissionRule::frequency;
    });
    refused([](auto& o) {
        o.lru_method = LruMethod::stack;
        o.time_to_live = 3;
    });
}

}  // namespace
}  // namespace ckvsim::engine
