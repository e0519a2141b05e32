#include "device/cpu/attention_site.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace ckvsim::device::cpu {
namespace {

constexpr std::uint32_t kNoSlot = std::numeric_limits<std::uint32_t>::max();

/// planes [d_u, step] = cells [., d_u] of the given places, transposed.
template <class Value>
void gather_planes(std::byte const* cells, std::size_t d_u, std::vector<std::size_t> const& places,
                   std::size_t step, Value* planes) {
    for (std::size_t i = 0; i < places.size(); ++i) {
        for (std::size_t u = 0; u < d_u; ++u)
            std::memcpy(planes + u * step + i, cells + (places[i] * d_u + u) * sizeof(Value),
                        sizeof(Value));
    }
}

}  // namespace

EntryView::EntryView(kv::EntryLayout const& layout, decode::EntryRef const& entry)
    : tokens(entry.tokens) {
    auto const offsets = layout.offsets(entry.capacity);
    for (std::size_t s = 0; s < kv::kSections; ++s) sections[s] = entry.data + offsets[s];
    if (layout.has(kv::Section::ids))
        ids = reinterpret_cast<ItemId const*>(section(kv::Section::ids));
}

AttentionSite::AttentionSite(model::SimWeights const& weights, model::SiteWeights const& site,
                             SiteTables const& tables, CellMaker const& maker,
                             kv::StrategyParams const& strategy)
    : tables_(tables),
      maker_(maker),
      value_type_(strategy.value_type),
      index_bytes_(strategy.index_bytes),
      projected_(strategy.kind == kv::StrategyKind::recompute),
      silu_(site.silu),
      heads_(weights.shape.heads),
      d_(weights.shape.attention_dim),
      d_u_(site.collective ? weights.variant.d_u : 0),
      row_bytes_(d_ * kv::value_bytes(strategy.value_type)),
      wq_(site.wq, d_, weights.d_e),
      wo_(site.wo, weights.d_e, d_) {}

void AttentionSite::begin(EntryView const& view, std::uint32_t first, std::uint32_t tokens,
                          std::uint32_t candidates, SiteScratch& scratch) const {
    scratch.view = &view;
    scratch.ids = view.ids == nullptr ? nullptr : view.ids + first;
    // A single candidate reads halves in the kernel; several share one conversion.
    scratch.made = projected_ || (value_type_ == kv::ValueType::fp16 && candidates > 1);
    if (!scratch.made) return;
    scratch.used = {};
    for (std::size_t which = 0; which < 2; ++which) {
        SideTables const& tables = side(which);
        std::size_t const keys =
            tables.codes ? tables.pool.size() / tables.pool_step_bytes : tokens;
        scratch.slots[which].assign(keys, kNoSlot);
    }
}

void AttentionSite::project(float const* embeddings, std::size_t step, std::size_t count,
                            SiteScratch& scratch) const {
    float* q = reserve_elements(scratch.q, count * wq_.stride);
    multiply(embeddings, step, count, wq_, q, wq_.stride);
    if (silu_) silu(q, count * wq_.stride);
}

std::uint32_t AttentionSite::pool_row(SideTables const& side, SiteScratch const& scratch,
                                      std::uint32_t position) const {
    std::byte const* from =
        side.by_item
            ? side.indices.data() + std::size_t{scratch.ids[position]} * index_bytes_
            : scratch.view->section(side.index_section) + std::size_t{position} * index_bytes_;
    // Little-endian machines only (as the tensor file): the low bytes come first.
    switch (index_bytes_) {
        case 1:
            return std::to_integer<std::uint32_t>(*from);
        case 2: {
            std::uint16_t index = 0;
            std::memcpy(&index, from, sizeof index);
            return index;
        }
        default: {
            std::uint32_t index = 0;
            std::memcpy(&index, from, sizeof index);
            return index;
        }
    }
}

std::byte const* AttentionSite::row(SideTables const& side, SiteScratch const& scratch,
                                    std::uint32_t position) const {
    if (side.codes) {
        return side.pool.data() + pool_row(side, scratch, position) * side.pool_step_bytes;
    }
    if (side.by_item) return side.rows.data() + scratch.ids[position] * row_bytes_;
    return scratch.view->section(side.values) + position * row_bytes_;
}

void AttentionSite::make_rows(TokenList const& list, SiteScratch& scratch) const {
    if (!scratch.made) return;
    for (std::size_t which = 0; which < 2; ++which) {
        SideTables const& tables = side(which);
        std::uint32_t const first = scratch.used[which];
        scratch.missing.clear();
        for (std::size_t i = 0; i < list.count; ++i) {
            std::uint32_t& slot = scratch.slots[which][row_key(tables, scratch, list.at(i))];
            if (slot != kNoSlot) continue;
            slot = scratch.used[which]++;
            scratch.missing.push_back(list.at(i));
        }
        float* rows =
            reserve_elements(scratch.made_rows[which], scratch.used[which] * d_) + first * d_;
        if (projected_) {
            scratch.missing_items.clear();
            for (std::uint32_t const position : scratch.missing)
                scratch.missing_items.push_back(scratch.ids[position]);
            maker_.make(tables.values, scratch.missing_items.data(), scratch.missing_items.size(),
                        reinterpret_cast<std::byte*>(rows), scratch.cells);
            continue;
        }
        for (std::size_t i = 0; i < scratch.missing.size(); ++i) {
            std::byte const* from = row(tables, scratch, scratch.missing[i]);
            from_half(reinterpret_cast<std::uint16_t const*>(from), d_, rows + i * d_);
        }
    }
}

void AttentionSite::find_rows(std::size_t which, TokenList const& list,
                              SiteScratch& scratch) const {
    auto& rows = scratch.rows[which];
    std::size_t const slots = row_slots(list.count);
    if (rows.size() < slots) rows.resize(slots);
    SideTables const& tables = side(which);
    if (scratch.made) {
        float const* made = scratch.made_rows[which].data();
        auto const& own_slots = scratch.slots[which];
        for (std::size_t i = 0; i < list.count; ++i)
            rows[i] = made + own_slots[row_key(tables, scratch, list.at(i))] * d_;
    } else {
        for (std::size_t i = 0; i < list.count; ++i) rows[i] = row(tables, scratch, list.at(i));
    }
    for (std::size_t i = list.count; i < slots; ++i) rows[i] = rows[list.count - 1];
}

void AttentionSite::find_users(std::size_t which, TokenList const& list,
                               SiteScratch& scratch) const {
    if (d_u_ == 0) return;
    SideTables const& tables = side(which);
    std::size_t const step = padded(list.count);
    float* planes = reserve_elements(scratch.users[which], d_u_ * step);
    std::byte const* cells =
        tables.by_item ? tables.users.data() : scratch.view->section(tables.user_section);
    scratch.places.resize(list.count);
    for (std::size_t i = 0; i < list.count; ++i)
        scratch.places[i] = tables.by_item ? scratch.ids[list.at(i)] : list.at(i);
    if (value_type_ == kv::ValueType::fp32) {
        gather_planes(cells, d_u_, scratch.places, step, planes);
    } else {
        std::uint16_t* halves = reserve_elements(scratch.halves, d_u_ * step);
        gather_planes(cells, d_u_, scratch.places, step, halves);
        from_half(halves, d_u_ * step, planes);
    }
    for (std::size_t u = 0; u < d_u_; ++u)
        std::fill(planes + u * step + list.count, planes + (u + 1) * step, 0.0F);
}

void AttentionSite::attend_to(TokenList const& list, std::size_t first, std::size_t count,
                              SiteScratch& scratch) const {
    AttentionCall call;
    call.q = scratch.q.data() + first * wq_.stride;
    call.q_step = wq_.stride;
    call.count = count;
    call.heads = heads_;
    call.head_dim = d_ / heads_;
    call.row_type = scratch.made ? kv::ValueType::fp32 : value_type_;
    call.tokens = list.count;
    call.user_dims = d_u_;
    call.user_step = padded(list.count);
    for (std::size_t which = 0; which < 2; ++which) {
        find_rows(which, list, scratch);
        find_users(which, list, scratch);
    }
    call.k = {scratch.rows[0].data(), scratch.users[0].data()};
    call.v = {scratch.rows[1].data(), scratch.users[1].data()};
    call.out = reserve_elements(scratch.out, (first + count) * wq_.stride) + first * wq_.stride;
    call.out_step = wq_.stride;
    attend(call, reserve_elements(scratch.scores, attention_scratch(call)));
}

void AttentionSite::write(std::size_t count, float* features, std::size_t step,
                          SiteScratch& scratch) const {
    float* rows = reserve_elements(scratch.output, count * wo_.stride);
    multiply(scratch.out.data(), wq_.stride, count, wo_, rows, wo_.stride);
    for (std::size_t c = 0; c < count; ++c)
        std::copy_n(rows + c * wo_.stride, wo_.out, features + c * step);
}

}  // namespace ckvsim::device::cpu
