// Writes and extends users' entries.
#pragma once

#include <span>

#include "device/cpu/cells.hpp"

namespace ckvsim::device::cpu {

/// Immutable after construction; thread-safe.
class EntryWriter {
  public:
    /// With `memo_tables`, the cells of every item are made once (OpenMP-parallel) for
    /// EncodeMode::memo. The maker must outlive the writer.
    EntryWriter(kv::EntryLayout const& layout, CellMaker const& maker, std::uint32_t items,
                bool memo_tables);

    /// Contracts: decode::Backend::encode and append.
    std::uint32_t encode(std::span<ItemId const> tokens, std::uint32_t capacity,
                         decode::EncodeMode mode, std::byte* entry, CellScratch& scratch) const;
    std::uint32_t append(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                         std::span<ItemId const> added, decode::EncodeMode mode,
                         CellScratch& scratch) const;

  private:
    void check(std::span<ItemId const> items, decode::EncodeMode mode) const;
    void write_cells(kv::Section section, std::span<ItemId const> items, decode::EncodeMode mode,
                     std::byte* out, CellScratch& scratch) const;

    kv::EntryLayout layout_;
    CellMaker const& maker_;
    std::uint32_t items_;
    bool memo_;
    std::array<AlignedVector<std::byte>, kv::kSections> tables_;  ///< [V+1, cell], memo only
};

}  // namespace ckvsim::device::cpu
