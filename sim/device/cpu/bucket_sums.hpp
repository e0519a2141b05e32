// SDIM's buckets of items and the sums of embeddings over them. Sums are plain additions in the
// order of the tokens, the same bits on every instruction set and whichever rows are summed
// together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/ids.hpp"
#include "device/cpu/aligned.hpp"
#include "model/sim.hpp"

namespace ckvsim::device::cpu {

/// Buckets of `count` rows of projections (row step in floats), `hashes` bytes each: bit b of the
/// byte of hash h is 1 where value h * bits + b is above zero.
void pack_buckets(float const* projected, std::size_t step, std::size_t count, std::size_t hashes,
                  std::size_t bits, std::byte* out);

/// Adds `row` [width] to the rows of `sums` [., width] at `count` places.
void add_to_rows(float const* row, std::size_t width, std::uint32_t const* places,
                 std::size_t count, float* sums);

/// row / max(|row|, 1e-12) in place.
void to_unit_length(float* row, std::size_t width);

/// Mean of the rows [., width] at `count` places, count >= 1.
void mean_of_rows(float const* rows, std::size_t width, std::uint32_t const* places,
                  std::size_t count, float* out);

/// Numbers of SDIM's rows of sums: row h * 2^bits + b belongs to bucket b of hash h.
struct BucketShape {
    explicit BucketShape(model::SimWeights const& weights);

    std::size_t hashes = 0;
    std::size_t bits = 0;
    std::size_t width = 0;  ///< d_e
    [[nodiscard]] std::size_t rows() const { return hashes << bits; }
    [[nodiscard]] std::uint32_t row(std::size_t hash, std::byte bucket) const {
        return static_cast<std::uint32_t>((hash << bits) | std::to_integer<std::size_t>(bucket));
    }
};

/// Rows of sums that are asked for, numbered in the order of asking. Reused from request to
/// request.
class WantedRows {
  public:
    /// Starts anew: none of the shape's rows is asked for.
    void clear(BucketShape const& shape);
    void add_all(BucketShape const& shape);
    /// Asks for the rows that an item with these buckets [hashes] belongs to.
    void add(BucketShape const& shape, std::byte const* buckets);

    /// In the order of asking.
    [[nodiscard]] std::span<std::uint32_t const> rows() const { return rows_; }
    /// Places of the item's rows in rows(), to `places` [hashes]; rows nobody asked for are left
    /// out. Returns how many there are.
    std::size_t find(BucketShape const& shape, std::byte const* buckets,
                     std::uint32_t* places) const;

  private:
    void add_row(std::uint32_t row);

    std::vector<std::uint32_t> rows_;
    std::vector<std::uint32_t> places_;  ///< by row; kNowhere = not asked for
};

/// Buckets of tokens: those of token t are row t, or index[t], of `cells` [., hashes].
struct TokenBuckets {
    std::byte const* cells = nullptr;
    std::uint32_t const* index = nullptr;
    [[nodiscard]] std::byte const* of(std::size_t token, BucketShape const& shape) const {
        return cells + (index == nullptr ? token : index[token]) * shape.hashes;
    }
};

/// sums [wanted rows, width] of the embeddings of `tokens`, oldest first; `item_embeddings`
/// [V+1, width]. `places` is scratch.
void sum_wanted(BucketShape const& shape, WantedRows const& wanted, std::span<ItemId const> tokens,
                TokenBuckets const& buckets, float const* item_embeddings,
                std::vector<std::uint32_t>& places, float* sums);

}  // namespace ckvsim::device::cpu
