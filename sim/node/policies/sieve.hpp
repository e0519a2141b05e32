// CLOCK (second chance; Corbato 1968) and SIEVE (Zhang et al., NSDI 2024): insertion order, one
// visited bit, a hand. CLOCK's hand takes the survivor's place in the queue along (it becomes the
// newest); SIEVE's hand leaves survivors where they are and newcomers join at the head.
#pragma once

#include "node/policies/eviction_policy.hpp"

namespace ckvsim::node::policies {

/// O(1) amortised: every step of the hand clears a bit that a hit has set.
template <bool kKeepPlace>
class HandPolicy {
  public:
    static constexpr char const* kName = kKeepPlace ? "sieve" : "clock";
    static constexpr bool kNeedsFuture = false;
    static constexpr bool kHitMovesNeighbours = false;
    static constexpr bool kKeepsGhosts = false;

    explicit HandPolicy(std::uint64_t capacity) : capacity_(capacity) {}

    [[nodiscard]] static bool resident(Links links) { return links.region != 0; }
    template <SlotStore Store>
    void hit(Store& store, Slot slot) {
        store.links(slot).mark = 1;
    }
    template <SlotStore Store, EvictionSink Sink>
    bool insert(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        if (bytes > capacity_) {
            sink.release(slot);
            return false;
        }
        make_room(store, bytes, sink);
        store.set_bytes(slot, bytes);
        store.links(slot).mark = 0;
        list_.push_newest(store, slot, 1);
        return true;
    }
    template <SlotStore Store>
    void erase(Store& store, Slot slot) {
        take(store, slot);
    }
    template <SlotStore Store, EvictionSink Sink>
    void resize(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        list_.rebook(store.bytes(slot), bytes);
        store.set_bytes(slot, bytes);
        make_room(store, 0, sink);
    }
    template <SlotStore Store>
    bool push_oldest(Store& store, Slot slot, std::uint64_t bytes) {
        if (list_.bytes() + bytes > capacity_) return false;
        store.set_bytes(slot, bytes);
        list_.push_oldest(store, slot, 1);
        return true;
    }
    template <SlotStore Store, EvictionSink Sink>
    void set_capacity(Store& store, std::uint64_t capacity, Sink& sink) {
        capacity_ = capacity;
        make_room(store, 0, sink);
    }
    /// Moves the hand to the next entry without a visited bit; the cache must not be empty.
    template <SlotStore Store>
    [[nodiscard]] Slot victim(Store& store) {
        if constexpr (kKeepPlace) {
            if (hand_ == kNone) hand_ = list_.oldest();
            for (;;) {
                Links& links = store.links(hand_);
                if (links.mark == 0) return hand_;
                links.mark = 0;
                hand_ = links.newer == kNone ? list_.oldest() : links.newer;
            }
        } else {
            for (;;) {
                Slot const slot = list_.oldest();
                Links& links = store.links(slot);
                if (links.mark == 0) return slot;
                links.mark = 0;
                list_.make_newest(store, slot);
            }
        }
    }
    [[nodiscard]] Slot likely_victim() const {
        return kKeepPlace && hand_ != kNone ? hand_ : list_.oldest();
    }
    [[nodiscard]] std::uint64_t capacity() const { return capacity_; }
    [[nodiscard]] std::uint64_t used() const { return list_.bytes(); }
    [[nodiscard]] std::uint64_t count() const { return list_.count(); }
    /// Of the policy's own arrays.
    [[nodiscard]] static std::uint64_t memory_bytes() { return 0; }
    /// Whether all slots that the policy names are below `slots`, after loading it.
    [[nodiscard]] bool within(std::uint64_t slots) const {
        return list_.within(slots) && (hand_ == kNone || hand_ < slots);
    }

  private:
    template <SlotStore Store>
    void take(Store& store, Slot slot) {
        if (kKeepPlace && slot == hand_) hand_ = store.links(slot).newer;
        list_.remove(store, slot);
        store.links(slot).mark = 0;
    }
    template <SlotStore Store, EvictionSink Sink>
    void make_room(Store& store, std::uint64_t bytes, Sink& sink) {
        while (list_.bytes() + bytes > capacity_) {
            Slot const out = victim(store);
            take(store, out);
            sink.evict(out);
            sink.release(out);
        }
    }

    SlotList list_;
    Slot hand_ = kNone;  ///< SIEVE: kNone = start at the oldest
    std::uint64_t capacity_;
};

using Clock = HandPolicy<false>;
using Sieve = HandPolicy<true>;

}  // namespace ckvsim::node::policies
