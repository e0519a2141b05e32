// Worked example of sim/docs/howto/add_policy.md: MRU, the best there is on a loop.
#include <gtest/gtest.h>

#include "node/policies/cache.hpp"
#include "node/policies/lru.hpp"

namespace ckvsim::node::policies {
namespace {

//! [policy]
/// The newest entry leaves first. O(1) each call.
class Mru {
  public:
    static constexpr char const* kName = "mru";
    static constexpr bool kNeedsFuture = false;
    static constexpr bool kHitMovesNeighbours = true;  // a hint: their Links are fetched ahead

    explicit Mru(std::uint64_t capacity) : capacity_(capacity) {}

    [[nodiscard]] static bool resident(Links links) { return links.region != 0; }
    template <SlotStore Store>
    void hit(Store& store, Slot slot) {
        list_.make_newest(store, slot);
    }
    template <SlotStore Store, EvictionSink Sink>
    bool insert(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        if (bytes > capacity_) {
            sink.release(slot);  // not kept: the caller may give the slot to another key
            return false;
        }
        while (list_.bytes() + bytes > capacity_) {
            Slot const out = list_.newest();
            list_.remove(store, out);
            sink.evict(out);
            sink.release(out);
        }
        store.set_bytes(slot, bytes);
        list_.push_newest(store, slot, 1);
        return true;
    }
    /// Whom the next eviction may take: a hint to fetch its memory ahead.
    [[nodiscard]] Slot likely_victim() const { return list_.newest(); }
    [[nodiscard]] std::uint64_t capacity() const { return capacity_; }
    [[nodiscard]] std::uint64_t used() const { return list_.bytes(); }
    [[nodiscard]] std::uint64_t count() const { return list_.count(); }

  private:
    SlotList list_;
    std::uint64_t capacity_;
};
static_assert(EvictionPolicy<Mru>);
//! [policy]

//! [test]
template <class Policy>
int hits_on_a_loop(std::uint64_t keys, std::uint64_t capacity, int rounds) {
    Cache<Policy> cache({.capacity = capacity});
    int hits = 0;
    for (int round = 0; round < rounds; ++round)
        for (std::uint64_t key = 0; key < keys; ++key) hits += cache.access({key, 1}) ? 1 : 0;
    EXPECT_LE(cache.used(), capacity);
    return hits;
}

TEST(AddPolicy, MruKeepsWhatALoopComesBackToAndLruNever) {
    // 10 keys in turn, room for 9: LRU evicts each key right before its turn. MRU misses the first
    // round; of the second round's 10 requests it misses one (the newest gave way to key 9).
    EXPECT_EQ(hits_on_a_loop<Lru>(10, 9, 2), 0);
    EXPECT_EQ(hits_on_a_loop<Mru>(10, 9, 2), 9);
}

TEST(AddPolicy, WhatIsLargerThanTheCacheIsNotKept) {
    Cache<Mru> cache({.capacity = 10});
    EXPECT_FALSE(cache.access({1, 11}));
    EXPECT_FALSE(cache.access({1, 11}));
    EXPECT_EQ(cache.used(), 0U);
    EXPECT_FALSE(cache.access({1, 10}));
    EXPECT_TRUE(cache.access({1, 10}));
}
//! [test]

}  // namespace
}  // namespace ckvsim::node::policies
