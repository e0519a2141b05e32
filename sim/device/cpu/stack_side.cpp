#include "device/cpu/stack_side.hpp"

#include <algorithm>
#include <cstring>

#include "core/rng.hpp"
#include "device/cpu/shared_tables.hpp"

namespace ckvsim::device::cpu {
namespace {

/// As in cells.cpp: what is projected together stays in the L1 and L2 caches.
constexpr std::size_t kBlockTokens = 32;

}  // namespace

StackSide::StackSide(model::SimWeights const& weights, model::SideWeights const& side,
                     kv::StrategyParams const& strategy, std::uint32_t number,
                     SideCodes const* codes)
    : codes_(codes),
      cell_type_(strategy.value_type),
      type_(codes == nullptr ? strategy.value_type : kv::ValueType::fp32),
      user_type_(kv::user_type(strategy.value_type)),
      d_(weights.shape.attention_dim),
      heads_(weights.shape.heads),
      collective_(side.pooled()),
      in_turn_(weights.variant.variant != model::Variant::collective && !is_quantised(type_)) {
    auto const width = static_cast<std::uint32_t>(d_);
    if (!collective_) {
        row_bytes_ = kv::stored_row_bytes(weights.shape, strategy);
        projection_ = PanelMatrix(side.w, d_, weights.d_e);
        return;
    }
    model::VariantParams const& variant = weights.variant;
    d_u_ = variant.d_u;
    index_bytes_ = strategy.index_bytes;
    user_bytes_ = kv::row_bytes(user_type_, variant.d_u);
    projection_ = PanelMatrix(side.user, d_u_, weights.d_e);
    // The kernels of fp32 and fp16 rows read zeros in the user dimensions.
    std::uint32_t const read = is_quantised(type_) ? width - variant.d_u : width;
    pool_step_ = (kv::row_bytes(type_, read) + kCacheLine - 1) / kCacheLine * kCacheLine;
    pool_ = make_pool(side.pool, variant.m, type_, d_, pool_step_);
    if (!strategy.random_indices) {
        router_ = PanelMatrix(side.router, variant.m, weights.d_e);
        return;
    }
    fixed_.resize(std::size_t{weights.items} + 1);
    for (std::size_t item = 0; item < fixed_.size(); ++item) {
        CounterRng rng(number, Purpose::control_index, item);
        fixed_[item] = rng.below(variant.m);
    }
}

void StackSide::store(float const* states, std::size_t step, ItemId const* items, std::size_t count,
                      OpenSideCells const& cells, std::size_t first, SideScratch& scratch) const {
    if (collective_) {
        store_indices(states, step, items, count, cells.indices + first * index_bytes_, scratch);
        if (d_u_ == 0) return;
    }
    std::size_t const bytes = collective_ ? user_bytes_ : row_bytes_;
    kv::ValueType const type = collective_ ? user_type_ : type_;
    std::byte* out = (collective_ ? cells.users : cells.rows) + first * bytes;
    std::size_t const stride = projection_.stride;
    float* projected = reserve_elements(scratch.projected, kBlockTokens * stride);
    for (std::size_t block = 0; block < count; block += kBlockTokens) {
        std::size_t const rows = std::min(kBlockTokens, count - block);
        multiply(states + block * step, step, rows, projection_, projected, stride);
        silu(projected, rows * stride);
        if (codes_ != nullptr) {
            store_codes(projected, rows, out + block * bytes, scratch);
            continue;
        }
        for (std::size_t i = 0; i < rows; ++i)
            store_row(type, projected + i * stride, projection_.out, out + (block + i) * bytes);
    }
}

/// Cells of `count` projected rows, which low_rank centres in place.
void StackSide::store_codes(float* rows, std::size_t count, std::byte* out,
                            SideScratch& scratch) const {
    if (codes_->codebook) {
        codes_->codebook->encode(rows, projection_.stride, count,
                                 reinterpret_cast<std::uint8_t*>(out), scratch.fitted);
        return;
    }
    RowBasis const& basis = *codes_->basis;
    std::size_t const step = basis.axes.stride;
    float* coefficients = reserve_elements(scratch.fitted, kBlockTokens * step);
    basis.coefficients(rows, projection_.stride, count, coefficients);
    for (std::size_t i = 0; i < count; ++i)
        store_row(cell_type_, coefficients + i * step, basis.rank, out + i * row_bytes_);
}

/// Rows [count, padded(d)] of `count` cells of codes.
void StackSide::load_codes(std::byte const* cells, std::size_t count, float* rows,
                           SideScratch& scratch) const {
    std::size_t const wide = padded(d_);
    if (codes_->codebook) {
        for (std::size_t i = 0; i < count; ++i) {
            codes_->codebook->decode(reinterpret_cast<std::uint8_t const*>(cells + i * row_bytes_),
                                     rows + i * wide);
        }
        return;
    }
    RowBasis const& basis = *codes_->basis;
    float* coefficients = reserve_elements(scratch.fitted, kBlockTokens * basis.rank);
    for (std::size_t first = 0; first < count; first += kBlockTokens) {
        std::size_t const block = std::min(kBlockTokens, count - first);
        for (std::size_t i = 0; i < block; ++i) {
            load_row(cell_type_, cells + (first + i) * row_bytes_, basis.rank,
                     coefficients + i * basis.rank);
        }
        basis.rows(coefficients, basis.rank, block, rows + first * wide);
    }
}

void StackSide::store_indices(float const* states, std::size_t step, ItemId const* items,
                              std::size_t count, std::byte* out, SideScratch& scratch) const {
    // Little-endian machines only (as the tensor file): the low bytes come first.
    auto const put = [&](std::size_t token, std::uint32_t index) {
        std::memcpy(out + token * index_bytes_, &index, index_bytes_);
    };
    if (!fixed_.empty()) {
        for (std::size_t t = 0; t < count; ++t) put(t, fixed_[items[t]]);
        return;
    }
    std::uint32_t* chosen = reserve_elements(scratch.keys, count);
    arg_max_products(states, step, count, router_, chosen);
    for (std::size_t t = 0; t < count; ++t) put(t, chosen[t]);
}

void StackSide::load_indices(std::byte const* indices, std::size_t first, std::size_t count,
                             std::uint32_t* rows) const {
    auto const copy = [&]<class Index>(Index const* from) { std::copy_n(from, count, rows); };
    std::byte const* from = indices + first * index_bytes_;
    switch (index_bytes_) {
        case 1:
            return copy(reinterpret_cast<std::uint8_t const*>(from));
        case 2:
            return copy(reinterpret_cast<std::uint16_t const*>(from));
        default:
            return copy(reinterpret_cast<std::uint32_t const*>(from));
    }
}

TokenRows StackSide::find(SideCells const& cells, std::size_t tokens, bool fast,
                          SideScratch& scratch) const {
    auto& rows = scratch.rows;
    if (rows.size() < row_slots(tokens)) rows.resize(row_slots(tokens));
    TokenRows result{rows.data(), nullptr, nullptr, tokens};
    if (tokens == 0) return result;
    if (!collective_) {
        TokenOrder const order = fast ? fast_order(tokens) : TokenOrder(tokens, false);
        std::byte const* from = cells.rows;
        std::size_t step = row_bytes_;
        if (codes_ != nullptr) {
            float* made = reserve_elements(scratch.floats, tokens * padded(d_));
            load_codes(cells.rows, tokens, made, scratch);
            from = reinterpret_cast<std::byte const*>(made);
            step = padded(d_) * sizeof(float);
        }
        for (std::size_t i = 0; i < tokens; ++i) rows[i] = from + order.at(i) * step;
    } else {
        std::uint32_t* keys = reserve_elements(scratch.keys, tokens);
        load_indices(cells.indices, 0, tokens, keys);
        std::size_t const bound = pool_.size() / pool_step_;
        RowSharing& sharing = scratch.sharing;
        if (fast && sharing.find(keys, tokens, bound, {d_, heads_})) {
            result.places = sharing.places();
            result.distinct = sharing.distinct();
        }
        for (std::size_t i = 0; i < result.count(tokens); ++i) {
            std::size_t const row = result.places == nullptr ? keys[i] : sharing.key(keys, i);
            rows[i] = pool_.data() + row * pool_step_;
        }
        result.near = pool_.size() <= kNearBytes;
        find_users(cells.users, tokens, scratch);
        result.user = scratch.users.data();
        result.user_dims = d_u_;
    }
    std::size_t const used = result.count(tokens);
    for (std::size_t i = used; i < row_slots(used); ++i) rows[i] = rows[used - 1];
    return result;
}

void StackSide::make_floats(std::size_t count, SideScratch& scratch) const {
    std::size_t const held = d_ - d_u_;
    float* floats = reserve_elements(scratch.floats, count * d_);
    for (std::size_t i = 0; i < count; ++i, floats += d_) {
        load_row(type_, static_cast<std::byte const*>(scratch.rows[i]), held, floats);
        std::fill_n(floats + held, d_u_, 0.0F);
        scratch.rows[i] = floats;
    }
    for (std::size_t i = count; i < row_slots(count); ++i)
        scratch.rows[i] = scratch.rows[count - 1];
}

void StackSide::find_users(std::byte const* cells, std::size_t tokens, SideScratch& scratch) const {
    if (d_u_ == 0) return;
    std::size_t const step = padded(tokens);
    float* planes = reserve_elements(scratch.users, d_u_ * step);
    if (d_u_ == 1) {  // a plane already
        load_row(user_type_, cells, tokens, planes);
        std::fill(planes + tokens, planes + step, 0.0F);
        return;
    }
    float* values = reserve_elements(scratch.values, tokens * d_u_);
    load_row(user_type_, cells, tokens * d_u_, values);
    for (std::size_t u = 0; u < d_u_; ++u) {
        for (std::size_t t = 0; t < tokens; ++t) planes[u * step + t] = values[t * d_u_ + u];
        std::fill(planes + u * step + tokens, planes + (u + 1) * step, 0.0F);
    }
}

void StackSide::load(SideCells const& cells, std::size_t token, float* row,
                     SideScratch& scratch) const {
    if (codes_ != nullptr) {
        load_codes(cells.rows + token * row_bytes_, 1, row, scratch);
        return;
    }
    if (!collective_) {
        load_row(type_, cells.rows + token * row_bytes_, d_, row);
        return;
    }
    std::uint32_t index = 0;
    load_indices(cells.indices, token, 1, &index);
    load_row(type_, pool_.data() + index * pool_step_, d_ - d_u_, row);
    if (d_u_ > 0) load_row(user_type_, cells.users + token * user_bytes_, d_u_, row + d_ - d_u_);
}

}  // namespace ckvsim::device::cpu
