// Open-addressing hash from a 64-bit key to a dense slot, made for batches: hash, prefetch and look
// up are separate steps. Linear probing, backward-shift deletion, 8 bytes a bucket, at most half
// full. A bucket holds 32 bits of the hash, and its home position is their upper part: deletion and
// growth never look at the keys.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/large_array.hpp"
#include "core/rng.hpp"
#include "node/policies/slot_links.hpp"

namespace ckvsim::node::policies {

/// The keys themselves live with the caller: `key_of(slot)`. Not thread-safe.
class KeyIndex {
  public:
    /// Room for `expected` keys without growth.
    explicit KeyIndex(std::uint64_t expected = 0) {
        while ((std::uint64_t{1} << bits_) < 2 * expected && bits_ < 31) ++bits_;
        buckets_ = LargeArray<std::uint64_t>(std::size_t{1} << bits_);
    }

    [[nodiscard]] static std::uint64_t hash_of(std::uint64_t key) { return mix64(key); }
    void prefetch(std::uint64_t hash) const { __builtin_prefetch(&buckets_[home(tag(hash))]); }

    /// Slot that a key with this hash probably has, or kNone: for prefetching, keys not compared.
    [[nodiscard]] Slot candidate(std::uint64_t hash) const {
        for (std::size_t at = home(tag(hash));; at = after(at)) {
            std::uint64_t const bucket = buckets_[at];
            if (bucket == 0) return kNone;
            if (bucket >> 32 == tag(hash)) return slot_in(bucket);
        }
    }
    template <class KeyOf>
    [[nodiscard]] Slot find(std::uint64_t key, std::uint64_t hash, KeyOf&& key_of) const {
        for (std::size_t at = home(tag(hash));; at = after(at)) {
            std::uint64_t const bucket = buckets_[at];
            if (bucket == 0) return kNone;
            if (bucket >> 32 == tag(hash) && key_of(slot_in(bucket)) == key) return slot_in(bucket);
        }
    }
    /// Adds a key that is not there yet.
    void insert(std::uint64_t hash, Slot slot) {
        if (2 * (size_ + 1) > buckets_.size() && bits_ < 31) grow();
        place(tag(hash) << 32 | (slot + 1));
        ++size_;
    }
    /// Removes a slot that is there under this hash.
    void erase(std::uint64_t hash, Slot slot) {
        std::uint64_t const wanted = tag(hash) << 32 | (slot + 1);
        std::size_t hole = home(tag(hash));
        while (buckets_[hole] != wanted) hole = after(hole);
        // Later members of the probe run move up when the hole lies between their home and them.
        std::size_t const mask = buckets_.size() - 1;
        for (std::size_t at = after(hole); buckets_[at] != 0; at = after(at)) {
            std::size_t const origin = home(buckets_[at] >> 32);
            if (((at - origin) & mask) < ((at - hole) & mask)) continue;
            buckets_[hole] = buckets_[at];
            hole = at;
        }
        buckets_[hole] = 0;
        --size_;
    }
    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] std::uint64_t memory_bytes() const { return buckets_.bytes(); }

  private:
    // A bucket: 32 bits of hash, then slot + 1 (never 0 in a full bucket).
    static std::uint64_t tag(std::uint64_t hash) { return hash >> 32; }
    static Slot slot_in(std::uint64_t bucket) { return static_cast<Slot>(bucket) - 1; }
    [[nodiscard]] std::size_t home(std::uint64_t tag_bits) const {
        return static_cast<std::size_t>(tag_bits >> (32 - bits_));
    }
    [[nodiscard]] std::size_t after(std::size_t at) const {
        return (at + 1) & (buckets_.size() - 1);
    }
    void place(std::uint64_t bucket) {
        std::size_t at = home(bucket >> 32);
        while (buckets_[at] != 0) at = after(at);
        buckets_[at] = bucket;
    }
    void grow() {
        LargeArray<std::uint64_t> old(buckets_.size() * 2);
        old.swap(buckets_);
        ++bits_;
        for (std::size_t at = 0; at < old.size(); ++at)
            if (old[at] != 0) place(old[at]);
    }

    LargeArray<std::uint64_t> buckets_;
    std::uint64_t size_ = 0;
    std::uint32_t bits_ = 6;
};

}  // namespace ckvsim::node::policies
