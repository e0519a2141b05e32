// Tokens that share a row: pool rows of a code, rows of an item that occurs again. Reading each row
// once is exact algebra (score it once and spread the score; add up its tokens' weights before V is
// read) and pays where a list repeats rows often enough.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/cpu/aligned.hpp"

namespace ckvsim::device::cpu {

/// Work per row and per token of one attention head set; what decides whether sharing pays.
struct SharingCost {
    std::size_t dims = 0;  ///< d
    std::size_t heads = 1;
};

/// Reused from list to list; grows, never shrinks.
class RowSharing {
  public:
    RowSharing() = default;
    /// Marks are numbers that grow from list to list and start anew when they run out; they begin
    /// at `first_mark` >= 1.
    explicit RowSharing(std::uint32_t first_mark) : unused_(first_mark) {}
    /// Finds the distinct among `keys` [count], each < bound, and returns true when reading every
    /// distinct row once is cheaper; or all rows, where that costs less than to find the distinct:
    /// see all(). The answer depends on the keys alone, so that a request's bits depend on its own
    /// tokens only. After false, places and firsts are meaningless.
    bool find(std::uint32_t const* keys, std::size_t count, std::size_t bound,
              SharingCost const& cost);

    /// Finds the distinct keys whether or not sharing pays.
    void number(std::uint32_t const* keys, std::size_t count, std::size_t bound);

    /// Every key below the bound is its own place; firsts() is meaningless.
    [[nodiscard]] bool all() const { return all_; }
    /// [padded(count)]: the place of each token's key in firsts(); after number(), zeros from
    /// `count` on.
    [[nodiscard]] std::uint32_t const* places() const { return places_.data(); }
    /// The first token of each distinct key, ascending.
    [[nodiscard]] std::uint32_t const* firsts() const { return firsts_.data(); }
    [[nodiscard]] std::size_t distinct() const { return distinct_; }
    /// The key at a place; `keys` as they were given.
    [[nodiscard]] std::uint32_t key(std::uint32_t const* keys, std::size_t place) const {
        return all_ ? static_cast<std::uint32_t>(place) : keys[firsts_[place]];
    }

  private:
    void prepare(std::size_t count, std::size_t bound);
    void place(std::uint32_t const* keys, std::size_t first, std::size_t end);
    void place_hashed(std::uint32_t const* keys, std::size_t first, std::size_t end);

    AlignedVector<std::uint32_t> places_;
    AlignedVector<std::uint32_t> firsts_;
    std::size_t distinct_ = 0;
    bool all_ = false;
    /// By key, or by hash of the key when there are too many: base_ + place; less = not in use, so
    /// that no list has to clear what the last one left.
    std::vector<std::uint32_t> marks_;
    std::uint32_t base_ = 1;
    std::uint32_t unused_ = 1;  ///< greater than every mark
    bool hashed_ = false;
};

}  // namespace ckvsim::device::cpu
