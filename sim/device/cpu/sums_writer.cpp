#include "device/cpu/sums_writer.hpp"

#include "device/cpu/quantised_rows.hpp"

namespace ckvsim::device::cpu {

using kv::Section;

SumsWriter::SumsWriter(CellMaker const& maker, kv::ValueType type, bool memo_tables)
    : maker_(maker), shape_(maker.weights()), type_(type) {
    if (memo_tables) table_ = make_item_table(maker, Section::search, maker.weights().items);
}

TokenBuckets SumsWriter::buckets_of(std::span<ItemId const> items, decode::EncodeMode mode,
                                    AlignedVector<std::byte>& made, CellScratch& cells) const {
    if (mode == decode::EncodeMode::memo) return {table_.data(), items.data()};
    std::byte* own = reserve_elements(made, items.size() * shape_.hashes);
    maker_.make(Section::search, items.data(), items.size(), own, cells);
    return {own, nullptr};
}

/// Nothing fell out and fp32 rows are the very sums: the new tokens come after those in them.
void SumsWriter::grow(std::span<ItemId const> fresh, decode::EncodeMode mode, float* rows,
                      SumsScratch& scratch, CellScratch& cells) const {
    auto const buckets = buckets_of(fresh, mode, scratch.buckets, cells);
    scratch.places.resize(shape_.hashes);
    for (std::size_t t = 0; t < fresh.size(); ++t) {
        std::byte const* own = buckets.of(t, shape_);
        for (std::size_t h = 0; h < shape_.hashes; ++h) scratch.places[h] = shape_.row(h, own[h]);
        add_to_rows(maker_.weights().item_embeddings.data() + fresh[t] * shape_.width, shape_.width,
                    scratch.places.data(), shape_.hashes, rows);
    }
}

void SumsWriter::update(std::span<ItemId const> window, std::size_t added, decode::EncodeMode mode,
                        std::byte* rows, SumsScratch& scratch, CellScratch& cells) const {
    if (added == 0) return;
    bool const starts = added == window.size();
    if (!starts && scratch.left.empty() && type_ == kv::ValueType::fp32) {
        grow(window.last(added), mode, reinterpret_cast<float*>(rows), scratch, cells);
        return;
    }
    auto const buckets = buckets_of(window, mode, scratch.buckets, cells);
    scratch.touched.clear(shape_);
    if (starts) {
        scratch.touched.add_all(shape_);
    } else {
        for (std::size_t t = window.size() - added; t < window.size(); ++t)
            scratch.touched.add(shape_, buckets.of(t, shape_));
        auto const left = buckets_of(scratch.left, mode, scratch.left_buckets, cells);
        for (std::size_t t = 0; t < scratch.left.size(); ++t)
            scratch.touched.add(shape_, left.of(t, shape_));
    }
    auto const touched = scratch.touched.rows();
    float* sums = reserve_elements(scratch.sums, touched.size() * shape_.width);
    sum_wanted(shape_, scratch.touched, window, buckets, maker_.weights().item_embeddings.data(),
               scratch.places, sums);
    std::size_t const bytes = kv::row_bytes(type_, static_cast<std::uint32_t>(shape_.width));
    for (std::size_t i = 0; i < touched.size(); ++i)
        store_row(type_, sums + i * shape_.width, shape_.width, rows + touched[i] * bytes);
}

}  // namespace ckvsim::device::cpu
