#include "kv/strategy.hpp"

#include "core/error.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::kv {
namespace {

using model::Variant;

/// True when `value` fits an unsigned integer of `bytes` bytes.
bool fits(std::uint32_t value, std::uint32_t bytes) {
    return bytes >= 4 || value < (1U << (8 * bytes));
}

}  // namespace

std::string to_string(StrategyKind kind) {
    switch (kind) {
        case StrategyKind::recompute:
            return "recompute";
        case StrategyKind::full:
            return "full";
        case StrategyKind::item_table:
            return "item_table";
        case StrategyKind::collective:
            return "collective";
    }
    throw InternalError("kv::to_string: unknown strategy kind");
}

std::string to_string(Keying keying) {
    return keying == Keying::user_token ? "user_token" : "item";
}
std::string to_string(ValueType type) { return type == ValueType::fp32 ? "fp32" : "fp16"; }
std::string to_string(SearchKeys keys) {
    return keys == SearchKeys::stored ? "stored" : "item_table";
}

std::optional<std::string> refusal(StrategyParams const& params,
                                   model::VariantParams const& weights, model::ModelKind model) {
    std::string const strategy = to_string(params.kind);
    std::string const trained = to_string(weights.variant);
    if (!model::has_attention(weights.variant)) {
        if (params.kind == StrategyKind::recompute) return std::nullopt;
        return "strategy '" + strategy + "' cannot serve '" + trained +
               "' weights (they have no keys and values to keep). use strategy 'recompute'";
    }
    bool const collective_weights = weights.variant == Variant::collective;
    if (params.kind != StrategyKind::collective) {
        if (!collective_weights) return std::nullopt;
        return "strategy '" + strategy +
               "' cannot serve 'collective' weights (their keys and values come from a "
               "pool). use strategy 'collective'";
    }
    if (!collective_weights) {
        return "strategy 'collective' cannot serve '" + trained +
               "' weights (they were trained without a pool). train variant 'collective'";
    }
    std::uint32_t const width = params.index_bytes;
    if (width != 1 && width != 2 && width != 4) {
        return "index_bytes " + std::to_string(width) + " is not possible (allowed: 1, 2, 4)";
    }
    if (weights.m == 0 || !fits(weights.m - 1, width)) {
        return "index_bytes " + std::to_string(width) + " cannot hold pool index " +
               std::to_string(weights.m - 1) + " (the pool has m = " + std::to_string(weights.m) +
               " rows). use a wider index";
    }
    if (model == model::ModelKind::twin && params.search_keys == SearchKeys::item_table) {
        return "strategy 'collective': search_keys 'item_table' means nothing to model 'twin' (its "
               "search reads the keys "
               "of the long branch, there are no search keys). use 'stored'";
    }
    return std::nullopt;
}

bool is_exact(StrategyParams const& params) {
    if (params.kind == StrategyKind::recompute) return true;
    bool const random = params.kind == StrategyKind::collective && params.random_indices;
    return params.value_type == ValueType::fp32 && !random;
}

std::string to_string(Section section) {
    switch (section) {
        case Section::ids:
            return "ids";
        case Section::short_k:
            return "short_k";
        case Section::short_v:
            return "short_v";
        case Section::search:
            return "search";
        case Section::long_k:
            return "long_k";
        case Section::long_v:
            return "long_v";
        case Section::short_k_index:
            return "short_k_index";
        case Section::short_k_user:
            return "short_k_user";
        case Section::short_v_index:
            return "short_v_index";
        case Section::short_v_user:
            return "short_v_user";
        case Section::long_k_index:
            return "long_k_index";
        case Section::long_k_user:
            return "long_k_user";
        case Section::long_v_index:
            return "long_v_index";
        case Section::long_v_user:
            return "long_v_user";
        case Section::count_:
            break;
    }
    throw InternalError("kv::to_string: unknown section");
}

std::string site_of(Section section) {
    std::string const name = to_string(section);
    if (section == Section::ids) return "all";
    return name.substr(0, name.find('_'));
}

}  // namespace ckvsim::kv
