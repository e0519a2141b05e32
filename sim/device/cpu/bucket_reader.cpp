#include "device/cpu/bucket_reader.hpp"

#include <algorithm>

#include "device/cpu/quantised_rows.hpp"

namespace ckvsim::device::cpu {

using kv::Section;

BucketReader::BucketReader(SharedTables const& tables, CellMaker const& maker,
                           kv::StrategyParams const& strategy)
    : table_(tables.search),
      maker_(maker),
      shape_(maker.weights()),
      type_(strategy.value_type),
      stored_(kv::keeps_sums(maker.weights().shape, strategy)) {}

void BucketReader::sum_tokens(EntryView const& view, BucketScratch& scratch) const {
    std::span<ItemId const> const tokens(view.ids, view.tokens);
    TokenBuckets buckets{table_.data(), view.ids};
    if (table_.empty()) {
        std::size_t const items = std::size_t{maker_.weights().items} + 1;
        scratch.items.number(view.ids, view.tokens, items);
        scratch.distinct_items.clear();
        for (std::size_t i = 0; i < scratch.items.distinct(); ++i)
            scratch.distinct_items.push_back(view.ids[scratch.items.firsts()[i]]);
        std::size_t const distinct = scratch.distinct_items.size();
        std::byte* hashed = reserve_elements(scratch.hashed, distinct * shape_.hashes);
        maker_.make(Section::search, scratch.distinct_items.data(), distinct, hashed,
                    scratch.cells);
        buckets = {hashed, scratch.items.places()};
    }
    sum_wanted(shape_, scratch.wanted, tokens, buckets, maker_.weights().item_embeddings.data(),
               scratch.places, scratch.rows.data());
}

void BucketReader::read(EntryView const& view, ItemId const* candidates, std::size_t count,
                        float* out, std::size_t step, BucketScratch& scratch) const {
    if (view.tokens == 0) {
        for (std::size_t c = 0; c < count; ++c) std::fill_n(out + c * step, shape_.width, 0.0F);
        return;
    }
    std::byte* own = reserve_elements(scratch.candidates, count * shape_.hashes);
    maker_.make(Section::search, candidates, count, own, scratch.cells);
    scratch.wanted.clear(shape_);
    for (std::size_t c = 0; c < count; ++c) scratch.wanted.add(shape_, own + c * shape_.hashes);
    auto const wanted = scratch.wanted.rows();
    float* rows = reserve_elements(scratch.rows, wanted.size() * shape_.width);
    if (stored_) {
        std::byte const* sums = view.section(Section::long_sums);
        std::size_t const bytes = kv::row_bytes(type_, static_cast<std::uint32_t>(shape_.width));
        for (std::size_t i = 0; i < wanted.size(); ++i)
            load_row(type_, sums + wanted[i] * bytes, shape_.width, rows + i * shape_.width);
    } else {
        sum_tokens(view, scratch);
    }
    for (std::size_t i = 0; i < wanted.size(); ++i)
        to_unit_length(rows + i * shape_.width, shape_.width);
    scratch.places.resize(shape_.hashes);
    for (std::size_t c = 0; c < count; ++c) {
        scratch.wanted.find(shape_, own + c * shape_.hashes, scratch.places.data());
        mean_of_rows(rows, shape_.width, scratch.places.data(), shape_.hashes, out + c * step);
    }
}

}  // namespace ckvsim::device::cpu
