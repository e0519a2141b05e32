// A cache of keyed entries under one eviction policy, chosen at compile time:
//
//   Cache<Lru> cache({.capacity = 64 << 20});
//   bool const hit = cache.access({.key = 17, .bytes = 4096});
//   cache.access({.key = 18, .bytes = 512}, [](std::uint64_t key, std::uint64_t bytes) { ... });
//
// Cache finds entries by any 64-bit key (hash index); DenseCache takes keys 0 .. N-1 and indexes
// arrays by them. Neither allocates per request. Callers with arrays of their own use the policies
// directly over a SlotStore.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "core/cache_request.hpp"
#include "core/error.hpp"
#include "core/large_array.hpp"
#include "node/policies/admission.hpp"
#include "node/policies/eviction_policy.hpp"
#include "node/policies/key_index.hpp"

namespace ckvsim::node::policies {

struct CacheOptions {
    std::uint64_t capacity = 0;          ///< bytes, or objects when every request has bytes = 1
    std::uint64_t expected_objects = 0;  ///< room for so many entries from the start
    /// Entries older than this at a request are gone (counted from their admission, found when
    /// requested, holding their bytes until then); 0 = they live forever.
    std::uint32_t time_to_live = 0;
};

/// Callback that ignores evictions.
struct IgnoreEvictions {
    void operator()(std::uint64_t /*key*/, std::uint64_t /*bytes*/) const {}
};

/// An entry's key and list state: 16 bytes, one load.
struct CacheRecord {
    std::uint64_t key;
    Links links;
};
static_assert(sizeof(CacheRecord) == 16);

/// Arrays by slot, grown by doubling.
class RecordStore {
  public:
    [[nodiscard]] Links& links(Slot slot) { return records_[slot].links; }
    [[nodiscard]] std::uint64_t key(Slot slot) const { return records_[slot].key; }
    [[nodiscard]] std::uint64_t bytes(Slot slot) const { return bytes_[slot]; }
    void set_bytes(Slot slot, std::uint64_t bytes) {
        bytes_[slot] = static_cast<std::uint32_t>(bytes);
    }
    void set_key(Slot slot, std::uint64_t key) { records_[slot].key = key; }
    void prefetch(Slot slot) const { __builtin_prefetch(&records_[slot]); }
    [[nodiscard]] std::size_t size() const { return records_.size(); }
    void grow(std::size_t size) {
        records_.grow(size);
        bytes_.grow(size);
    }
    [[nodiscard]] std::uint64_t memory_bytes() const { return records_.bytes() + bytes_.bytes(); }

  private:
    LargeArray<CacheRecord> records_;
    LargeArray<std::uint32_t> bytes_;
};

/// Slots without an entry: a stack through the records' neighbours, or fresh ones from the end.
template <class Store>
class SlotPool {
  public:
    Slot take(Store& store) {
        if (free_ != kNone) {
            Slot const slot = free_;
            free_ = store.links(slot).older;
            return slot;
        }
        if (next_ == store.size()) {
            validate(next_ < kNone, "node::Cache: more than 2^30 - 1 entries in one cache");
            store.grow(std::min<std::size_t>(std::max<std::size_t>(64, 2 * store.size()), kNone));
        }
        return next_++;
    }
    void give(Store& store, Slot slot) {
        store.links(slot) = Links{};
        store.links(slot).older = free_;
        free_ = slot;
    }

  private:
    Slot free_ = kNone;
    Slot next_ = 0;
};

/// 20 bytes an entry (ghosts included; 4 more with a time to live) and 16 to 32 of the hash index.
/// An entry keeps the size it was admitted with; hits do not look at theirs. Not thread-safe.
template <EvictionPolicy Policy, class AdmissionPolicy = AdmitAll>
class Cache {
  public:
    explicit Cache(CacheOptions const& options)
        : Cache(options, Policy(options.capacity), AdmissionPolicy()) {}
    Cache(CacheOptions const& options, Policy policy, AdmissionPolicy admission)
        : policy_(std::move(policy)),
          admission_(std::move(admission)),
          index_(options.expected_objects),
          time_to_live_(options.time_to_live) {
        store_.grow(options.expected_objects);
        if (time_to_live_ > 0) expiry_.grow(store_.size());
    }

    /// True: a hit. A miss is admitted when admission and policy agree; `on_evict(key, bytes)` is
    /// told of everyone who leaves for it.
    template <class OnEvict = IgnoreEvictions>
    bool access(CacheRequest const& request, OnEvict&& on_evict = {}) {
        return access_hashed(request, KeyIndex::hash_of(request.key), on_evict);
    }

    /// The same for many, with the memory of later ones fetched ahead; calls `on_result(position,
    /// hit)` in order. `before(position)` runs right before each request (to tell a policy its
    /// future).
    template <class Before, class OnResult>
    void access_all(std::span<CacheRequest const> requests, Before&& before, OnResult&& on_result) {
        std::array<std::uint64_t, kRing> hashes;
        std::array<Slot, kRing> slots;
        std::size_t const count = requests.size();
        IgnoreEvictions ignore;
        for (std::size_t at = 0; at < count + kFar; ++at) {
            if (at < count) {
                std::uint64_t const hash = KeyIndex::hash_of(requests[at].key);
                hashes[at % kRing] = hash;
                index_.prefetch(hash);
                if constexpr (requires { policy_.prefetch(hash); }) policy_.prefetch(hash);
                if constexpr (AdmissionPolicy::kAsks) admission_.prefetch(hash);
            }
            if (at >= kMiddle && at - kMiddle < count) {
                Slot const slot = index_.candidate(hashes[(at - kMiddle) % kRing]);
                slots[(at - kMiddle) % kRing] = slot;
                if (slot != kNone) store_.prefetch(slot);
            }
            if constexpr (Policy::kHitMovesNeighbours) {
                if (at >= kNear && at - kNear < count)
                    prefetch_neighbours(slots[(at - kNear) % kRing]);
            }
            if (at < kFar) continue;
            std::size_t const now = at - kFar;
            before(now);
            on_result(now, access_hashed(requests[now], hashes[now % kRing], ignore));
        }
    }

    [[nodiscard]] Policy& policy() { return policy_; }
    [[nodiscard]] Policy const& policy() const { return policy_; }
    [[nodiscard]] std::uint64_t used() const { return policy_.used(); }
    [[nodiscard]] std::uint64_t objects() const { return policy_.count(); }
    [[nodiscard]] std::uint64_t evictions() const { return evictions_; }
    /// Bytes of all arrays, without the policy's sketch or heaps.
    [[nodiscard]] std::uint64_t memory_bytes() const {
        return store_.memory_bytes() + index_.memory_bytes() + expiry_.bytes();
    }

  private:
    // Requests between the steps of the pipeline: bucket fetched, record fetched, neighbours
    // fetched, served. A memory access takes about as long as eight requests.
    static constexpr std::size_t kRing = 64;
    static constexpr std::size_t kFar = 24;
    static constexpr std::size_t kMiddle = 8;
    static constexpr std::size_t kNear = 16;

    template <class OnEvict>
    struct Sink {
        Cache& cache;
        OnEvict& on_evict;
        Slot fresh;  ///< the newcomer's slot, not yet in the index; kNone when it is there
        void evict(Slot slot) {
            ++cache.evictions_;
            on_evict(cache.store_.key(slot), cache.store_.bytes(slot));
        }
        void release(Slot slot) {
            if (slot != fresh) cache.index_.erase(KeyIndex::hash_of(cache.store_.key(slot)), slot);
            cache.pool_.give(cache.store_, slot);
        }
    };

    template <class OnEvict>
    bool access_hashed(CacheRequest const& request, std::uint64_t hash, OnEvict& on_evict) {
        if constexpr (AdmissionPolicy::kAsks) admission_.record(hash);
        Slot slot = index_.find(request.key, hash, [this](Slot s) { return store_.key(s); });
        if (slot != kNone && Policy::resident(store_.links(slot))) {
            if (!expired(slot, request.time)) {
                policy_.hit(store_, slot);
                return true;
            }
            if constexpr (ErasablePolicy<Policy>) policy_.erase(store_, slot);
        }
        if (!admitted(hash, request.bytes)) {
            // An expired entry that is not admitted again is forgotten; a ghost stays one.
            if (slot != kNone && store_.links(slot).region == 0) {
                index_.erase(hash, slot);
                pool_.give(store_, slot);
            }
            return false;
        }
        bool const known = slot != kNone;
        if (!known) slot = new_slot(request.key);
        Sink<OnEvict> sink{*this, on_evict, known ? kNone : slot};
        if (!policy_.insert(store_, slot, request.bytes, sink)) return false;
        if (!known) index_.insert(hash, slot);
        if (time_to_live_ > 0) expiry_[slot] = saturated_sum(request.time, time_to_live_);
        prefetch_victim();
        return false;
    }
    [[nodiscard]] bool expired(Slot slot, std::uint32_t now) const {
        return time_to_live_ > 0 && now > expiry_[slot];
    }
    static std::uint32_t saturated_sum(std::uint32_t a, std::uint32_t b) {
        return a + b < a ? UINT32_MAX : a + b;
    }
    bool admitted(std::uint64_t hash, std::uint64_t bytes) {
        if constexpr (AdmissionPolicy::kAsks) {
            bool const has_room = policy_.used() + bytes <= policy_.capacity();
            return admission_.admit(hash, bytes, has_room || policy_.count() == 0, [this] {
                if constexpr (PredictablePolicy<Policy>)
                    return KeyIndex::hash_of(store_.key(policy_.victim(store_)));
                return std::uint64_t{0};
            });
        }
        return true;
    }
    Slot new_slot(std::uint64_t key) {
        Slot const slot = pool_.take(store_);
        if (time_to_live_ > 0) expiry_.grow(store_.size());
        store_.links(slot) = Links{};
        store_.set_key(slot, key);
        return slot;
    }
    void prefetch_neighbours(Slot slot) {
        if (slot == kNone) return;
        Links const links = store_.links(slot);
        store_.prefetch(links.newer);
        store_.prefetch(links.older);
    }
    /// The next eviction's bucket, and the record of the one after it.
    void prefetch_victim() {
        Slot const slot = policy_.likely_victim();
        if (slot == kNone) return;
        index_.prefetch(KeyIndex::hash_of(store_.key(slot)));
        store_.prefetch(store_.links(slot).newer);
    }

    Policy policy_;
    AdmissionPolicy admission_;
    RecordStore store_;
    SlotPool<RecordStore> pool_;
    KeyIndex index_;
    LargeArray<std::uint32_t> expiry_;
    std::uint64_t evictions_ = 0;
    std::uint32_t time_to_live_;
};

/// Keys 0 .. N-1 known in advance: 12 bytes a key (8 of links, 4 of size), 8 without sizes, no
/// index.
class DenseStore {
  public:
    DenseStore(std::uint64_t keys, bool sizes) : links_(keys), bytes_(sizes ? keys : 0) {}
    [[nodiscard]] Links& links(Slot slot) { return links_[slot]; }
    [[nodiscard]] std::uint64_t key(Slot slot) const { return slot; }
    [[nodiscard]] std::uint64_t bytes(Slot slot) const {
        return bytes_.size() == 0 ? 1 : bytes_[slot];
    }
    void set_bytes(Slot slot, std::uint64_t bytes) {
        if (bytes_.size() > 0) bytes_[slot] = static_cast<std::uint32_t>(bytes);
    }
    void prefetch(Slot slot) const { __builtin_prefetch(&links_[slot]); }
    [[nodiscard]] std::size_t size() const { return links_.size(); }
    [[nodiscard]] std::uint64_t memory_bytes() const { return links_.bytes() + bytes_.bytes(); }

  private:
    LargeArray<Links> links_;
    LargeArray<std::uint32_t> bytes_;
};

/// The same decisions as Cache on the same requests. Keys must be below `keys` (at most 2^30 - 1).
template <EvictionPolicy Policy>
class DenseCache {
  public:
    /// `sizes` false: every entry counts 1, whatever a request says.
    DenseCache(Policy policy, std::uint64_t keys, bool sizes)
        : policy_(std::move(policy)), store_(keys, sizes), unit_(!sizes) {
        validate(keys <= kNone, "node::DenseCache: more than 2^30 - 1 keys");
    }
    template <class OnEvict = IgnoreEvictions>
    bool access(CacheRequest const& request, OnEvict&& on_evict = {}) {
        auto const slot = static_cast<Slot>(request.key);
        if (Policy::resident(store_.links(slot))) {
            policy_.hit(store_, slot);
            return true;
        }
        struct Sink {
            DenseCache& cache;
            OnEvict& on_evict;
            void evict(Slot out) { on_evict(out, cache.store_.bytes(out)); }
            void release(Slot /*out*/) {}
        } sink{*this, on_evict};
        policy_.insert(store_, slot, unit_ ? 1 : request.bytes, sink);
        return false;
    }
    template <class OnResult>
    void access_all(std::span<CacheRequest const> requests, OnResult&& on_result) {
        std::size_t const count = requests.size();
        for (std::size_t now = 0; now < count; ++now) {
            if (now + kFar < count) store_.prefetch(static_cast<Slot>(requests[now + kFar].key));
            if constexpr (Policy::kHitMovesNeighbours) {
                if (now + kNear < count) {
                    Links const links = store_.links(static_cast<Slot>(requests[now + kNear].key));
                    store_.prefetch(links.newer);
                    store_.prefetch(links.older);
                }
            }
            on_result(now, access(requests[now]));
        }
    }
    [[nodiscard]] Policy& policy() { return policy_; }
    [[nodiscard]] DenseStore& store() { return store_; }
    [[nodiscard]] std::uint64_t memory_bytes() const { return store_.memory_bytes(); }

  private:
    static constexpr std::size_t kFar = 16;
    static constexpr std::size_t kNear = 8;

    Policy policy_;
    DenseStore store_;
    bool unit_;
};

}  // namespace ckvsim::node::policies
