#include "node/tiered_cache.hpp"

#include <gtest/gtest.h>

#include <list>
#include <map>

#include "core/rng.hpp"

namespace ckvsim::node {
namespace {

/// Follows the movements and checks that each is possible.
class Bookkeeper {
  public:
    void promote(std::uint32_t slot, CacheEntry const&) {
        EXPECT_EQ(where_.at(slot), Tier::dram);
        where_[slot] = Tier::hbm;
    }
    void stream(std::uint32_t slot, CacheEntry const&) { EXPECT_EQ(where_.at(slot), Tier::dram); }
    void demote(std::uint32_t slot, CacheEntry const&) {
        EXPECT_EQ(where_.at(slot), Tier::hbm);
        where_[slot] = Tier::dram;
    }
    void drop(std::uint32_t slot, CacheEntry const&, Tier tier) {
        EXPECT_EQ(where_.at(slot), tier);
        where_.erase(slot);
    }
    void place(std::uint32_t slot, CacheEntry const&, Tier tier) {
        EXPECT_TRUE(where_.emplace(slot, tier).second) << "the slot is in use";
    }
    [[nodiscard]] std::size_t size() const { return where_.size(); }

  private:
    std::map<std::uint32_t, Tier> where_;
};

/// Two exclusive LRU lists, written as plainly as possible; one request a batch.
class Oracle {
  public:
    Oracle(std::uint64_t hbm, std::uint64_t dram) : hbm_{{}, hbm}, dram_{{}, dram} {}

    std::pair<Outcome, Tier> access(UserId user, std::uint64_t bytes) {
        if (take(hbm_, user)) {
            hbm_.entries.push_front({user, bytes});
            return {Outcome::hbm_hit, Tier::hbm};
        }
        bool const in_dram = take(dram_, user);
        Outcome const outcome = in_dram ? Outcome::dram_hit : Outcome::miss;
        if (bytes <= hbm_.capacity) {
            while (used(hbm_) + bytes > hbm_.capacity) {
                auto const victim = hbm_.entries.back();
                hbm_.entries.pop_back();
                if (victim.second > dram_.capacity) continue;
                make_room(dram_, victim.second);
                dram_.entries.push_front(victim);
            }
            hbm_.entries.push_front({user, bytes});
            return {outcome, Tier::hbm};
        }
        if (bytes > dram_.capacity) return {outcome, Tier::none};
        make_room(dram_, bytes);
        dram_.entries.push_front({user, bytes});
        return {outcome, Tier::dram};
    }
    [[nodiscard]] std::uint64_t used(Tier tier) const {
        return used(tier == Tier::hbm ? hbm_ : dram_);
    }

  private:
    struct List {
        std::list<std::pair<UserId, std::uint64_t>> entries;
        std::uint64_t capacity;
    };
    static std::uint64_t used(List const& list) {
        std::uint64_t sum = 0;
        for (auto const& entry : list.entries) sum += entry.second;
        return sum;
    }
    static bool take(List& list, UserId user) {
        return list.entries.remove_if([&](auto const& e) { return e.first == user; }) > 0;
    }
    static void make_room(List& list, std::uint64_t bytes) {
        while (used(list) + bytes > list.capacity) list.entries.pop_back();
    }
    List hbm_;
    List dram_;
};

struct Capacities {
    std::uint64_t hbm, dram;
};

class TieredCacheOracle : public testing::TestWithParam<Capacities> {};

TEST_P(TieredCacheOracle, EveryDecisionEqualsTwoPlainLists) {
    auto const [hbm, dram] = GetParam();
    TieredCache cache(hbm, dram);
    Oracle oracle(hbm, dram);
    Bookkeeper mover;
    CounterRng rng(7, Purpose::test, hbm * 31 + dram);
    std::uint64_t found[3] = {};
    constexpr std::uint64_t kRequests = 6000;
    for (std::uint64_t i = 0; i < kRequests; ++i) {
        // Skewed: the smaller of two draws; sizes from 64 to 1,280 bytes, fixed per user.
        UserId const user = std::min(rng.below(60), rng.below(60));
        auto const tokens = static_cast<std::uint32_t>(1 + mix64(user) % 20);
        std::uint64_t const bytes = 64ULL * tokens;
        cache.begin_batch();
        Placement const placement = cache.admit(user, tokens, bytes, mover);
        auto const [outcome, tier] = oracle.access(user, bytes);
        ASSERT_EQ(placement.outcome, outcome) << "request " << i;
        ASSERT_EQ(placement.tier, tier) << "request " << i;
        ASSERT_EQ(placement.workspace, tier != Tier::hbm);
        for (Tier const t : {Tier::hbm, Tier::dram}) {
            ASSERT_EQ(cache.used_bytes(t), oracle.used(t)) << "request " << i;
            ASSERT_LE(cache.used_bytes(t), cache.capacity_bytes(t));
        }
        ++found[static_cast<std::size_t>(outcome)];
    }
    EXPECT_EQ(found[0] + found[1] + found[2], kRequests);
    EXPECT_EQ(mover.size(), cache.entries(Tier::hbm) + cache.entries(Tier::dram));
}

INSTANTIATE_TEST_SUITE_P(Capacities, TieredCacheOracle,
                         testing::Values(Capacities{0, 0}, Capacities{0, 4096}, Capacities{4096, 0},
                                         Capacities{640, 640}, Capacities{4096, 8192},
                                         Capacities{700, 20000}, Capacities{1 << 20, 1 << 20}));

std::uint64_t hits_with(std::uint64_t hbm_entries, std::uint64_t dram_entries) {
    TieredCache cache(hbm_entries * 64, dram_entries * 64);
    Bookkeeper mover;
    CounterRng rng(3, Purpose::test, 1);
    std::uint64_t hits = 0;
    for (int i = 0; i < 4000; ++i) {
        UserId const user = std::min(rng.below(100), rng.below(100));
        cache.begin_batch();
        hits += cache.admit(user, 1, 64, mover).outcome == Outcome::miss ? 0 : 1;
    }
    return hits;
}

TEST(TieredCache, MoreCapacityNeverHitsLessAndTheTiersActAsOneStack) {
    std::uint64_t before = 0;
    for (std::uint64_t entries = 1; entries <= 100; entries += 3) {
        std::uint64_t const hits = hits_with(entries, 0);
        EXPECT_GE(hits, before) << entries;
        before = hits;
    }
    EXPECT_EQ(hits_with(10, 30), hits_with(40, 0));
}

TEST(TieredCache, WhatTheBatchReadsStays) {
    TieredCache cache(2 * 64, 64);
    Bookkeeper mover;
    cache.begin_batch();
    EXPECT_EQ(cache.admit(1, 1, 64, mover).tier, Tier::hbm);
    EXPECT_EQ(cache.admit(2, 1, 64, mover).tier, Tier::hbm);
    Placement const third = cache.admit(3, 1, 64, mover);
    EXPECT_EQ(third.tier, Tier::dram);
    EXPECT_TRUE(third.workspace);
    Placement const fourth = cache.admit(4, 1, 64, mover);
    EXPECT_EQ(fourth.tier, Tier::none);
    EXPECT_EQ(fourth.slot, kNoSlot);
    // Twice in one batch: HBM again, and from the workspace of the first.
    EXPECT_EQ(cache.admit(1, 1, 64, mover).outcome, Outcome::hbm_hit);
    Placement const again = cache.admit(3, 1, 64, mover);
    EXPECT_EQ(again.outcome, Outcome::hbm_hit);
    EXPECT_EQ(again.slot, third.slot);
    EXPECT_TRUE(again.workspace);
    EXPECT_EQ(cache.evictions(), 0U);
    cache.begin_batch();
    EXPECT_EQ(cache.admit(3, 1, 64, mover).outcome, Outcome::dram_hit);
    // Promotion of 3 pushed out 2, the least recent of HBM, into the place that 3 left.
    EXPECT_EQ(cache.admit(2, 1, 64, mover).outcome, Outcome::dram_hit);
    EXPECT_EQ(cache.evictions(), 2U);
}

TEST(TieredCache, AWindowOfTwoBatchesKeepsTheBatchBefore) {
    Bookkeeper mover;
    for (std::uint32_t const window : {1U, 2U}) {
        TieredCache cache(64, 0, window);
        cache.begin_batch();
        cache.admit(1, 1, 64, mover);
        cache.begin_batch();
        EXPECT_EQ(cache.admit(2, 1, 64, mover).tier, window == 1 ? Tier::hbm : Tier::none);
        cache.begin_batch();
        EXPECT_EQ(cache.admit(3, 1, 64, mover).tier, Tier::hbm);
        mover = Bookkeeper();
    }
}

TEST(TieredCache, PinnedBytesAreExactOverManyBatches) {
    // With a window of 2 every sequence must leave room for entries that nobody reads any more.
    TieredCache cache(20 * 64, 10 * 64, 2);
    Bookkeeper mover;
    CounterRng rng(5, Purpose::test, 2);
    for (int batch = 0; batch < 3000; ++batch) {
        cache.begin_batch();
        for (std::uint32_t i = 0; i < 1 + rng.below(5); ++i)
            cache.admit(rng.below(40), 1, 64, mover);
    }
    // Two batches of one request pin two entries at most: a full HBM has room.
    cache.begin_batch();
    cache.admit(100, 1, 64, mover);
    cache.begin_batch();
    Placement const last = cache.admit(101, 19, 19 * 64, mover);
    EXPECT_EQ(last.tier, Tier::hbm);
    EXPECT_EQ(cache.used_bytes(Tier::hbm), 20U * 64);
}

TEST(TieredCache, AnotherHistoryLengthIsOutOfDate) {
    TieredCache cache(1024, 1024);
    Bookkeeper mover;
    cache.begin_batch();
    cache.admit(1, 2, 128, mover);
    EXPECT_EQ(cache.admit(1, 3, 192, mover).tier, Tier::none)
        << "the batch still reads the old one";
    cache.begin_batch();
    Placement const grown = cache.admit(1, 3, 192, mover);
    EXPECT_EQ(grown.outcome, Outcome::miss);
    EXPECT_EQ(grown.tier, Tier::hbm);
    EXPECT_EQ(cache.used_bytes(Tier::hbm), 192U);
    EXPECT_EQ(cache.entries(Tier::hbm), 1U);
}

}  // namespace
}  // namespace ckvsim::node
