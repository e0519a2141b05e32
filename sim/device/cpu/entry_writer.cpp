#include "device/cpu/entry_writer.hpp"

#include <algorithm>
#include <cstring>

#include "core/error.hpp"

namespace ckvsim::device::cpu {
namespace {

using kv::Section;

template <std::size_t kBytes>
void gather_fixed(std::byte const* table, std::span<ItemId const> items, std::byte* out) {
    for (std::size_t i = 0; i < items.size(); ++i)
        std::memcpy(out + i * kBytes, table + items[i] * kBytes, kBytes);
}

/// Cells of the items, copied from a table. Narrow cells (codes) get loops without a call per cell.
void gather(std::byte const* table, std::size_t bytes, std::span<ItemId const> items,
            std::byte* out) {
    switch (bytes) {
        case 1:
            return gather_fixed<1>(table, items, out);
        case 2:
            return gather_fixed<2>(table, items, out);
        case 4:
            return gather_fixed<4>(table, items, out);
        case 8:
            return gather_fixed<8>(table, items, out);
        default:
            for (std::size_t i = 0; i < items.size(); ++i)
                std::memcpy(out + i * bytes, table + items[i] * bytes, bytes);
    }
}

}  // namespace

EntryWriter::EntryWriter(kv::EntryLayout const& layout, CellMaker const& maker, kv::ValueType type,
                         bool memo_tables)
    : layout_(layout), maker_(maker), items_(maker.weights().items), memo_(memo_tables) {
    if (layout_.has(Section::long_sums)) sums_.emplace(maker_, type, memo_);
    if (!memo_) return;
    for (std::size_t s = 0; s < kv::kSections; ++s) {
        auto const section = static_cast<Section>(s);
        if (section != Section::ids && layout_.bytes_per_token(section) > 0)
            tables_[s] = make_item_table(maker_, section, items_);
    }
}

void EntryWriter::check(std::span<ItemId const> items, decode::EncodeMode mode) const {
    validate(mode == decode::EncodeMode::compute || memo_,
             "device/cpu: EncodeMode::memo needs BackendOptions::memo_tables");
    ItemId highest = 0;
    for (ItemId const item : items) highest = std::max(highest, item);
    validate(highest <= items_, "device/cpu: a history holds an item beyond the catalogue");
}

void EntryWriter::write_cells(Section section, std::span<ItemId const> items,
                              decode::EncodeMode mode, std::byte* out, CellScratch& scratch) const {
    if (items.empty()) return;
    if (section == Section::ids) {
        std::memcpy(out, items.data(), items.size_bytes());
    } else if (mode == decode::EncodeMode::memo) {
        gather(tables_[static_cast<std::size_t>(section)].data(), layout_.bytes_per_token(section),
               items, out);
    } else {
        maker_.make(section, items.data(), items.size(), out, scratch);
    }
}

std::uint32_t EntryWriter::encode(std::span<ItemId const> tokens, std::uint32_t capacity,
                                  decode::EncodeMode mode, std::byte* entry,
                                  EntryScratch& scratch) const {
    return append(entry, 0, capacity, tokens, mode, scratch);
}

/// `start`: where the section begins; its oldest cells fall out as far as the new ones need.
void EntryWriter::append_cells(Section section, std::byte* start, std::uint32_t tokens,
                               std::uint32_t capacity, std::span<ItemId const> added,
                               decode::EncodeMode mode, CellScratch& scratch) const {
    std::uint32_t const room = layout_.tokens_in(section, capacity);
    std::size_t const cell = layout_.bytes_per_token(section);
    auto const fresh = added.last(std::min<std::size_t>(added.size(), room));
    std::size_t const held = std::min(tokens, room);
    std::size_t const kept = std::min<std::size_t>(held, room - fresh.size());
    if (kept < held && kept > 0) std::memmove(start, start + (held - kept) * cell, kept * cell);
    write_cells(section, fresh, mode, start + kept * cell, scratch);
}

std::uint32_t EntryWriter::append(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                                  std::span<ItemId const> added, decode::EncodeMode mode,
                                  EntryScratch& scratch) const {
    validate(tokens <= capacity, "device/cpu: an entry holds more tokens than its capacity");
    if (added.size() > capacity) added = added.last(capacity);
    check(added, mode);
    auto const offsets = layout_.offsets(capacity);
    auto const at = [&](Section section) {
        return entry + offsets[static_cast<std::size_t>(section)];
    };
    std::size_t const all = tokens + added.size();
    auto const stored = static_cast<std::uint32_t>(std::min<std::size_t>(all, capacity));
    auto const* ids = reinterpret_cast<ItemId const*>(at(Section::ids));
    if (sums_) scratch.sums.left.assign(ids, ids + (all - stored));
    for (std::size_t s = 0; s < kv::kSections; ++s) {
        auto const section = static_cast<Section>(s);
        if (layout_.bytes_per_token(section) == 0) continue;
        append_cells(section, at(section), tokens, capacity, added, mode, scratch.cells);
    }
    if (sums_) {
        sums_->update({ids, stored}, added.size(), mode, at(Section::long_sums), scratch.sums,
                      scratch.cells);
    }
    return stored;
}

}  // namespace ckvsim::device::cpu
