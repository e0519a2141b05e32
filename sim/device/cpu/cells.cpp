#include "device/cpu/cells.hpp"

#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "device/cpu/bucket_sums.hpp"
#include "device/cpu/hamming.hpp"
#include "device/cpu/quantised_rows.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::device::cpu {
namespace {

using kv::Section;
using ForcedIndexMember = std::vector<std::uint32_t> ForcedIndices::*;

/// Items projected together: embeddings and projections of a block stay in the L1 and L2 caches.
constexpr std::size_t kBlockItems = 32;
/// More of them for a router, whose m outputs are read once for all.
constexpr std::size_t kRouterBlockItems = 120;

void store_index(std::uint32_t index, std::uint32_t bytes, std::byte* out) {
    // Little-endian machines only (as the tensor file): the low bytes come first.
    std::memcpy(out, &index, bytes);
}

}  // namespace

CellMaker::CellMaker(std::shared_ptr<model::SimWeights const> weights,
                     kv::StrategyParams const& strategy, kv::ValueType value_type,
                     ForcedIndices const* forced, RowCodes const* codes)
    : weights_(std::move(weights)), strategy_(strategy), value_type_(value_type), codes_(codes) {
    if (!model::has_attention(weights_->variant.variant)) return;
    model::SimWeights const& w = *weights_;
    auto const list = [&](ForcedIndexMember member) {
        return forced == nullptr ? nullptr : &(forced->*member);
    };
    add_side(w.short_site, w.short_site.k, Section::short_k, Section::short_k_index,
             Section::short_k_user, 0, list(&ForcedIndices::short_k));
    add_side(w.short_site, w.short_site.v, Section::short_v, Section::short_v_index,
             Section::short_v_user, 1, list(&ForcedIndices::short_v));
    if (w.shape.has_long_attention()) {
        add_side(w.long_site, w.long_site.k, Section::long_k, Section::long_k_index,
                 Section::long_k_user, 2, list(&ForcedIndices::long_k));
        add_side(w.long_site, w.long_site.v, Section::long_v, Section::long_v_index,
                 Section::long_v_user, 3, list(&ForcedIndices::long_v));
    }
    add_search(forced);
}

void CellMaker::add_search(ForcedIndices const* forced) {
    model::SimWeights const& w = *weights_;
    Map& search = map(Section::search);
    if (std::uint32_t const planes = w.shape.hash_planes(); planes > 0) {
        search.matrix = PanelMatrix(w.hash_planes, planes, w.d_e);
        search.signs = w.shape.signature_bits() > 0;
        search.bucket_bits = search.signs ? 0 : w.shape.hash_bits;
    } else {
        search.matrix = PanelMatrix(w.search_wk, w.shape.search_width(), w.d_e);
        search.type = kv::search_type(value_type_);
    }
    if (forced == nullptr || forced->buckets.empty()) return;
    std::size_t const cells = (std::size_t{w.items} + 1) * w.shape.bucket_hashes();
    validate(forced->buckets.size() == cells,
             "device/cpu: forced buckets need one entry per hash of every item and of padding");
    for (std::uint8_t const bucket : forced->buckets)
        validate(bucket < (1U << w.shape.hash_bits), "device/cpu: forced bucket beyond the hash");
    search.given = forced->buckets;
}

void CellMaker::add_side(model::SiteWeights const& site, model::SideWeights const& side,
                         Section values, Section indices, Section users, std::uint32_t number,
                         std::vector<std::uint32_t> const* forced) {
    std::uint32_t const d_e = weights_->d_e;
    if (!side.pooled()) {
        map(values).matrix = PanelMatrix(side.w, weights_->shape.attention_dim, d_e);
        map(values).type = value_type_;
        map(values).silu = site.silu;
        if (codes_ != nullptr) map(values).codes = &codes_->side(values);
        return;
    }
    model::VariantParams const& variant = weights_->variant;
    map(users).matrix = PanelMatrix(side.user, variant.d_u, d_e);
    map(users).type = kv::user_type(value_type_);
    map(users).silu = true;
    Map& index = map(indices);
    index.index = true;
    std::size_t const rows = std::size_t{weights_->items} + 1;
    if (strategy_.random_indices) {
        index.fixed.resize(rows);
        for (std::size_t item = 0; item < rows; ++item) {
            CounterRng rng(number, Purpose::control_index, item);
            index.fixed[item] = rng.below(variant.m);
        }
    } else if (forced != nullptr && !forced->empty()) {
        validate(forced->size() == rows,
                 "device/cpu: forced indices need one entry per item and one for padding");
        for (std::uint32_t const row : *forced)
            validate(row < variant.m, "device/cpu: forced index beyond the pool");
        index.fixed = *forced;
    } else {
        index.matrix = PanelMatrix(side.router, variant.m, d_e);
    }
}

std::uint32_t CellMaker::cell_bytes(Section section) const {
    Map const& m = map(section);
    if (m.index) return strategy_.index_bytes;
    if (m.signs) return static_cast<std::uint32_t>(m.matrix.out / 8);
    if (m.bucket_bits > 0) return static_cast<std::uint32_t>(m.matrix.out / m.bucket_bits);
    std::size_t width = m.matrix.out;
    if (m.codes != nullptr) {
        if (m.codes->codebook) return static_cast<std::uint32_t>(m.codes->codebook->subspaces());
        if (m.codes->basis) width = m.codes->basis->rank;
    }
    return kv::row_bytes(m.type, static_cast<std::uint32_t>(width));
}

std::array<std::size_t, 2> CellMaker::matrix_bytes() const {
    std::array<std::size_t, 2> bytes{};
    for (Map const& m : maps_) bytes[m.index ? 1 : 0] += m.matrix.bytes();
    return bytes;
}

void CellMaker::store_block(Section section, Map const& m, std::size_t count, float* projected,
                            std::byte* out, CellScratch& scratch) const {
    std::size_t const bytes = cell_bytes(section);
    if (m.codes != nullptr && m.codes->codebook) {
        m.codes->codebook->encode(projected, m.matrix.stride, count,
                                  reinterpret_cast<std::uint8_t*>(out), scratch.fitted);
        return;
    }
    std::size_t width = m.matrix.out;
    std::size_t step = m.matrix.stride;
    if (m.signs) {
        pack_signs(projected, step, count, width, out);
        return;
    }
    if (m.bucket_bits > 0) {
        pack_buckets(projected, step, count, bytes, m.bucket_bits, out);
        return;
    }
    if (m.codes != nullptr && !m.codes->mean.empty()) {
        for (std::size_t i = 0; i < count; ++i)
            store_row(m.type, m.codes->mean.data(), width, out + i * bytes);
        return;
    }
    if (m.codes != nullptr && m.codes->basis) {
        RowBasis const& basis = *m.codes->basis;
        float* coefficients = reserve_elements(scratch.fitted, kBlockItems * basis.axes.stride);
        basis.coefficients(projected, step, count, coefficients);
        projected = coefficients;
        width = basis.rank;
        step = basis.axes.stride;
    }
    for (std::size_t i = 0; i < count; ++i) {
        store_row(m.type, projected + i * step, width, out + i * bytes);
    }
}

void CellMaker::make(Section section, ItemId const* items, std::size_t count, std::byte* out,
                     CellScratch& scratch) const {
    Map const& m = map(section);
    std::size_t const bytes = cell_bytes(section);
    if (!m.fixed.empty()) {
        for (std::size_t i = 0; i < count; ++i)
            store_index(m.fixed[items[i]], strategy_.index_bytes, out + i * bytes);
        return;
    }
    validate(bytes > 0, "device/cpu: these weights do not fill the section");
    if (!m.given.empty()) {
        for (std::size_t i = 0; i < count; ++i)
            std::memcpy(out + i * bytes, m.given.data() + items[i] * bytes, bytes);
        return;
    }
    std::size_t const d_e = weights_->d_e;
    std::size_t const block = m.index ? kRouterBlockItems : kBlockItems;
    float* embeddings = reserve_elements(scratch.embeddings, block * d_e);
    float* projected = reserve_elements(scratch.projected, m.index ? 0 : block * m.matrix.stride);
    std::uint32_t* chosen = reserve_elements(scratch.chosen, m.index ? block : 0);
    for (std::size_t first = 0; first < count; first += block) {
        std::size_t const rows = std::min(block, count - first);
        for (std::size_t i = 0; i < rows; ++i) {
            std::copy_n(weights_->item_embeddings.data() + items[first + i] * d_e, d_e,
                        embeddings + i * d_e);
        }
        if (m.index) {
            arg_max_products(embeddings, d_e, rows, m.matrix, chosen);
            for (std::size_t i = 0; i < rows; ++i)
                store_index(chosen[i], strategy_.index_bytes, out + (first + i) * bytes);
            continue;
        }
        multiply(embeddings, d_e, rows, m.matrix, projected, m.matrix.stride);
        if (m.silu) silu(projected, rows * m.matrix.stride);
        store_block(section, m, rows, projected, out + first * bytes, scratch);
    }
}

void CellMaker::sign(float const* embeddings, std::size_t step, std::size_t count, std::byte* out,
                     CellScratch& scratch) const {
    PanelMatrix const& planes = map(Section::search).matrix;
    float* projected = reserve_elements(scratch.projected, count * planes.stride);
    multiply(embeddings, step, count, planes, projected, planes.stride);
    pack_signs(projected, planes.stride, count, planes.out, out);
}

AlignedVector<std::byte> make_item_table(CellMaker const& maker, Section section,
                                         std::uint32_t items) {
    std::size_t const bytes = maker.cell_bytes(section);
    std::size_t const rows = std::size_t{items} + 1;
    AlignedVector<std::byte> table(rows * bytes);
    constexpr std::size_t kChunk =
        256;  // items per parallel task: long enough to hide the scheduling
    auto const chunks = static_cast<std::int64_t>((rows + kChunk - 1) / kChunk);
#pragma omp parallel
    {
        CellScratch scratch;
        std::vector<ItemId> ids;
#pragma omp for schedule(dynamic)
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            std::size_t const first = static_cast<std::size_t>(chunk) * kChunk;
            ids.resize(std::min(kChunk, rows - first));
            for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<ItemId>(first + i);
            maker.make(section, ids.data(), ids.size(), table.data() + first * bytes, scratch);
        }
    }
    return table;
}

std::vector<std::uint32_t> arg_max_indices(model::SimWeights const& weights,
                                           model::SideWeights const& side) {
    if (side.router.empty()) return {};
    std::size_t const rows = std::size_t{weights.items} + 1;
    std::vector<std::uint32_t> result(rows);
    PanelMatrix const router(side.router, side.router.size() / weights.d_e, weights.d_e);
    auto const blocks =
        static_cast<std::int64_t>((rows + kRouterBlockItems - 1) / kRouterBlockItems);
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        std::size_t const first = static_cast<std::size_t>(block) * kRouterBlockItems;
        arg_max_products(weights.item_embeddings.data() + first * weights.d_e, weights.d_e,
                         std::min(kRouterBlockItems, rows - first), router, result.data() + first);
    }
    return result;
}

std::vector<std::uint8_t> item_buckets(std::shared_ptr<model::SimWeights const> const& weights) {
    if (weights->shape.bucket_hashes() == 0 || weights->hash_planes.empty()) return {};
    CellMaker const maker(weights, {}, kv::ValueType::fp32, nullptr, nullptr);
    auto const table = make_item_table(maker, Section::search, weights->items);
    auto const* first = reinterpret_cast<std::uint8_t const*>(table.data());
    return {first, first + table.size()};
}

std::string instruction_set() { return dispatched_target(); }

}  // namespace ckvsim::device::cpu
