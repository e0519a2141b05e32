// Open-addressing hash from user to a dense slot number: linear probing, backward-shift deletion,
// 8 bytes a bucket. Grows by doubling; no allocation per look-up, insertion or removal otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "core/rng.hpp"

namespace ckvsim::node {

inline constexpr std::uint32_t kNoSlot = 0xFFFFFFFFU;

/// The keys themselves live with the caller: `user_of(slot)` returns the user of a stored slot.
/// Not thread-safe.
class UserIndex {
  public:
    UserIndex() : buckets_(kSmallest) {}

    /// Slot of a user, or kNoSlot.
    template <class UserOf>
    [[nodiscard]] std::uint32_t find(UserId user, UserOf&& user_of) const {
        std::uint64_t const hash = mix64(user);
        std::uint32_t const tag = tag_of(hash);
        for (std::size_t at = home_of(hash);; at = next(at)) {
            Bucket const& bucket = buckets_[at];
            if (bucket.slot == kNoSlot) return kNoSlot;
            if (bucket.tag == tag && user_of(bucket.slot) == user) return bucket.slot;
        }
    }

    /// Adds a user that is not there yet.
    template <class UserOf>
    void insert(UserId user, std::uint32_t slot, UserOf&& user_of) {
        if (2 * (size_ + 1) > buckets_.size()) grow(user_of);
        place(mix64(user), slot);
        ++size_;
    }

    /// Removes a user that is there.
    template <class UserOf>
    void erase(UserId user, UserOf&& user_of) {
        std::uint64_t const hash = mix64(user);
        std::size_t hole = home_of(hash);
        while (buckets_[hole].tag != tag_of(hash) || user_of(buckets_[hole].slot) != user)
            hole = next(hole);
        // Later members of the probe run move up when the hole lies between their home and them.
        for (std::size_t at = next(hole); buckets_[at].slot != kNoSlot; at = next(at)) {
            std::size_t const home = home_of(mix64(user_of(buckets_[at].slot)));
            std::size_t const mask = buckets_.size() - 1;
            if (((at - home) & mask) < ((at - hole) & mask)) continue;
            buckets_[hole] = buckets_[at];
            hole = at;
        }
        buckets_[hole] = Bucket{};
        --size_;
    }

    /// Asks the processor to load a user's bucket.
    void prefetch(UserId user) const { __builtin_prefetch(&buckets_[home_of(mix64(user))]); }
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    struct Bucket {
        std::uint32_t slot = kNoSlot;
        std::uint32_t tag = 0;  ///< upper half of the hash: most mismatches end here
    };
    static constexpr std::size_t kSmallest = 64;
    static std::uint32_t tag_of(std::uint64_t hash) {
        return static_cast<std::uint32_t>(hash >> 32);
    }
    [[nodiscard]] std::size_t home_of(std::uint64_t hash) const {
        return static_cast<std::size_t>(hash) & (buckets_.size() - 1);
    }
    [[nodiscard]] std::size_t next(std::size_t at) const {
        return (at + 1) & (buckets_.size() - 1);
    }

    void place(std::uint64_t hash, std::uint32_t slot) {
        std::size_t at = home_of(hash);
        while (buckets_[at].slot != kNoSlot) at = next(at);
        buckets_[at] = {slot, tag_of(hash)};
    }
    template <class UserOf>
    void grow(UserOf&& user_of) {
        std::vector<Bucket> old(buckets_.size() * 2);
        old.swap(buckets_);
        for (Bucket const& bucket : old) {
            if (bucket.slot != kNoSlot) place(mix64(user_of(bucket.slot)), bucket.slot);
        }
    }

    std::vector<Bucket> buckets_;
    std::size_t size_ = 0;
};

}  // namespace ckvsim::node
