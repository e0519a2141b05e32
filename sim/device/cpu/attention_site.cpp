#include "device/cpu/attention_site.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "device/cpu/quantised_rows.hpp"

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

/// Pool rows of the listed tokens, from cells by item or by position. Little-endian machines only
/// (as the tensor file): the low bytes come first.
template <class Index>
void gather_codes(std::byte const* cells, ItemId const* ids, TokenList const& list,
                  std::uint32_t* codes) {
    if (ids == nullptr && list.positions == nullptr) {
        // One after the other, by vectors.
        auto const* from = reinterpret_cast<Index const*>(cells);
        std::copy_n(from, list.count, codes);
        return;
    }
    for (std::size_t i = 0; i < list.count; ++i) {
        std::uint32_t const position = list.at(i);
        std::size_t const cell = ids == nullptr ? position : ids[position];
        Index index = 0;
        std::memcpy(&index, cells + cell * sizeof index, sizeof index);
        codes[i] = index;
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
                             RowCodes const& codes, kv::StrategyParams const& strategy)
    : tables_(tables),
      maker_(maker),
      value_type_(strategy.value_type),
      codes_{&codes.side(tables.k.values), &codes.side(tables.v.values)},
      index_bytes_(strategy.index_bytes),
      projected_(strategy.kind == kv::StrategyKind::recompute),
      silu_(site.silu),
      heads_(weights.shape.heads),
      d_(weights.shape.attention_dim),
      pools_(site.collective),
      d_u_{site.k.pooled() ? weights.variant.d_u : 0, site.v.pooled() ? weights.variant.d_u : 0},
      row_bytes_(kv::stored_row_bytes(weights.shape, strategy)),
      width_(codes_[0]->basis ? codes_[0]->basis->rank : d_),
      item_ids_(std::size_t{weights.items} + 1),
      wq_(site.wq, d_, weights.d_e),
      wo_(site.wo, weights.d_e, d_) {}

void AttentionSite::begin(EntryView const& view, std::uint32_t first, std::uint32_t tokens,
                          Lists lists, std::uint32_t candidates, SiteScratch& scratch) const {
    scratch.view = &view;
    scratch.ids = view.ids == nullptr ? nullptr : view.ids + first;
    // A block of many candidates, the last and short one too, is summed like all of them.
    scratch.together = lists == Lists::one ? std::max(candidates, 1U) : 1;
    // The kernel reads halves and shares the conversion among the queries of a list; several lists
    // share one conversion here, and of int8 and int4 several candidates.
    scratch.made = projected_ || codes_[0]->codebook ||
                   (value_type_ == kv::ValueType::fp16 && lists == Lists::many) ||
                   (is_quantised(value_type_) && candidates > 1);
    if (!scratch.made) return;
    if (projected_) scratch.items.number(scratch.ids, tokens, item_ids_);
    for (std::size_t which = 0; which < 2; ++which) {
        SideTables const& tables = side(which);
        std::size_t const keys =
            tables.codes ? tables.pool.size() / tables.pool_step_bytes : tokens;
        auto& slots = scratch.slots[which];
        // Undoes the last request's: clearing all of a pool would cost more than few tokens.
        for (std::uint32_t const key : scratch.filled[which]) slots[key] = kNoSlot;
        scratch.filled[which].clear();
        if (slots.size() < keys) slots.resize(keys, kNoSlot);
    }
}

void AttentionSite::project(float const* embeddings, std::size_t step, std::size_t count,
                            SiteScratch& scratch) const {
    float* q = reserve_elements(scratch.q, count * wq_.stride);
    multiply(embeddings, step, count, wq_, q, wq_.stride);
    if (silu_) silu(q, count * wq_.stride);
    if (!codes_[0]->basis) return;
    PackedMatrix const& axes = codes_[0]->basis->axes;
    std::size_t const head_dim = d_ / heads_;
    std::size_t const turned_step = heads_ * axes.stride;
    float* turned = reserve_elements(scratch.turned_q, count * turned_step);
    for (std::size_t h = 0; h < heads_; ++h) {
        multiply(q + h * head_dim, wq_.stride, count, axes.data.data() + h * head_dim * axes.stride,
                 head_dim, axes.stride, turned + h * axes.stride, turned_step);
    }
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

void AttentionSite::make_rows(TokenList const& list, SiteScratch& scratch,
                              std::size_t sides) const {
    // Rows of vq are put together where a list of tokens needs them: see attend_to().
    if (scratch.made && !codes_[0]->codebook) fill_rows(list, scratch, sides);
}

void AttentionSite::fill_rows(TokenList const& list, SiteScratch& scratch,
                              std::size_t sides) const {
    for (std::size_t which = 0; which < sides; ++which) {
        SideTables const& tables = side(which);
        auto& filled = scratch.filled[which];
        std::size_t const first = filled.size();
        scratch.missing.clear();
        for (std::size_t i = 0; i < list.count; ++i) {
            std::uint32_t const key = row_key(tables, scratch, list.at(i));
            std::uint32_t& slot = scratch.slots[which][key];
            if (slot != kNoSlot) continue;
            slot = static_cast<std::uint32_t>(filled.size());
            filled.push_back(key);
            scratch.missing.push_back(list.at(i));
        }
        float* rows =
            reserve_elements(scratch.made_rows[which], filled.size() * width_) + first * width_;
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
            float* to = rows + i * width_;
            if (codes_[which]->codebook) {
                codes_[which]->codebook->decode(reinterpret_cast<std::uint8_t const*>(from), to);
                continue;
            }
            load_row(value_type_, from, width_ - d_u_[which], to);
            std::fill_n(to + width_ - d_u_[which], d_u_[which], 0.0F);
        }
    }
}

bool AttentionSite::find_keys(std::size_t which, TokenList const& list,
                              SiteScratch& scratch) const {
    SideTables const& tables = side(which);
    if (!tables.codes && !tables.by_item) return false;
    std::uint32_t* keys = reserve_elements(scratch.keys[which], list.count);
    if (!tables.codes) {
        TokenOrder const order = order_of(list);
        for (std::size_t i = 0; i < list.count; ++i) keys[i] = scratch.ids[list.at(order.at(i))];
        return true;
    }
    std::byte const* cells =
        tables.by_item ? tables.indices.data() : scratch.view->section(tables.index_section);
    ItemId const* ids = tables.by_item ? scratch.ids : nullptr;
    switch (index_bytes_) {
        case 1:
            gather_codes<std::uint8_t>(cells, ids, list, keys);
            break;
        case 2:
            gather_codes<std::uint16_t>(cells, ids, list, keys);
            break;
        default:
            gather_codes<std::uint32_t>(cells, ids, list, keys);
    }
    return true;
}

TokenRows AttentionSite::find_rows(std::size_t which, TokenList const& list, bool made,
                                   SiteScratch& scratch) const {
    SideTables const& tables = side(which);
    find_users(which, list, scratch.users[which], scratch);
    TokenRows result;
    result.user = scratch.users[which].data();
    result.user_dims = d_u_[which];
    RowSharing const* shared = nullptr;
    // Sums of V over shared rows have other bits than sums over tokens. Codes may: the choice
    // depends on the tokens alone. Rows of items must not: they equal full KV bit for bit.
    if (find_keys(which, list, scratch) && (tables.codes || which == 0)) {
        std::size_t const bound = tables.codes ? tables.pool.size() / tables.pool_step_bytes
                                               : tables.rows.size() / row_bytes_;
        RowSharing& sharing = scratch.sharing[which];
        if (sharing.find(scratch.keys[which].data(), list.count, bound, {d_, heads_})) {
            // Of items, made rows are known by their tokens.
            if (made && !tables.codes && sharing.all())
                sharing.number(scratch.keys[which].data(), list.count, bound);
            shared = &sharing;
            result.places = sharing.places();
            result.distinct = sharing.distinct();
        }
    }
    std::size_t const used = result.count(list.count);
    auto& rows = scratch.rows[which];
    if (rows.size() < row_slots(used)) rows.resize(row_slots(used));
    place_rows(which, list, made, shared, scratch);
    for (std::size_t i = used; i < row_slots(used); ++i) rows[i] = rows[used - 1];
    result.rows = rows.data();
    result.near = (tables.codes || tables.by_item) &&
                  std::max(tables.pool.size(), tables.rows.size()) <= kNearBytes;
    return result;
}

void AttentionSite::place_rows(std::size_t which, TokenList const& list, bool made,
                               RowSharing const* shared, SiteScratch& scratch) const {
    SideTables const& tables = side(which);
    std::uint32_t const* keys = scratch.keys[which].data();
    void const** rows = scratch.rows[which].data();
    // Of tables: rows by key.
    auto const fill = [&](auto&& address) {
        if (shared == nullptr) {
            for (std::size_t i = 0; i < list.count; ++i) rows[i] = address(keys[i]);
        } else {
            for (std::size_t i = 0; i < shared->distinct(); ++i)
                rows[i] = address(shared->key(keys, i));
        }
    };
    // Of the tokens' own: in the order of reading.
    auto const fill_own = [&](auto&& address) {
        TokenOrder const order = order_of(list);
        std::size_t const used = shared == nullptr ? list.count : shared->distinct();
        for (std::size_t i = 0; i < used; ++i) {
            std::size_t const slot = shared == nullptr ? i : shared->firsts()[i];
            rows[i] = address(list.at(order.at(slot)));
        }
    };
    if (made) {
        float const* from = scratch.made_rows[which].data();
        auto const& slots = scratch.slots[which];
        if (tables.codes) {
            // A row that no token has counts nothing: any made one stands for it.
            fill([&](std::uint32_t key) {
                return from + (slots[key] == kNoSlot ? 0 : slots[key]) * width_;
            });
        } else {
            fill_own([&](std::uint32_t position) {
                return from + slots[row_key(tables, scratch, position)] * width_;
            });
        }
    } else if (tables.codes) {
        fill([&](std::uint32_t key) { return tables.pool.data() + key * tables.pool_step_bytes; });
    } else if (tables.by_item) {
        fill([&](std::uint32_t key) { return tables.rows.data() + key * row_bytes_; });
    } else {
        std::byte const* own = scratch.view->section(tables.values);
        fill_own([&](std::uint32_t position) { return own + position * row_bytes_; });
    }
}

void AttentionSite::find_users(std::size_t which, TokenList const& list,
                               AlignedVector<float>& users, SiteScratch& scratch) const {
    std::size_t const d_u = d_u_[which];
    if (d_u == 0) return;
    SideTables const& tables = side(which);
    std::size_t const step = padded(list.count);
    float* planes = reserve_elements(users, d_u * step);
    std::byte const* cells =
        tables.by_item ? tables.users.data() : scratch.view->section(tables.user_section);
    bool const halves = kv::user_type(value_type_) == kv::ValueType::fp16;
    if (d_u == 1 && !tables.by_item && list.positions == nullptr) {
        // One value for each of all tokens: a plane already.
        if (halves) {
            from_half(reinterpret_cast<std::uint16_t const*>(cells), list.count, planes);
        } else {
            std::copy_n(reinterpret_cast<float const*>(cells), list.count, planes);
        }
    } else {
        scratch.places.resize(list.count);
        for (std::size_t i = 0; i < list.count; ++i)
            scratch.places[i] = tables.by_item ? scratch.ids[list.at(i)] : list.at(i);
        if (halves) {
            std::uint16_t* bits = reserve_elements(scratch.halves, d_u * step);
            gather_planes(cells, d_u, scratch.places, step, bits);
            from_half(bits, d_u * step, planes);
        } else {
            gather_planes(cells, d_u, scratch.places, step, planes);
        }
    }
    for (std::size_t u = 0; u < d_u; ++u)
        std::fill(planes + u * step + list.count, planes + (u + 1) * step, 0.0F);
}

AttentionCall AttentionSite::make_call(TokenList const& list, std::size_t first, std::size_t count,
                                       bool made, SiteScratch& scratch) const {
    AttentionCall call;
    call.q = scratch.q.data() + first * wq_.stride;
    call.q_step = wq_.stride;
    call.count = count;
    call.together = scratch.together;
    call.heads = heads_;
    call.head_dim = d_ / heads_;
    call.row_type = made ? kv::ValueType::fp32 : value_type_;
    call.tokens = list.count;
    call.user_step = padded(list.count);
    call.out = reserve_elements(scratch.out, (first + count) * wq_.stride) + first * wq_.stride;
    call.out_step = wq_.stride;
    call.k = find_rows(0, list, made, scratch);
    call.v = find_rows(1, list, made, scratch);
    return call;
}

void AttentionSite::attend_to(TokenList const& list, std::size_t first, std::size_t count,
                              SiteScratch& scratch) const {
    auto const& codebook = codes_[0]->codebook;
    bool const by_codes = codebook && codes_pay(*codebook, list.count);
    if (codebook && !by_codes) fill_rows(list, scratch, 2);
    AttentionCall const call = make_call(list, first, count, scratch.made && !by_codes, scratch);
    if (codes_[0]->basis) {
        attend_low_rank(call, first, scratch);
    } else if (by_codes) {
        attend_vq(call, scratch);
    } else if (is_quantised(call.row_type)) {
        attend_quantised(call, reserve_elements(scratch.scores, attention_weights(call)));
    } else {
        attend(call, reserve_elements(scratch.scores, attention_scratch(call)));
    }
}

/// Every head of every candidate is a query of its own over the same coefficients.
void AttentionSite::attend_low_rank(AttentionCall call, std::size_t first,
                                    SiteScratch& scratch) const {
    RowBasis const& k = *codes_[0]->basis;
    RowBasis const& v = *codes_[1]->basis;
    std::size_t const count = call.count;
    std::size_t const turned_step = heads_ * k.axes.stride;
    float* out = call.out;
    for (std::size_t c = 0; c < count; ++c) std::fill_n(out + c * call.out_step, d_, 0.0F);
    if (call.tokens == 0) return;
    float* sums = reserve_elements(scratch.turned_out, count * turned_step);
    call.q = scratch.turned_q.data() + first * turned_step;
    call.q_step = call.out_step = k.axes.stride;
    call.count = count * heads_;
    call.scale = 1.0F / std::sqrt(static_cast<float>(call.head_dim));
    call.heads = 1;
    call.head_dim = width_;
    call.out = sums;
    attend(call, reserve_elements(scratch.scores, attention_scratch(call)));
    std::size_t const head_dim = d_ / heads_;
    std::size_t const part_step = padded(head_dim);
    float* part = reserve_elements(scratch.part, count * part_step);
    for (std::size_t h = 0; h < heads_; ++h) {
        multiply(sums + h * k.axes.stride, turned_step, count, v.heads[h], part, part_step);
        for (std::size_t c = 0; c < count; ++c) {
            for (std::size_t i = 0; i < head_dim; ++i) {
                out[c * wq_.stride + h * head_dim + i] =
                    v.mean[h * head_dim + i] + part[c * part_step + i];
            }
        }
    }
}

void AttentionSite::attend_vq(AttentionCall const& call, SiteScratch& scratch) const {
    CodesCall codes;
    codes.q = call.q;
    codes.q_step = call.q_step;
    codes.count = call.count;
    codes.heads = call.heads;
    codes.head_dim = call.head_dim;
    codes.k = &*codes_[0]->codebook;
    codes.v = &*codes_[1]->codebook;
    codes.k_codes = call.k.rows;
    codes.v_codes = call.v.rows;
    codes.tokens = call.tokens;
    codes.out = call.out;
    codes.out_step = call.out_step;
    attend_codes(codes, scratch.tables);
}

void AttentionSite::read_keys(TokenList const& list, std::size_t count,
                              SiteScratch& scratch) const {
    scratch.call = make_call(list, 0, count, scratch.made, scratch);
    float* weights = reserve_elements(scratch.scores, attention_weights(scratch.call));
    if (is_quantised(scratch.call.row_type)) {
        attend_quantised_keys(scratch.call, weights);
    } else {
        attend_keys(scratch.call, weights);
    }
}

void AttentionSite::read_values(SiteScratch& scratch) const {
    if (is_quantised(scratch.call.row_type)) {
        attend_quantised_values(scratch.call, scratch.scores.data());
    } else {
        attend_values(scratch.call, scratch.scores.data());
    }
}

void AttentionSite::write(std::size_t count, float* features, std::size_t step,
                          SiteScratch& scratch) const {
    float* rows = reserve_elements(scratch.output, count * wo_.stride);
    multiply(scratch.out.data(), wq_.stride, count, wo_, rows, wo_.stride);
    for (std::size_t c = 0; c < count; ++c)
        std::copy_n(rows + c * wo_.stride, wo_.out, features + c * step);
}

}  // namespace ckvsim::device::cpu
