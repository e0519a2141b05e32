#include "node/tiered_cache.hpp"

#include "core/error.hpp"

namespace ckvsim::node {

TieredCache::TieredCache(std::uint64_t hbm_bytes, std::uint64_t dram_bytes, std::uint32_t window)
    : window_(window) {
    validate(window == 1 || window == 2, "node::TieredCache: the window is 1 or 2 batches");
    list(Tier::hbm).capacity = hbm_bytes;
    list(Tier::dram).capacity = dram_bytes;
}

void TieredCache::begin_batch() {
    ++batch_;
    for (List& l : lists_) l.pinned[parity(batch_)] = 0;
}

std::uint32_t TieredCache::new_slot(UserId user, std::uint32_t tokens, std::uint64_t bytes) {
    std::uint32_t slot = static_cast<std::uint32_t>(entries_.size());
    if (free_.empty()) {
        validate(slot != kNoSlot, "node::TieredCache: more than 2^32 - 1 entries in one cache");
        entries_.emplace_back();
    } else {
        slot = free_.back();
        free_.pop_back();
    }
    CacheEntry& e = entries_[slot];
    e = CacheEntry{};
    e.user = user;
    e.tokens = tokens;
    e.bytes = bytes;
    e.batch = batch_ - window_;  // not pinned
    index_.insert(user, slot, user_of());
    return slot;
}

void TieredCache::link_newest(Tier tier, std::uint32_t slot) {
    List& l = list(tier);
    CacheEntry& e = entries_[slot];
    e.tier = static_cast<std::uint64_t>(tier);
    e.newer = kNoSlot;
    e.older = l.newest;
    (l.newest == kNoSlot ? l.oldest : entries_[l.newest].newer) = slot;
    l.newest = slot;
    l.used += e.bytes;
    ++l.count;
}

void TieredCache::unlink(std::uint32_t slot) {
    CacheEntry& e = entries_[slot];
    List& l = list(static_cast<Tier>(e.tier));
    (e.newer == kNoSlot ? l.newest : entries_[e.newer].older) = e.older;
    (e.older == kNoSlot ? l.oldest : entries_[e.older].newer) = e.newer;
    l.used -= e.bytes;
    --l.count;
    if (pinned(e)) l.pinned[parity(e.batch)] -= e.bytes;
    e.batch = batch_ - window_;
}

void TieredCache::forget(std::uint32_t slot) {
    unlink(slot);
    index_.erase(entries_[slot].user, user_of());
    free_.push_back(slot);
}

void TieredCache::touch(std::uint32_t slot) {
    CacheEntry& e = entries_[slot];
    auto const tier = static_cast<Tier>(e.tier);
    List& l = list(tier);
    if (pinned(e)) l.pinned[parity(e.batch)] -= e.bytes;
    e.batch = batch_ - window_;
    if (l.newest != slot) {
        unlink(slot);
        link_newest(tier, slot);
    }
    e.batch = batch_;
    l.pinned[parity(batch_)] += e.bytes;
}

std::uint32_t TieredCache::victim(Tier tier) const {
    std::uint32_t slot = list(tier).oldest;
    // DRAM can hold pinned entries behind freshly demoted ones; at most a batch of them.
    while (slot != kNoSlot && pinned(entries_[slot])) slot = entries_[slot].newer;
    validate(slot != kNoSlot, "node::TieredCache: no entry can be evicted");
    return slot;
}

}  // namespace ckvsim::node
