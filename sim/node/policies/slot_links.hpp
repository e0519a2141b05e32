// Per-entry state of every eviction policy: 8 bytes, indexed by a dense slot number, placed by
// whoever owns the entries. All-zero means "the policy knows nothing of this slot".
#pragma once

#include <cstdint>

namespace ckvsim::node::policies {

using Slot = std::uint32_t;  ///< 0 .. kNone - 1
/// No slot; also the number of slots a policy can tell apart (2^30 - 1, above 10^9).
inline constexpr Slot kNone = (1U << 30) - 1;

/// Two 30-bit neighbours and two 2-bit fields whose meaning is the policy's.
struct Links {
    std::uint32_t newer : 30;
    std::uint32_t region : 2;  ///< which of the policy's lists holds the slot; 0 = none
    std::uint32_t older : 30;
    std::uint32_t mark : 2;  ///< visited bit or small counter
};
static_assert(sizeof(Links) == 8);

/// Doubly linked list through the slots' Links, with the bytes of its members. Moving a member to
/// the newest end does not look at its bytes.
class SlotList {
  public:
    [[nodiscard]] Slot newest() const { return newest_; }
    [[nodiscard]] Slot oldest() const { return oldest_; }
    [[nodiscard]] bool empty() const { return oldest_ == kNone; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// Whether the ends are slots below `slots`, for lists that were loaded.
    [[nodiscard]] bool within(std::uint64_t slots) const {
        return (newest_ == kNone || newest_ < slots) && (oldest_ == kNone || oldest_ < slots) &&
               (newest_ == kNone) == (oldest_ == kNone);
    }
    /// A member's bytes change; the caller updates the store.
    void rebook(std::uint64_t before, std::uint64_t after) { bytes_ += after - before; }

    template <class Store>
    void push_newest(Store& store, Slot slot, std::uint32_t region) {
        attach(store, slot);
        store.links(slot).region = region;
        bytes_ += store.bytes(slot);
        ++count_;
    }
    template <class Store>
    void push_oldest(Store& store, Slot slot, std::uint32_t region) {
        Links& links = store.links(slot);
        links.newer = oldest_;
        links.older = kNone;
        if (oldest_ == kNone) {
            newest_ = slot;
        } else {
            store.links(oldest_).older = slot;
        }
        oldest_ = slot;
        links.region = region;
        bytes_ += store.bytes(slot);
        ++count_;
    }
    /// Takes a member out; its region becomes 0, its mark stays.
    template <class Store>
    void remove(Store& store, Slot slot) {
        detach(store, slot);
        store.links(slot).region = 0;
        bytes_ -= store.bytes(slot);
        --count_;
    }
    template <class Store>
    void make_newest(Store& store, Slot slot) {
        if (slot == newest_) return;
        detach(store, slot);
        attach(store, slot);
    }

  private:
    template <class Store>
    void attach(Store& store, Slot slot) {
        Links& links = store.links(slot);
        links.newer = kNone;
        links.older = newest_;
        if (newest_ == kNone) {
            oldest_ = slot;
        } else {
            store.links(newest_).newer = slot;
        }
        newest_ = slot;
    }
    template <class Store>
    void detach(Store& store, Slot slot) {
        Links const links = store.links(slot);
        if (links.newer == kNone) {
            newest_ = links.older;
        } else {
            store.links(links.newer).older = links.older;
        }
        if (links.older == kNone) {
            oldest_ = links.newer;
        } else {
            store.links(links.older).newer = links.newer;
        }
    }

    Slot newest_ = kNone;
    Slot oldest_ = kNone;
    std::uint64_t bytes_ = 0;
    std::uint64_t count_ = 0;
};

}  // namespace ckvsim::node::policies
