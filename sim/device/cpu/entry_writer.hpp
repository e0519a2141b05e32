// Writes and extends users' entries.
#pragma once

#include <optional>
#include <span>

#include "device/cpu/sums_writer.hpp"

namespace ckvsim::device::cpu {

/// Memory of the writer, reused from history to history.
struct EntryScratch {
    CellScratch cells;
    SumsScratch sums;
};

/// Immutable after construction; thread-safe.
class EntryWriter {
  public:
    /// With `memo_tables`, the cells of every item are made once (OpenMP-parallel) for
    /// EncodeMode::memo. The maker must outlive the writer. `type`: of stored values.
    EntryWriter(kv::EntryLayout const& layout, CellMaker const& maker, kv::ValueType type,
                bool memo_tables);

    /// Contracts: decode::Backend::encode and append.
    std::uint32_t encode(std::span<ItemId const> tokens, std::uint32_t capacity,
                         decode::EncodeMode mode, std::byte* entry, EntryScratch& scratch) const;
    std::uint32_t append(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                         std::span<ItemId const> added, decode::EncodeMode mode,
                         EntryScratch& scratch) const;

  private:
    void check(std::span<ItemId const> items, decode::EncodeMode mode) const;
    void write_cells(kv::Section section, std::span<ItemId const> items, decode::EncodeMode mode,
                     std::byte* out, CellScratch& scratch) const;
    void append_cells(kv::Section section, std::byte* start, std::uint32_t tokens,
                      std::uint32_t capacity, std::span<ItemId const> added,
                      decode::EncodeMode mode, CellScratch& scratch) const;

    kv::EntryLayout layout_;
    CellMaker const& maker_;
    std::uint32_t items_;
    bool memo_;
    std::array<AlignedVector<std::byte>, kv::kSections> tables_;  ///< [V+1, cell], memo only
    std::optional<SumsWriter> sums_;                              ///< entries that hold sums
};

}  // namespace ckvsim::device::cpu
