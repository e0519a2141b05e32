// Writes and extends the sums of SDIM's buckets in users' entries.
#pragma once

#include <span>

#include "device/cpu/bucket_sums.hpp"
#include "device/cpu/cells.hpp"

namespace ckvsim::device::cpu {

/// Memory of the writer, reused from history to history.
struct SumsScratch {
    std::vector<ItemId> left;  ///< tokens that fall out of the entry
    WantedRows touched;
    AlignedVector<std::byte> buckets;
    AlignedVector<std::byte> left_buckets;
    std::vector<std::uint32_t> places;
    AlignedVector<float> sums;
};

/// Immutable after construction; thread-safe. The maker must outlive it.
class SumsWriter {
  public:
    /// With `memo_tables`, the buckets of every item are made once for EncodeMode::memo.
    SumsWriter(CellMaker const& maker, kv::ValueType type, bool memo_tables);

    /// Brings `rows`, a section long_sums, up to date: `window` are the entry's tokens, its last
    /// `added` are new, and `scratch.left` fell out. Rows that neither touches stay; the others are
    /// summed anew in the order of the window, because a subtraction would leave other bits.
    void update(std::span<ItemId const> window, std::size_t added, decode::EncodeMode mode,
                std::byte* rows, SumsScratch& scratch, CellScratch& cells) const;

  private:
    [[nodiscard]] TokenBuckets buckets_of(std::span<ItemId const> items, decode::EncodeMode mode,
                                          AlignedVector<std::byte>& made, CellScratch& cells) const;
    void grow(std::span<ItemId const> fresh, decode::EncodeMode mode, float* rows,
              SumsScratch& scratch, CellScratch& cells) const;

    CellMaker const& maker_;
    BucketShape shape_;
    kv::ValueType type_;
    AlignedVector<std::byte> table_;  ///< [V+1, hashes], memo only
};

}  // namespace ckvsim::device::cpu
