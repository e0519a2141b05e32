// Byte layout of a user's entry.
#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "kv/strategy.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::kv {
namespace {

/// Section starts: enough for a 128-bit vector load or copy.
constexpr std::size_t kSectionAlignment = 16;

constexpr std::size_t align_up(std::size_t bytes) {
    return (bytes + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

}  // namespace

std::uint32_t stored_row_bytes(model::SimShape const& shape, StrategyParams const& strategy) {
    if (strategy.kind == StrategyKind::vq) return strategy.subspaces;
    bool const low_rank = strategy.kind == StrategyKind::low_rank;
    return row_bytes(strategy.value_type, low_rank ? strategy.rank : shape.attention_dim);
}

bool keeps_ids_alone(StrategyParams const& strategy) {
    return strategy.kind == StrategyKind::recompute || strategy.kind == StrategyKind::item_table ||
           (strategy.kind == StrategyKind::collective && strategy.keying == Keying::item);
}

bool keeps_sums(model::SimShape const& shape, StrategyParams const& strategy) {
    bool const from_ids =
        strategy.kind == StrategyKind::collective && strategy.search_keys == SearchKeys::item_table;
    return shape.bucket_hashes() > 0 && !keeps_ids_alone(strategy) && !from_ids;
}

EntryLayout::EntryLayout(model::SimShape const& shape, model::VariantParams const& variant,
                         StrategyParams const& strategy, std::uint32_t features)
    : short_tokens_(shape.short_tokens) {
    if (auto const reason = refusal(strategy, variant, shape.kind))
        throw InternalError("kv::EntryLayout: " + *reason);
    if (auto const reason = misfit(strategy, shape))
        throw InternalError("kv::EntryLayout: " + *reason);
    auto const set = [this](Section section, std::uint32_t bytes) {
        bytes_per_token_[index(section)] = bytes;
    };
    std::uint32_t const row = stored_row_bytes(shape, strategy);
    std::uint32_t const user = row_bytes(user_type(strategy.value_type), variant.d_u);
    if (keeps_ids_alone(strategy)) {
        set(Section::ids, sizeof(ItemId));
        return;
    }
    /// K or V of a site: a code, or a row.
    auto const set_side = [&](bool pooled, Section values, Section indices, Section users) {
        set(values, pooled ? 0 : row);
        set(indices, pooled ? strategy.index_bytes : 0);
        set(users, pooled ? user : 0);
    };
    if (shape.stack_layers() > 0) {
        for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
            auto const at = [layer](LayerPart part) { return layer_section(layer, part); };
            set_side(variant.pools(0), at(LayerPart::k), at(LayerPart::k_index),
                     at(LayerPart::k_user));
            set_side(variant.pools(1), at(LayerPart::v), at(LayerPart::v_index),
                     at(LayerPart::v_user));
        }
        return;
    }
    set_side(variant.pools(0), Section::short_k, Section::short_k_index, Section::short_k_user);
    set_side(variant.pools(1), Section::short_v, Section::short_v_index, Section::short_v_user);
    if (shape.bucket_hashes() > 0) {
        set(Section::ids, sizeof(ItemId));
        if (!keeps_sums(shape, strategy)) return;
        validate(features > 0, "kv::EntryLayout: the sums of 'sdim' need the number of features");
        sums_bytes_ = std::size_t{shape.bucket_rows()} *
                      row_bytes(strategy.value_type, features * shape.feature_dim);
        return;
    }
    bool const in_scope = model::long_site_is_collective(variant);
    set_side(in_scope && variant.pools(0), Section::long_k, Section::long_k_index,
             Section::long_k_user);
    set_side(in_scope && variant.pools(1), Section::long_v, Section::long_v_index,
             Section::long_v_user);
    bool const collective = strategy.kind == StrategyKind::collective;
    if (collective && strategy.search_keys == SearchKeys::item_table) {
        set(Section::ids, sizeof(ItemId));
    } else {
        set(Section::search, search_bytes(shape, strategy.value_type));
    }
}

bool EntryLayout::is_short(Section section) {
    switch (section) {
        case Section::short_k:
        case Section::short_v:
        case Section::short_k_index:
        case Section::short_k_user:
        case Section::short_v_index:
        case Section::short_v_user:
            return true;
        default:
            return false;
    }
}

std::uint32_t EntryLayout::tokens_in(Section section, std::uint32_t capacity) const {
    if (bytes_per_token(section) == 0) return 0;
    return is_short(section) ? std::min(short_tokens_, capacity) : capacity;
}

std::array<std::size_t, kSections + 1> EntryLayout::offsets(std::uint32_t capacity) const {
    std::array<std::size_t, kSections + 1> result{};
    for (std::size_t s = 0; s < kSections; ++s)
        result[s + 1] = result[s] + align_up(payload_bytes(capacity, static_cast<Section>(s)));
    return result;
}

std::size_t EntryLayout::offset(Section section, std::uint32_t capacity) const {
    return offsets(capacity)[index(section)];
}

std::size_t EntryLayout::entry_bytes(std::uint32_t capacity) const {
    return offset(Section::count_, capacity);
}

std::size_t EntryLayout::payload_bytes(std::uint32_t tokens) const {
    std::size_t bytes = 0;
    for (std::size_t s = 0; s < kSections; ++s)
        bytes += payload_bytes(tokens, static_cast<Section>(s));
    return bytes;
}

std::size_t EntryLayout::payload_bytes(std::uint32_t tokens, Section section) const {
    return std::size_t{tokens_in(section, tokens)} * bytes_per_token(section) +
           (tokens > 0 ? fixed_bytes(section) : 0);
}

void EntryLayout::keep_newest(std::byte* entry, std::uint32_t tokens, std::uint32_t kept,
                              std::uint32_t capacity) const {
    if (kept == tokens || kept == 0) return;
    validate(!has(Section::long_sums), "kv: sums do not tell what a token that leaves takes along");
    auto const starts = offsets(capacity);
    for (std::size_t s = 0; s < kSections; ++s) {
        auto const section = static_cast<Section>(s);
        std::size_t const cell = bytes_per_token(section);
        if (cell == 0) continue;
        validate(!is_short(section), "kv: a short branch's section holds part of the tokens");
        std::byte* start = entry + starts[s];
        std::memmove(start, start + (tokens - kept) * cell, kept * cell);
    }
}

}  // namespace ckvsim::kv
