// LRU and FIFO: one list; a hit moves the entry to its newest end (LRU) or nothing (FIFO).
#pragma once

#include "node/policies/eviction_policy.hpp"

namespace ckvsim::node::policies {

/// One list, the oldest member leaves first. O(1) each call.
template <bool kMoveOnHit>
class ListPolicy {
  public:
    static constexpr char const* kName = kMoveOnHit ? "lru" : "fifo";
    static constexpr bool kNeedsFuture = false;
    static constexpr bool kHitMovesNeighbours = kMoveOnHit;
    static constexpr bool kKeepsGhosts = false;

    explicit ListPolicy(std::uint64_t capacity) : capacity_(capacity) {}

    [[nodiscard]] static bool resident(Links links) { return links.region != 0; }
    template <SlotStore Store>
    void hit(Store& store, Slot slot) {
        if constexpr (kMoveOnHit) list_.make_newest(store, slot);
    }
    template <SlotStore Store, EvictionSink Sink>
    bool insert(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        if (bytes > capacity_) {
            sink.release(slot);
            return false;
        }
        make_room(store, bytes, sink);
        store.set_bytes(slot, bytes);
        list_.push_newest(store, slot, 1);
        return true;
    }
    template <SlotStore Store>
    void erase(Store& store, Slot slot) {
        list_.remove(store, slot);
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
    template <SlotStore Store>
    [[nodiscard]] Slot victim(Store& /*store*/) const {
        return list_.oldest();
    }
    [[nodiscard]] Slot likely_victim() const { return list_.oldest(); }
    [[nodiscard]] std::uint64_t capacity() const { return capacity_; }
    [[nodiscard]] std::uint64_t used() const { return list_.bytes(); }
    [[nodiscard]] std::uint64_t count() const { return list_.count(); }
    /// Of the policy's own arrays.
    [[nodiscard]] static std::uint64_t memory_bytes() { return 0; }
    /// Whether all slots that the policy names are below `slots`, after loading it.
    [[nodiscard]] bool within(std::uint64_t slots) const { return list_.within(slots); }

  private:
    template <SlotStore Store, EvictionSink Sink>
    void make_room(Store& store, std::uint64_t bytes, Sink& sink) {
        while (list_.bytes() + bytes > capacity_) {
            Slot const out = list_.oldest();
            list_.remove(store, out);
            sink.evict(out);
            sink.release(out);
        }
    }

    SlotList list_;
    std::uint64_t capacity_;
};

using Lru = ListPolicy<true>;
using Fifo = ListPolicy<false>;

}  // namespace ckvsim::node::policies
