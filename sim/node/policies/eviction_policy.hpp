// What an eviction policy needs and offers. Policies decide over dense slots and own nothing per
// entry: the caller's store does. That is why one policy serves a hashed cache
// (policies/cache.hpp), arrays indexed by user, and tiers that share one array of links.
#pragma once

#include <concepts>
#include <cstdint>

#include "node/policies/slot_links.hpp"

namespace ckvsim::node::policies {

/// Where entries keep their state. `bytes` returns what `set_bytes` was last told (or always 1 in a
/// cache of objects); policies ask for it when an entry enters or leaves a list, never on an LRU
/// hit. `key` feeds frequency sketches only.
template <class T>
concept SlotStore = requires(T& store, Slot slot, std::uint64_t bytes) {
    { store.links(slot) } -> std::same_as<Links&>;
    { store.bytes(slot) } -> std::convertible_to<std::uint64_t>;
    { store.key(slot) } -> std::convertible_to<std::uint64_t>;
    store.set_bytes(slot, bytes);
};

/// Told of every eviction, at once, in order. `evict`: the slot is no longer resident (demote or
/// drop its bytes here; its Links must not be reused yet). `release`: the policy has also forgotten
/// it, its Links are all-zero but for the neighbours, and the slot may be given to another key.
template <class T>
concept EvictionSink = requires(T& sink, Slot slot) {
    sink.evict(slot);
    sink.release(slot);
};

/// Sink of callers that keep a place for every key.
struct NoSink {
    void evict(Slot /*slot*/) const {}
    void release(Slot /*slot*/) const {}
};

/// What a store offers a policy.
struct ExampleStore {
    Links& links(Slot slot);
    [[nodiscard]] std::uint64_t bytes(Slot slot) const;
    [[nodiscard]] std::uint64_t key(Slot slot) const;
    void set_bytes(Slot slot, std::uint64_t bytes);
};

/// A policy over `capacity()` units (bytes or objects).
///   resident(links)             whether these Links belong to a resident entry
///   hit(store, slot)            a resident entry was requested
///   insert(store, slot, bytes, sink)
///                               a non-resident one was requested and shall be kept; evicts until
///                               it fits. False: it was not kept (larger than the cache, or the
///                               policy's own admission refused it). The new slot is resident or
///                               released on return.
///   used(), count()             units and entries resident; used() <= capacity() after each call
///   likely_victim()             hint for caches: a slot that the next eviction may take
///   kHitMovesNeighbours         hint: hit() writes the Links of the slot's neighbours
template <class P>
concept EvictionPolicy = requires(P policy, P const& constant, ExampleStore& store, NoSink& sink,
                                  Links links, Slot slot, std::uint64_t bytes) {
    { P::kName } -> std::convertible_to<char const*>;
    { P::kNeedsFuture } -> std::convertible_to<bool>;
    { P::kHitMovesNeighbours } -> std::convertible_to<bool>;
    { P::resident(links) } -> std::same_as<bool>;
    policy.hit(store, slot);
    { policy.insert(store, slot, bytes, sink) } -> std::same_as<bool>;
    { constant.likely_victim() } -> std::same_as<Slot>;
    { constant.capacity() } -> std::same_as<std::uint64_t>;
    { constant.used() } -> std::same_as<std::uint64_t>;
    { constant.count() } -> std::same_as<std::uint64_t>;
};

/// Also lets the caller remove an entry (expired, invalidated) and change its size in place (a
/// history that grew; others are evicted, possibly the entry itself: ask resident() afterwards).
template <class P>
concept ErasablePolicy = EvictionPolicy<P> &&
    requires(P policy, ExampleStore& store, NoSink& sink, Slot slot, std::uint64_t bytes) {
    policy.erase(store, slot);
    policy.resize(store, slot, bytes, sink);
};

/// Also serves as one of several tiers.
///   kKeepsGhosts      whether Links of entries that are not resident matter: tiers cannot share
///                     their Links then. resize() also takes a ghost, which may be forgotten
///   push_oldest(store, slot, bytes)
///                     start state: puts an unknown entry at the old end; call from the newest to
///                     the oldest. False, with nothing changed, where that end is full
///   set_capacity(store, capacity, sink)
///                     from now on; a smaller one evicts until the rest fits
template <class P>
concept TierPolicy = ErasablePolicy<P> &&
    requires(P policy, ExampleStore& store, NoSink& sink, Slot slot, std::uint64_t bytes) {
    { P::kKeepsGhosts } -> std::convertible_to<bool>;
    { policy.push_oldest(store, slot, bytes) } -> std::same_as<bool>;
    policy.set_capacity(store, bytes, sink);
    { policy.likely_victim() } -> std::same_as<Slot>;
    { policy.memory_bytes() } -> std::same_as<std::uint64_t>;
};

/// Also names the entry that the next eviction would take (moving a hand there, if it has one).
template <class P>
concept PredictablePolicy = EvictionPolicy<P> && requires(P policy, ExampleStore& store) {
    { policy.victim(store) } -> std::same_as<Slot>;
};

}  // namespace ckvsim::node::policies
