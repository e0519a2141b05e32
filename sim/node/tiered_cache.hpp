// Two exclusive LRU tiers over entries of different sizes: the decisions that the executed and the
// simulated twin share. An entry is in HBM or in DRAM, never in both: HBM evictions are demoted to
// DRAM, DRAM evictions are dropped, a DRAM hit is promoted. With entries of one size the pair is
// one LRU stack.
//
// Requests are admitted batch by batch. What a batch touches is pinned until its successor (or,
// with a window of 2, the successor's successor) begins, because the server still reads it. A
// request whose entry finds no room in HBM (larger than the tier, or everything else pinned) is
// served from the batch's workspace; its entry may still live in DRAM and is then streamed at every
// request. Integer bytes throughout; O(1) per request, no allocation beyond the growth of flat
// arrays.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "node/user_index.hpp"

namespace ckvsim::node {

enum class Tier : std::uint8_t { hbm, dram, none };

/// Where a request's entry was found.
enum class Outcome : std::uint8_t { hbm_hit, dram_hit, miss };

/// One user's entry in the two tiers.
struct CacheEntry {
    UserId user = 0;
    std::uint64_t bytes : 62 = 0;
    std::uint64_t tier : 2 = static_cast<std::uint64_t>(Tier::none);
    std::uint32_t newer = kNoSlot;  ///< neighbours in the tier's recency list
    std::uint32_t older = kNoSlot;
    std::uint32_t tokens = 0;
    std::uint32_t batch = 0;  ///< last batch that touched it
};

/// What admission decided for one request.
struct Placement {
    Outcome outcome = Outcome::miss;
    Tier tier = Tier::none;        ///< where the entry lives from now on; none = kept nowhere
    std::uint32_t slot = kNoSlot;  ///< of the entry, dense; kNoSlot when kept nowhere
    bool workspace = false;        ///< this batch reads it from its workspace, not from HBM
};

/// The data movement that admission implies, in an order in which it can be carried out when HBM
/// has room for one more entry than its capacity. All calls name the entry's slot.
///   promote   DRAM -> HBM                     stream  DRAM -> the batch's workspace
///   demote    HBM -> DRAM                     drop    forget the bytes (the tier is given)
///   place     a new entry gets memory in its tier; the server fills it before the batch decodes
template <class T>
concept EntryMover = requires(T mover, CacheEntry const& entry, std::uint32_t slot, Tier tier) {
    mover.promote(slot, entry);
    mover.stream(slot, entry);
    mover.demote(slot, entry);
    mover.drop(slot, entry, tier);
    mover.place(slot, entry, tier);
};

class TieredCache {
  public:
    /// `window`: batches in flight whose entries must stay (1, or 2 when the next batch is admitted
    /// while the server works).
    TieredCache(std::uint64_t hbm_bytes, std::uint64_t dram_bytes, std::uint32_t window = 1);

    void begin_batch();

    /// Decides for the next request of the batch. A resident entry with another number of tokens is
    /// out of date: it is dropped and the request is a miss (appending in place would be decided
    /// here).
    template <EntryMover Mover>
    Placement admit(UserId user, std::uint32_t tokens, std::uint64_t bytes, Mover& mover);

    void prefetch(UserId user) const { index_.prefetch(user); }
    [[nodiscard]] CacheEntry const& entry(std::uint32_t slot) const { return entries_[slot]; }
    [[nodiscard]] std::uint64_t capacity_bytes(Tier tier) const { return list(tier).capacity; }
    [[nodiscard]] std::uint64_t used_bytes(Tier tier) const { return list(tier).used; }
    [[nodiscard]] std::uint64_t entries(Tier tier) const { return list(tier).count; }
    /// Entries pushed out of a tier by others, a demotion and a later drop counting one each.
    [[nodiscard]] std::uint64_t evictions() const { return evictions_; }

  private:
    struct List {
        std::uint64_t capacity = 0;
        std::uint64_t used = 0;
        std::uint64_t count = 0;
        std::array<std::uint64_t, 2> pinned{};  ///< bytes by batch parity
        std::uint32_t newest = kNoSlot;
        std::uint32_t oldest = kNoSlot;
    };
    List& list(Tier tier) { return lists_[static_cast<std::size_t>(tier)]; }
    [[nodiscard]] List const& list(Tier tier) const {
        return lists_[static_cast<std::size_t>(tier)];
    }
    [[nodiscard]] bool pinned(CacheEntry const& e) const { return batch_ - e.batch < window_; }
    [[nodiscard]] std::size_t parity(std::uint32_t batch) const { return batch % window_; }
    [[nodiscard]] auto user_of() const {
        return [this](std::uint32_t slot) { return entries_[slot].user; };
    }
    /// Whether evicting everything that is not pinned would make room.
    [[nodiscard]] bool fits(Tier tier, std::uint64_t bytes) const {
        List const& l = list(tier);
        return bytes <= l.capacity - l.pinned[0] - l.pinned[1];
    }
    std::uint32_t new_slot(UserId user, std::uint32_t tokens, std::uint64_t bytes);
    void link_newest(Tier tier, std::uint32_t slot);
    void unlink(std::uint32_t slot);  ///< out of its tier, and no longer pinned
    void forget(std::uint32_t slot);
    void touch(std::uint32_t slot);  ///< newest of its tier and pinned by this batch
    [[nodiscard]] std::uint32_t victim(Tier tier) const;

    template <EntryMover Mover>
    void make_room_in_dram(std::uint64_t bytes, Mover& mover);
    template <EntryMover Mover>
    void make_room_in_hbm(std::uint64_t bytes, Mover& mover);
    template <EntryMover Mover>
    Placement fetch(std::uint32_t slot, Mover& mover);
    template <EntryMover Mover>
    Placement insert(UserId user, std::uint32_t tokens, std::uint64_t bytes, Mover& mover);

    std::array<List, 2> lists_;
    std::vector<CacheEntry> entries_;
    std::vector<std::uint32_t> free_;
    UserIndex index_;
    std::uint32_t window_;
    std::uint32_t batch_ = 2;  ///< new entries carry batch 0: never pinned before they are touched
    std::uint64_t evictions_ = 0;
};

template <EntryMover Mover>
Placement TieredCache::admit(UserId user, std::uint32_t tokens, std::uint64_t bytes, Mover& mover) {
    std::uint32_t const slot = index_.find(user, user_of());
    if (slot == kNoSlot) return insert(user, tokens, bytes, mover);
    CacheEntry const& e = entries_[slot];
    auto const tier = static_cast<Tier>(e.tier);
    if (e.tokens != tokens) {
        // The server still reads the old one: serve this one aside.
        if (pinned(e)) return {Outcome::miss, Tier::none, kNoSlot, true};
        mover.drop(slot, e, tier);
        forget(slot);
        return insert(user, tokens, bytes, mover);
    }
    if (tier == Tier::hbm) {
        touch(slot);
        return {Outcome::hbm_hit, Tier::hbm, slot, false};
    }
    // Twice in one batch: the first one already brought it into the workspace.
    if (e.batch == batch_) return {Outcome::hbm_hit, Tier::dram, slot, true};
    return fetch(slot, mover);
}

template <EntryMover Mover>
Placement TieredCache::fetch(std::uint32_t slot, Mover& mover) {
    std::uint64_t const bytes = entries_[slot].bytes;
    if (!fits(Tier::hbm, bytes)) {
        touch(slot);
        mover.stream(slot, entries_[slot]);
        return {Outcome::dram_hit, Tier::dram, slot, true};
    }
    unlink(slot);
    mover.promote(slot, entries_[slot]);
    make_room_in_hbm(bytes, mover);
    link_newest(Tier::hbm, slot);
    touch(slot);
    return {Outcome::dram_hit, Tier::hbm, slot, false};
}

template <EntryMover Mover>
Placement TieredCache::insert(UserId user, std::uint32_t tokens, std::uint64_t bytes,
                              Mover& mover) {
    Tier tier = Tier::hbm;
    if (fits(Tier::hbm, bytes)) {
        make_room_in_hbm(bytes, mover);
    } else if (fits(Tier::dram, bytes)) {
        make_room_in_dram(bytes, mover);
        tier = Tier::dram;
    } else {
        return {Outcome::miss, Tier::none, kNoSlot, true};
    }
    std::uint32_t const slot = new_slot(user, tokens, bytes);
    link_newest(tier, slot);
    touch(slot);
    mover.place(slot, entries_[slot], tier);
    return {Outcome::miss, tier, slot, tier == Tier::dram};
}

template <EntryMover Mover>
void TieredCache::make_room_in_dram(std::uint64_t bytes, Mover& mover) {
    List const& dram = list(Tier::dram);
    while (dram.used + bytes > dram.capacity) {
        std::uint32_t const slot = victim(Tier::dram);
        mover.drop(slot, entries_[slot], Tier::dram);
        forget(slot);
        ++evictions_;
    }
}

template <EntryMover Mover>
void TieredCache::make_room_in_hbm(std::uint64_t bytes, Mover& mover) {
    List const& hbm = list(Tier::hbm);
    while (hbm.used + bytes > hbm.capacity) {
        std::uint32_t const slot = victim(Tier::hbm);
        ++evictions_;
        if (!fits(Tier::dram, entries_[slot].bytes)) {
            mover.drop(slot, entries_[slot], Tier::hbm);
            forget(slot);
            continue;
        }
        make_room_in_dram(entries_[slot].bytes, mover);
        unlink(slot);
        mover.demote(slot, entries_[slot]);
        link_newest(Tier::dram, slot);
    }
}

}  // namespace ckvsim::node
