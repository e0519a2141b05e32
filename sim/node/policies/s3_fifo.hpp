// S3-FIFO (Yang et al., SOSP 2023): newcomers wait in a small queue (10 %); who is requested more
// than once meanwhile moves to the main queue, the others leave and are remembered in a ghost queue
// as large as main. A request for a ghost enters main at once.
#pragma once

#include <algorithm>

#include "node/policies/eviction_policy.hpp"

namespace ckvsim::node::policies {

/// Follows the authors' pseudocode with two points as in their published simulator: main evicts
/// when it is above its share (90 %) or the small queue is empty, and an entry's counter restarts
/// at 0 when it enters main. Ghosts keep slot and bytes (not resident) until released.
class S3Fifo {
  public:
    static constexpr char const* kName = "s3fifo";
    static constexpr bool kNeedsFuture = false;
    static constexpr bool kHitMovesNeighbours = false;
    static constexpr bool kKeepsGhosts = true;

    explicit S3Fifo(std::uint64_t capacity)
        : capacity_(capacity), main_capacity_(share_of_main(capacity)) {}

    [[nodiscard]] static bool resident(Links links) {
        return links.region == kSmall || links.region == kMain;
    }
    template <SlotStore Store>
    void hit(Store& store, Slot slot) {
        Links& links = store.links(slot);
        if (links.mark < 3) links.mark = links.mark + 1;
    }
    template <SlotStore Store, EvictionSink Sink>
    bool insert(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        bool const remembered = store.links(slot).region == kGhost;
        if (remembered) ghost_.remove(store, slot);
        if (bytes > capacity_) {
            sink.release(slot);
            return false;
        }
        make_room(store, bytes, sink);
        store.set_bytes(slot, bytes);
        store.links(slot).mark = 0;
        if (remembered) {
            main_.push_newest(store, slot, kMain);
        } else {
            small_.push_newest(store, slot, kSmall);
        }
        return true;
    }
    template <SlotStore Store>
    void erase(Store& store, Slot slot) {
        queue_of(store.links(slot)).remove(store, slot);
        store.links(slot).mark = 0;
    }
    /// Of a resident entry or a ghost.
    template <SlotStore Store, EvictionSink Sink>
    void resize(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        bool const ghost = store.links(slot).region == kGhost;
        (ghost ? ghost_ : queue_of(store.links(slot))).rebook(store.bytes(slot), bytes);
        store.set_bytes(slot, bytes);
        make_room(store, 0, sink);
        forget(store, sink);
    }
    /// Into main, which may fill the whole capacity until something is evicted.
    template <SlotStore Store>
    bool push_oldest(Store& store, Slot slot, std::uint64_t bytes) {
        if (used() + bytes > capacity_) return false;
        store.set_bytes(slot, bytes);
        main_.push_oldest(store, slot, kMain);
        return true;
    }
    template <SlotStore Store, EvictionSink Sink>
    void set_capacity(Store& store, std::uint64_t capacity, Sink& sink) {
        capacity_ = capacity;
        main_capacity_ = share_of_main(capacity);
        make_room(store, 0, sink);
        forget(store, sink);
    }
    [[nodiscard]] Slot likely_victim() const { return small_.oldest(); }
    [[nodiscard]] std::uint64_t capacity() const { return capacity_; }
    [[nodiscard]] std::uint64_t used() const { return small_.bytes() + main_.bytes(); }
    [[nodiscard]] std::uint64_t count() const { return small_.count() + main_.count(); }
    [[nodiscard]] std::uint64_t ghosts() const { return ghost_.count(); }
    /// Of the policy's own arrays.
    [[nodiscard]] static std::uint64_t memory_bytes() { return 0; }
    /// Whether all slots that the policy names are below `slots`, after loading it.
    [[nodiscard]] bool within(std::uint64_t slots) const {
        return small_.within(slots) && main_.within(slots) && ghost_.within(slots);
    }

  private:
    static constexpr std::uint32_t kSmall = 1;
    static constexpr std::uint32_t kMain = 2;
    static constexpr std::uint32_t kGhost = 3;

    static std::uint64_t share_of_main(std::uint64_t capacity) {
        return capacity - std::max<std::uint64_t>(capacity / 10, capacity > 0 ? 1 : 0);
    }
    SlotList& queue_of(Links links) { return links.region == kSmall ? small_ : main_; }

    template <SlotStore Store, EvictionSink Sink>
    void make_room(Store& store, std::uint64_t bytes, Sink& sink) {
        while (used() + bytes > capacity_) {
            if (main_.bytes() > main_capacity_ || small_.empty()) {
                evict_main(store, sink);
            } else {
                evict_small(store, sink);
            }
        }
    }
    /// Stops after one eviction or when the queue is empty: everyone may move to main.
    template <SlotStore Store, EvictionSink Sink>
    void evict_small(Store& store, Sink& sink) {
        while (!small_.empty()) {
            Slot const slot = small_.oldest();
            bool const keep = store.links(slot).mark > 1;
            small_.remove(store, slot);
            store.links(slot).mark = 0;
            if (keep) {
                main_.push_newest(store, slot, kMain);
                continue;
            }
            sink.evict(slot);
            remember(store, slot, sink);
            return;
        }
    }
    template <SlotStore Store, EvictionSink Sink>
    void evict_main(Store& store, Sink& sink) {
        for (;;) {
            Slot const slot = main_.oldest();
            Links& links = store.links(slot);
            if (links.mark == 0) {
                main_.remove(store, slot);
                sink.evict(slot);
                sink.release(slot);
                return;
            }
            links.mark = links.mark - 1;
            main_.make_newest(store, slot);
        }
    }
    template <SlotStore Store, EvictionSink Sink>
    void remember(Store& store, Slot slot, Sink& sink) {
        ghost_.push_newest(store, slot, kGhost);
        forget(store, sink);
    }
    template <SlotStore Store, EvictionSink Sink>
    void forget(Store& store, Sink& sink) {
        while (ghost_.bytes() > main_capacity_) {
            Slot const out = ghost_.oldest();
            ghost_.remove(store, out);
            sink.release(out);
        }
    }

    SlotList small_, main_, ghost_;
    std::uint64_t capacity_;
    std::uint64_t main_capacity_;
};

}  // namespace ckvsim::node::policies
