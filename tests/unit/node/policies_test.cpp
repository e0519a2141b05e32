#include <gtest/gtest.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "core/rng.hpp"
#include "node/policies/belady.hpp"
#include "node/policies/cache.hpp"
#include "node/policies/lru.hpp"
#include "node/policies/s3_fifo.hpp"
#include "node/policies/sieve.hpp"
#include "node/policies/w_tiny_lfu.hpp"

namespace ckvsim::node::policies {
namespace {

// What the documentation says about memory.
static_assert(sizeof(Links) == 8 && sizeof(CacheRecord) == 16);
static_assert(ErasablePolicy<Lru> && ErasablePolicy<Fifo> && ErasablePolicy<Clock> &&
              ErasablePolicy<Sieve> && ErasablePolicy<S3Fifo> && ErasablePolicy<WTinyLfu>);
static_assert(EvictionPolicy<Belady> && !ErasablePolicy<Belady>);
static_assert(PredictablePolicy<Lru> && PredictablePolicy<Sieve> && !PredictablePolicy<S3Fifo>);

/// Requests of single letters, one object each: 'h' or 'm' per request.
template <class Policy>
std::string outcomes(std::string const& trace, std::uint64_t capacity) {
    Cache<Policy> cache({.capacity = capacity});
    std::string result;
    for (char const c : trace)
        result += cache.access({.key = static_cast<std::uint64_t>(c)}) ? 'h' : 'm';
    return result;
}

TEST(Policies, TellsLruFromFifoFromClockFromSieve) {
    // By hand, three places.           a b c a d a b
    EXPECT_EQ(outcomes<Lru>("abcadab", 3), "mmmhmhm");    // d takes b's place, b takes c's
    EXPECT_EQ(outcomes<Fifo>("abcadab", 3), "mmmhmmm");   // d takes a's, a takes b's
    EXPECT_EQ(outcomes<Clock>("abcadab", 3), "mmmhmhm");  // a is spared, d takes b's
    // SIEVE leaves a where it is and its hand goes on behind it: b, c, d leave. CLOCK moves a to
    // the newest end, and the third to leave after b and c is a.
    EXPECT_EQ(outcomes<Sieve>("abcadefa", 3), "mmmhmmmh");
    EXPECT_EQ(outcomes<Clock>("abcadefa", 3), "mmmhmmmm");
}

TEST(Policies, S3FifoKeepsAScanOutAndRemembersGhosts) {
    Cache<S3Fifo> cache({.capacity = 10});
    for (int round = 0; round < 3; ++round)
        for (std::uint64_t key = 0; key < 9; ++key) cache.access({.key = key});
    for (std::uint64_t key = 100; key < 110; ++key) cache.access({.key = key});
    for (std::uint64_t key = 0; key < 9; ++key)
        EXPECT_TRUE(cache.access({.key = key})) << key << " was driven out by the scan";
    EXPECT_GT(cache.policy().ghosts(), 0U);
    EXPECT_FALSE(cache.access({.key = 108}));  // a ghost: enters main
    EXPECT_TRUE(cache.access({.key = 108}));
}

TEST(Policies, EntriesLargerThanTheCacheAreMissesThatEvictNobody) {
    Cache<Lru> lru({.capacity = 10});
    Cache<S3Fifo> s3({.capacity = 10});
    Cache<WTinyLfu> tiny({.capacity = 10});
    auto check = [](auto& cache) {
        cache.access({.key = 1, .bytes = 4});
        EXPECT_FALSE(cache.access({.key = 2, .bytes = 11}));
        EXPECT_FALSE(cache.access({.key = 2, .bytes = 11}));
        EXPECT_TRUE(cache.access({.key = 1, .bytes = 4}));
        EXPECT_EQ(cache.evictions(), 0U);
        EXPECT_EQ(cache.used(), 4U);
    };
    check(lru);
    check(s3);
    check(tiny);
}

TEST(Policies, ZeroCapacityHoldsNothing) {
    EXPECT_EQ(outcomes<Lru>("aab", 0), "mmm");
    EXPECT_EQ(outcomes<Clock>("aab", 0), "mmm");
    EXPECT_EQ(outcomes<Sieve>("aab", 0), "mmm");
    EXPECT_EQ(outcomes<S3Fifo>("aab", 0), "mmm");
    EXPECT_EQ(outcomes<WTinyLfu>("aab", 0), "mmm");
}

TEST(Policies, HugeKeysAreOrdinaryKeys) {
    Cache<Lru> cache({.capacity = 2});
    EXPECT_FALSE(cache.access({.key = UINT64_MAX}));
    EXPECT_FALSE(cache.access({.key = UINT64_MAX - 1}));
    EXPECT_TRUE(cache.access({.key = UINT64_MAX}));
    EXPECT_FALSE(cache.access({.key = 0}));
}

TEST(Policies, TimeToLiveCountsFromAdmission) {
    Cache<Lru> cache({.capacity = 5, .time_to_live = 10});
    EXPECT_FALSE(cache.access({.key = 1, .time = 100}));
    EXPECT_TRUE(cache.access({.key = 1, .time = 110}));   // the last second of its life
    EXPECT_FALSE(cache.access({.key = 1, .time = 111}));  // a hit does not prolong it
    EXPECT_TRUE(cache.access({.key = 1, .time = 121}));
    EXPECT_EQ(cache.objects(), 1U);
    Cache<Lru> late({.capacity = 5, .time_to_live = UINT32_MAX});
    EXPECT_FALSE(late.access({.key = 1, .time = UINT32_MAX - 1}));
    EXPECT_TRUE(late.access({.key = 1, .time = UINT32_MAX}));
}

template <class Policy>
Cache<Policy, Admission> with_rule(std::uint64_t capacity, AdmissionRule rule,
                                   std::uint64_t limit = 0) {
    return {{.capacity = capacity}, Policy(capacity), Admission(rule, capacity, limit)};
}

TEST(Policies, AdmissionRules) {
    auto by_size = with_rule<Lru>(100, AdmissionRule::size, 8);
    EXPECT_FALSE(by_size.access({.key = 1, .bytes = 9}));
    EXPECT_FALSE(by_size.access({.key = 1, .bytes = 9}));
    EXPECT_FALSE(by_size.access({.key = 2, .bytes = 8}));
    EXPECT_TRUE(by_size.access({.key = 2, .bytes = 8}));

    auto second = with_rule<Fifo>(100, AdmissionRule::second_hit);
    EXPECT_FALSE(second.access({.key = 1}));
    EXPECT_FALSE(second.access({.key = 1}));
    EXPECT_TRUE(second.access({.key = 1}));

    auto frequent = with_rule<Lru>(2, AdmissionRule::frequency);
    for (int i = 0; i < 3; ++i) frequent.access({.key = 1});
    for (int i = 0; i < 3; ++i) frequent.access({.key = 2});
    EXPECT_FALSE(frequent.access({.key = 3}));  // once against three times: refused
    EXPECT_TRUE(frequent.access({.key = 1}));
    EXPECT_TRUE(frequent.access({.key = 2}));
    for (int i = 0; i < 5; ++i) frequent.access({.key = 3});
    EXPECT_TRUE(frequent.access({.key = 3}));
}

TEST(Policies, AnExpiredEntryThatIsNotAdmittedAgainIsForgotten) {
    Cache<Lru, Admission> cache({.capacity = 10, .time_to_live = 1}, Lru(10),
                                Admission(AdmissionRule::size, 10, 4));
    cache.access({.key = 1, .bytes = 4, .time = 0});
    EXPECT_FALSE(cache.access({.key = 1, .bytes = 5, .time = 9}));
    EXPECT_EQ(cache.used(), 0U);
    EXPECT_FALSE(cache.access({.key = 1, .bytes = 4, .time = 9}));
    EXPECT_TRUE(cache.access({.key = 1, .bytes = 4, .time = 9}));
}

/// A caller with arrays of its own, as a fleet engine has.
struct OwnArrays {
    std::vector<Links> link = std::vector<Links>(64);
    std::vector<std::uint64_t> size = std::vector<std::uint64_t>(64);
    Links& links(Slot slot) { return link[slot]; }
    [[nodiscard]] std::uint64_t bytes(Slot slot) const { return size[slot]; }
    [[nodiscard]] std::uint64_t key(Slot slot) const { return slot; }
    void set_bytes(Slot slot, std::uint64_t bytes) { size[slot] = bytes; }
};
struct Evicted {
    std::vector<Slot> slots;
    void evict(Slot slot) { slots.push_back(slot); }
    void release(Slot /*slot*/) {}
};

TEST(Policies, TwoTiersShareOneArrayOfLinks) {
    OwnArrays arrays;
    Lru hbm(2);
    Fifo dram(2);
    struct Demote {
        OwnArrays& arrays;
        Lru& hbm;
        Fifo& dram;
        Evicted dropped;
        void evict(Slot slot) { dram.insert(arrays, slot, 1, dropped); }
        void release(Slot /*slot*/) {}
    } demote{arrays, hbm, dram, {}};
    for (Slot slot = 0; slot < 5; ++slot) hbm.insert(arrays, slot, 1, demote);
    EXPECT_EQ(demote.dropped.slots, (std::vector<Slot>{0}));
    EXPECT_EQ(hbm.count(), 2U);
    EXPECT_EQ(dram.count(), 2U);
    dram.erase(arrays, 1);  // promotion
    hbm.insert(arrays, 1, 1, demote);
    EXPECT_EQ(dram.count(), 2U);
    EXPECT_EQ(hbm.victim(arrays), 4U);
}

template <class Policy>
class Erasable : public testing::Test {};
using ErasablePolicies = testing::Types<Lru, Fifo, Clock, Sieve, S3Fifo, WTinyLfu>;
TYPED_TEST_SUITE(Erasable, ErasablePolicies);

TYPED_TEST(Erasable, EraseAndResizeKeepTheBooks) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        CounterRng rng(seed, Purpose::test, 3);
        OwnArrays arrays;
        Evicted evicted;
        TypeParam policy(100);
        for (int step = 0; step < 300; ++step) {
            Slot const slot = rng.below(64);
            std::uint64_t const bytes = 1 + rng.below(20);
            bool const resident = TypeParam::resident(arrays.links(slot));
            std::uint32_t const action = rng.below(4);
            if (!resident) {
                policy.insert(arrays, slot, bytes, evicted);
            } else if (action == 0) {
                policy.erase(arrays, slot);
                ASSERT_FALSE(TypeParam::resident(arrays.links(slot)));
            } else if (action == 1) {
                policy.resize(arrays, slot, bytes, evicted);
            } else {
                policy.hit(arrays, slot);
            }
            std::uint64_t used = 0;
            std::uint64_t count = 0;
            for (Slot s = 0; s < 64; ++s) {
                if (!TypeParam::resident(arrays.links(s))) continue;
                used += arrays.bytes(s);
                ++count;
            }
            ASSERT_EQ(policy.used(), used) << "seed " << seed << " step " << step;
            ASSERT_EQ(policy.count(), count);
            ASSERT_LE(used, policy.capacity());
        }
    }
}

TEST(Policies, MemoryPerObjectIsWhatTheDocumentationSays) {
    std::uint64_t const objects = 1U << 16;
    Cache<Lru> cache({.capacity = objects, .expected_objects = objects});
    std::uint64_t const before = cache.memory_bytes();
    for (std::uint64_t key = 0; key < 2 * objects; ++key) cache.access({.key = key});
    EXPECT_LE(cache.memory_bytes(),
              2 * before);  // one doubling: a slot is taken before the evictee's
    EXPECT_EQ(before, objects * (16 + 4 + 16));
    DenseCache<Lru> dense(Lru(10), objects, true);
    EXPECT_EQ(dense.memory_bytes(), objects * 12);
    DenseCache<Lru> unit(Lru(10), objects, false);
    EXPECT_EQ(unit.memory_bytes(), objects * 8);
}

TEST(KeyIndex, AgreesWithAStandardMapThroughGrowthAndDeletion) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        CounterRng rng(seed, Purpose::test, 4);
        KeyIndex index;
        std::vector<std::uint64_t> keys;
        std::unordered_map<std::uint64_t, Slot> expected;
        auto key_of = [&](Slot slot) { return keys[slot]; };
        for (int step = 0; step < 5000; ++step) {
            std::uint64_t const key = rng.below(700);
            std::uint64_t const hash = KeyIndex::hash_of(key);
            auto const at = expected.find(key);
            ASSERT_EQ(index.find(key, hash, key_of), at == expected.end() ? kNone : at->second);
            if (at == expected.end()) {
                keys.push_back(key);
                index.insert(hash, static_cast<Slot>(keys.size() - 1));
                expected[key] = static_cast<Slot>(keys.size() - 1);
            } else if (rng.below(2) == 0) {
                index.erase(hash, at->second);
                expected.erase(at);
            }
            ASSERT_EQ(index.size(), expected.size());
        }
    }
}

TEST(FrequencySketch, NeverCountsLessThanTheTruthUntilItHalves) {
    FrequencySketch sketch(1024);
    std::unordered_map<std::uint64_t, std::uint32_t> truth;
    CounterRng rng(1, Purpose::test, 5);
    for (int i = 0; i < 4000; ++i) {
        std::uint64_t const key = rng.below(1000);
        sketch.increment(mix64(key));
        ++truth[key];
    }
    std::uint32_t over = 0;
    for (auto const& [key, count] : truth) {
        EXPECT_GE(sketch.frequency(mix64(key)), std::min(count, 15U)) << key;
        over += sketch.frequency(mix64(key)) > std::min(count, 15U) ? 1 : 0;
    }
    EXPECT_LT(over, truth.size() / 4) << "the estimates are useless";
    EXPECT_EQ(sketch.frequency(mix64(123456)), 0U);
}

TEST(FrequencySketch, HalvesAfterTenIncrementsPerEntryAndSaturatesAtFifteen) {
    FrequencySketch sketch(16);
    for (int i = 0; i < 40; ++i) sketch.increment(mix64(7));
    EXPECT_EQ(sketch.frequency(mix64(7)), 15U);
    for (std::uint64_t key = 100; key < 100 + 145; ++key) sketch.increment(mix64(key));
    EXPECT_LT(sketch.frequency(mix64(7)), 15U);
    sketch.ensure(17);
    EXPECT_EQ(sketch.frequency(mix64(7)), 0U);
    EXPECT_EQ(sketch.memory_bytes(), 64U * 8);
}

}  // namespace
}  // namespace ckvsim::node::policies
