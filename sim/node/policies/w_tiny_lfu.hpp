// W-TinyLFU (Einziger, Friedman and Manes, ACM Transactions on Storage 2017): newcomers live in an
// LRU window (1 %); who leaves it enters the main cache (segmented LRU, 80 % protected) only when
// the frequency sketch has counted it more often than the main cache's victim.
#pragma once

#include <algorithm>

#include "core/rng.hpp"
#include "node/policies/eviction_policy.hpp"
#include "node/policies/frequency_sketch.hpp"

namespace ckvsim::node::policies {

/// Entries of different sizes: a candidate is compared with one victim after the other until it
/// fits or loses; victims that it beat before losing are gone.
class WTinyLfu {
  public:
    static constexpr char const* kName = "wtinylfu";
    static constexpr bool kNeedsFuture = false;
    static constexpr bool kHitMovesNeighbours = true;
    static constexpr bool kKeepsGhosts = false;

    /// `expected_entries` sizes the sketch; it restarts larger when there are more.
    explicit WTinyLfu(std::uint64_t capacity, std::uint64_t expected_entries = 0)
        : sketch_(expected_entries) {
        share_out(capacity);
    }

    [[nodiscard]] static bool resident(Links links) { return links.region != 0; }
    template <SlotStore Store>
    void hit(Store& store, Slot slot) {
        sketch_.increment(mix64(store.key(slot)));
        switch (store.links(slot).region) {
            case kWindow:
                window_.make_newest(store, slot);
                return;
            case kProtected:
                protected_.make_newest(store, slot);
                return;
            default:
                break;
        }
        probation_.remove(store, slot);
        protected_.push_newest(store, slot, kProtected);
        shrink_protected(store);
    }
    template <SlotStore Store, EvictionSink Sink>
    bool insert(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        sketch_.ensure(count() + 1);
        sketch_.increment(mix64(store.key(slot)));
        if (bytes > capacity_) {
            sink.release(slot);
            return false;
        }
        store.set_bytes(slot, bytes);
        // Not resident yet: losing at once is a refusal, not an eviction.
        Newcomer<Sink> aside{sink, slot};
        window_.push_newest(store, slot, kWindow);
        drain_window(store, aside);
        return !aside.refused;
    }
    template <SlotStore Store>
    void erase(Store& store, Slot slot) {
        list_of(store.links(slot)).remove(store, slot);
    }
    template <SlotStore Store, EvictionSink Sink>
    void resize(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        list_of(store.links(slot)).rebook(store.bytes(slot), bytes);
        store.set_bytes(slot, bytes);
        fit(store, sink);
    }
    /// Into main: the protected segment first, then probation. The window stays empty.
    template <SlotStore Store>
    bool push_oldest(Store& store, Slot slot, std::uint64_t bytes) {
        if (probation_.bytes() + protected_.bytes() + bytes > main_capacity_) return false;
        sketch_.ensure(count() + 1);
        store.set_bytes(slot, bytes);
        if (probation_.empty() && protected_.bytes() + bytes <= protected_capacity_) {
            protected_.push_oldest(store, slot, kProtected);
        } else {
            probation_.push_oldest(store, slot, kProbation);
        }
        return true;
    }
    template <SlotStore Store, EvictionSink Sink>
    void set_capacity(Store& store, std::uint64_t capacity, Sink& sink) {
        share_out(capacity);
        fit(store, sink);
    }
    void prefetch(std::uint64_t hash) const { sketch_.prefetch(hash); }
    [[nodiscard]] Slot likely_victim() const { return window_.oldest(); }
    [[nodiscard]] std::uint64_t capacity() const { return capacity_; }
    [[nodiscard]] std::uint64_t used() const {
        return window_.bytes() + probation_.bytes() + protected_.bytes();
    }
    [[nodiscard]] std::uint64_t count() const {
        return window_.count() + probation_.count() + protected_.count();
    }
    /// Of the sketch: 8 to 32 bytes an entry, at least 128.
    [[nodiscard]] std::uint64_t memory_bytes() const { return sketch_.memory_bytes(); }
    /// Members, see core/archive.hpp.
    template <class Archive>
    void archive(Archive& ar) {
        ar(window_, probation_, protected_, capacity_, window_capacity_, main_capacity_,
           protected_capacity_, sketch_);
    }
    /// Whether all slots that the policy names are below `slots`, after loading it.
    [[nodiscard]] bool within(std::uint64_t slots) const {
        return window_.within(slots) && probation_.within(slots) && protected_.within(slots);
    }

  private:
    static constexpr std::uint32_t kWindow = 1;
    static constexpr std::uint32_t kProbation = 2;
    static constexpr std::uint32_t kProtected = 3;

    template <class Sink>
    struct Newcomer {
        Sink& sink;
        Slot slot;
        bool refused = false;
        void evict(Slot out) {
            if (out == slot) {
                refused = true;
            } else {
                sink.evict(out);
            }
        }
        void release(Slot out) { sink.release(out); }
    };

    void share_out(std::uint64_t capacity) {
        capacity_ = capacity;
        window_capacity_ = std::min(capacity, std::max<std::uint64_t>(capacity / 100, 1));
        main_capacity_ = capacity - window_capacity_;
        protected_capacity_ = main_capacity_ / 5 * 4 + main_capacity_ % 5 * 4 / 5;
    }
    SlotList& list_of(Links links) {
        return links.region == kWindow      ? window_
               : links.region == kProbation ? probation_
                                            : protected_;
    }
    [[nodiscard]] Slot main_victim() const {
        return probation_.empty() ? protected_.oldest() : probation_.oldest();
    }
    /// After a size or the capacity changed.
    template <SlotStore Store, EvictionSink Sink>
    void fit(Store& store, Sink& sink) {
        shrink_protected(store);
        while (probation_.bytes() + protected_.bytes() > main_capacity_)
            evict(store, main_victim(), sink);
        drain_window(store, sink);
    }
    template <SlotStore Store>
    void shrink_protected(Store& store) {
        while (protected_.bytes() > protected_capacity_) {
            Slot const slot = protected_.oldest();
            protected_.remove(store, slot);
            probation_.push_newest(store, slot, kProbation);
        }
    }
    template <SlotStore Store, EvictionSink Sink>
    void evict(Store& store, Slot slot, Sink& sink) {
        list_of(store.links(slot)).remove(store, slot);
        sink.evict(slot);
        sink.release(slot);
    }
    template <SlotStore Store, EvictionSink Sink>
    void drain_window(Store& store, Sink& sink) {
        while (window_.bytes() > window_capacity_) {
            Slot const candidate = window_.oldest();
            if (beats_victims(store, candidate, sink)) {
                window_.remove(store, candidate);
                probation_.push_newest(store, candidate, kProbation);
            } else {
                evict(store, candidate, sink);
            }
        }
    }
    /// Whether the candidate now fits into main.
    template <SlotStore Store, EvictionSink Sink>
    bool beats_victims(Store& store, Slot candidate, Sink& sink) {
        std::uint64_t const bytes = store.bytes(candidate);
        if (bytes > main_capacity_) return false;
        if (probation_.bytes() + protected_.bytes() + bytes <= main_capacity_) return true;
        std::uint32_t const frequency = sketch_.frequency(mix64(store.key(candidate)));
        while (probation_.bytes() + protected_.bytes() + bytes > main_capacity_) {
            Slot const victim = main_victim();
            if (frequency <= sketch_.frequency(mix64(store.key(victim)))) return false;
            evict(store, victim, sink);
        }
        return true;
    }

    SlotList window_, probation_, protected_;
    std::uint64_t capacity_ = 0;
    std::uint64_t window_capacity_ = 0;
    std::uint64_t main_capacity_ = 0;
    std::uint64_t protected_capacity_ = 0;
    FrequencySketch sketch_;
};

}  // namespace ckvsim::node::policies
