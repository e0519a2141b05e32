// LRU stack distances (Mattson et al., IBM Systems Journal 1970) in one pass: how large an LRU
// cache must be for each request to hit. Positions of last requests carry marks; the distance is
// the weight of the marks behind a position, counted from blocks of 64 positions and a Fenwick tree
// over the blocks.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/cache_request.hpp"
#include "core/error.hpp"
#include "core/large_array.hpp"
#include "node/policies/key_index.hpp"

namespace ckvsim::engine {

/// Prefix sums over blocks of positions.
class FenwickTree {
  public:
    void reset(std::size_t size) { sums_.assign(size + 1, 0); }
    void add(std::size_t at, std::uint64_t value) {
        for (++at; at < sums_.size(); at += at & (~at + 1)) sums_[at] += value;
    }
    /// Sum of elements 0 .. at-1.
    [[nodiscard]] std::uint64_t before(std::size_t at) const {
        std::uint64_t sum = 0;
        for (; at > 0; at &= at - 1) sum += sums_[at];
        return sum;
    }

  private:
    std::vector<std::uint64_t> sums_;
};

/// Every mark weighs 1: one bit a position.
class CountMarks {
  public:
    void reset(std::size_t positions) {
        words_.assign(positions / 64 + 1, 0);
        tree_.reset(words_.size() / kWords + 1);
        total_ = 0;
    }
    void set(std::size_t at, std::uint32_t /*weight*/) { change(at, 1); }
    void clear(std::size_t at) { change(at, ~std::uint64_t{0}); }
    /// Weight of the marks behind `at`.
    [[nodiscard]] std::uint64_t behind(std::size_t at) const {
        std::size_t const word = at / 64;
        std::size_t const block = word / kWords;
        std::uint64_t upto = tree_.before(block);
        for (std::size_t w = block * kWords; w < word; ++w) upto += popcount(words_[w]);
        upto += popcount(words_[word] << (63 - at % 64));
        return total_ - upto;
    }
    void prefetch(std::size_t at) const { __builtin_prefetch(&words_[at / 64]); }
    static std::uint32_t weight(CacheRequest const& /*request*/) { return 1; }

  private:
    static constexpr std::size_t kWords = 8;  ///< a cache line
    static std::uint64_t popcount(std::uint64_t word) {
        return static_cast<std::uint64_t>(std::popcount(word));
    }
    void change(std::size_t at, std::uint64_t by) {
        words_[at / 64] ^= std::uint64_t{1} << at % 64;
        tree_.add(at / 64 / kWords, by);
        total_ += by;
    }
    std::vector<std::uint64_t> words_;
    FenwickTree tree_;
    std::uint64_t total_ = 0;
};

/// Marks weigh their bytes: 4 bytes a position.
class ByteMarks {
  public:
    void reset(std::size_t positions) {
        weights_.assign(positions + kBlock, 0);
        tree_.reset(positions / kBlock + 1);
        total_ = 0;
    }
    void set(std::size_t at, std::uint32_t weight) {
        weights_[at] = weight;
        tree_.add(at / kBlock, weight);
        total_ += weight;
    }
    void clear(std::size_t at) {
        tree_.add(at / kBlock, ~std::uint64_t{weights_[at]} + 1);
        total_ -= weights_[at];
        weights_[at] = 0;
    }
    [[nodiscard]] std::uint64_t behind(std::size_t at) const {
        std::uint64_t upto = tree_.before(at / kBlock);
        for (std::size_t p = at / kBlock * kBlock; p <= at; ++p) upto += weights_[p];
        return total_ - upto;
    }
    void prefetch(std::size_t at) const { __builtin_prefetch(&weights_[at]); }
    static std::uint32_t weight(CacheRequest const& request) { return request.bytes; }

  private:
    static constexpr std::size_t kBlock = 64;
    std::vector<std::uint32_t> weights_;
    FenwickTree tree_;
    std::uint64_t total_ = 0;
};

/// The stack of all keys seen. Memory per key: 16 bytes, 16 to 32 of the hash index, and 4 bytes
/// plus a mark for each of 1 to 2 positions. O(log keys) per request.
template <class Marks>
class LruStack {
  public:
    static constexpr std::uint64_t kFirst = std::numeric_limits<std::uint64_t>::max();

    LruStack() { renumber(); }

    /// Smallest LRU capacity (in objects, or bytes) that hits this request; kFirst for a key that
    /// was not seen before.
    std::uint64_t access(CacheRequest const& request) {
        return access_hashed(request, node::policies::KeyIndex::hash_of(request.key));
    }
    /// Calls on_distance(position, distance) for each, in order, with memory fetched ahead.
    template <class OnDistance>
    void access_all(std::span<CacheRequest const> requests, OnDistance&& on_distance) {
        std::array<std::uint64_t, 32> hashes;
        std::array<node::policies::Slot, 32> slots;
        std::size_t const count = requests.size();
        for (std::size_t at = 0; at < count + 24; ++at) {
            if (at < count) {
                hashes[at % 32] = node::policies::KeyIndex::hash_of(requests[at].key);
                index_.prefetch(hashes[at % 32]);
            }
            if (at >= 8 && at - 8 < count) {
                auto const slot = index_.candidate(hashes[(at - 8) % 32]);
                slots[(at - 8) % 32] = slot;
                if (slot != node::policies::kNone) __builtin_prefetch(&entries_[slot]);
            }
            if (at >= 16 && at - 16 < count) {
                auto const slot = slots[(at - 16) % 32];
                if (slot != node::policies::kNone) marks_.prefetch(entries_[slot].last);
            }
            if (at < 24) continue;
            on_distance(at - 24, access_hashed(requests[at - 24], hashes[(at - 24) % 32]));
        }
    }
    [[nodiscard]] std::uint64_t keys() const { return used_; }
    /// Requests whose weight differed from their key's previous one.
    [[nodiscard]] std::uint64_t changed_weights() const { return changed_; }

  private:
    struct Entry {
        std::uint64_t key;
        std::uint32_t last;  ///< position
        std::uint32_t weight;
    };
    static constexpr std::uint32_t kNobody = 0xFFFFFFFFU;

    std::uint64_t access_hashed(CacheRequest const& request, std::uint64_t hash) {
        if (position_ == owner_.size()) renumber();
        std::uint32_t const weight = Marks::weight(request);
        auto slot = index_.find(request.key, hash, [this](auto s) { return entries_[s].key; });
        std::uint64_t distance = kFirst;
        if (slot == node::policies::kNone) {
            slot = add(request.key, hash);
        } else {
            Entry const& entry = entries_[slot];
            distance = marks_.behind(entry.last) + weight;
            changed_ += entry.weight == weight ? 0 : 1;
            marks_.clear(entry.last);
            owner_[entry.last] = kNobody;
        }
        marks_.set(position_, weight);
        owner_[position_] = slot;
        entries_[slot].last = static_cast<std::uint32_t>(position_++);
        entries_[slot].weight = weight;
        return distance;
    }
    node::policies::Slot add(std::uint64_t key, std::uint64_t hash) {
        validate(used_ < node::policies::kNone, "engine::LruStack: more than 2^30 - 1 keys");
        if (used_ == entries_.size()) entries_.grow(used_ == 0 ? 1024 : 2 * used_);
        auto const slot = static_cast<node::policies::Slot>(used_++);
        entries_[slot].key = key;
        index_.insert(hash, slot);
        return slot;
    }
    /// Closes the gaps that moved marks have left; at least half of the positions are free then.
    void renumber() {
        std::size_t const positions = std::max<std::size_t>(4096, 2 * used_);
        std::size_t kept = 0;
        for (std::uint32_t const owner : owner_)
            if (owner != kNobody) owner_[kept++] = owner;
        owner_.resize(kept);
        owner_.resize(positions, kNobody);
        marks_.reset(positions);
        for (std::size_t at = 0; at < kept; ++at) {
            Entry& entry = entries_[owner_[at]];
            entry.last = static_cast<std::uint32_t>(at);
            marks_.set(at, entry.weight);
        }
        position_ = kept;
    }

    node::policies::KeyIndex index_;
    LargeArray<Entry> entries_;
    std::size_t used_ = 0;
    std::vector<std::uint32_t> owner_;  ///< slot whose last request a position is, or kNobody
    Marks marks_;
    std::size_t position_ = 0;
    std::uint64_t changed_ = 0;
};

}  // namespace ckvsim::engine
