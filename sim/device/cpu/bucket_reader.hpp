// SDIM's long branch at one request: the rows of sums that candidates belong to, of unit length.
#pragma once

#include <vector>

#include "device/cpu/attention_site.hpp"
#include "device/cpu/bucket_sums.hpp"

namespace ckvsim::device::cpu {

/// Memory of the long branch, reused from request to request.
struct BucketScratch {
    WantedRows wanted;
    AlignedVector<std::byte> candidates;  ///< buckets [C, hashes]
    RowSharing items;                     ///< recompute: tokens of an item are hashed once
    std::vector<ItemId> distinct_items;
    AlignedVector<std::byte> hashed;  ///< recompute: buckets of the distinct items
    AlignedVector<float> rows;        ///< [wanted, d_e]
    std::vector<std::uint32_t> places;
    CellScratch cells;
};

/// Immutable after construction; thread-safe. Keeps references to weights, tables and maker.
class BucketReader {
  public:
    BucketReader(SharedTables const& tables, CellMaker const& maker,
                 kv::StrategyParams const& strategy);

    /// out [count, d_e], row step in floats. Each row that any candidate belongs to is read, or
    /// summed from the ids of the tokens in it, and brought to unit length once.
    void read(EntryView const& view, ItemId const* candidates, std::size_t count, float* out,
              std::size_t step, BucketScratch& scratch) const;

  private:
    void sum_tokens(EntryView const& view, BucketScratch& scratch) const;

    AlignedVector<std::byte> const& table_;
    CellMaker const& maker_;
    BucketShape shape_;
    kv::ValueType type_;
    bool stored_;  ///< entries hold the sums
};

}  // namespace ckvsim::device::cpu
