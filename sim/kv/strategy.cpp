#include "kv/strategy.hpp"

#include "core/error.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::kv {
namespace {

using model::Variant;

/// Value types that a kind of strategy cannot store, and why.
std::optional<std::string> type_refusal(StrategyParams const& params) {
    std::string const what = "value_type '" + to_string(params.value_type) + "' ";
    bool const packed =
        params.value_type == ValueType::int8 || params.value_type == ValueType::int4;
    if (params.kind == StrategyKind::low_rank && packed) {
        return what + "cannot store the few coefficients of 'low_rank' (a scale and a zero would " +
               "take the bytes that it saves). use fp16";
    }
    if (params.kind == StrategyKind::vq && params.value_type == ValueType::int4) {
        return what +
               "has no use in 'vq' (K and V are codes, and search keys keep 8 bits). use int8";
    }
    if (params.kind == StrategyKind::collective && params.value_type == ValueType::int4) {
        return what + "is not kept by 'collective' (the pools that it would shrink are shared by " +
               "all users). use int8";
    }
    return std::nullopt;
}

/// Strategies that need keys of items alone, which HSTU does not have.
std::optional<std::string> stack_refusal(StrategyParams const& params, model::ModelKind model) {
    if (model != model::ModelKind::hstu || params.kind == StrategyKind::recompute)
        return std::nullopt;
    bool const collective = params.kind == StrategyKind::collective;
    std::string const needs =
        " needs K and V that depend on the item alone; those of model 'hstu' "
        "depend on the tokens before from the second layer on (not written for one layer alone). "
        "use ";
    if (params.kind == StrategyKind::item_table)
        return "strategy 'item_table'" + needs + "'full' or 'recompute'";
    if (collective && params.keying == Keying::item)
        return "keying 'item'" + needs + "'user_token'";
    if (collective && params.search_keys == SearchKeys::item_table) {
        return "strategy 'collective': search_keys 'item_table' means nothing to model 'hstu' (its "
               "candidates attend to all tokens, nothing is searched). use 'stored'";
    }
    if (params.mean_keys) {
        return "control mean_keys: the rows of K of model 'hstu' are not an item's, so the "
               "catalogue has no mean of them. leave it out";
    }
    return std::nullopt;
}

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
        case StrategyKind::low_rank:
            return "low_rank";
        case StrategyKind::vq:
            return "vq";
    }
    throw InternalError("kv::to_string: unknown strategy kind");
}

std::string to_string(Keying keying) {
    return keying == Keying::user_token ? "user_token" : "item";
}
std::string to_string(ValueType type) {
    switch (type) {
        case ValueType::fp32:
            return "fp32";
        case ValueType::fp16:
            return "fp16";
        case ValueType::int8:
            return "int8";
        case ValueType::int4:
            return "int4";
    }
    throw InternalError("kv::to_string: unknown value type");
}
std::string to_string(SearchKeys keys) {
    return keys == SearchKeys::stored ? "stored" : "item_table";
}

std::uint32_t row_bytes(ValueType type, std::uint32_t width) {
    constexpr std::uint32_t kScaleAndZero = 4;
    if (width == 0) return 0;
    switch (type) {
        case ValueType::fp32:
            return 4 * width;
        case ValueType::fp16:
            return 2 * width;
        case ValueType::int8:
            return kScaleAndZero + width;
        case ValueType::int4:
            return kScaleAndZero * ((width + kInt4Group - 1) / kInt4Group) + (width + 1) / 2;
    }
    throw InternalError("kv::row_bytes: unknown value type");
}

std::uint32_t search_bytes(model::SimShape const& shape, ValueType type) {
    return row_bytes(search_type(type), shape.search_width()) + shape.signature_bits() / 8;
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
    if (auto const reason = model::variant_refusal(weights, model)) return reason;
    if (auto const reason = type_refusal(params)) return reason;
    if (auto const reason = stack_refusal(params, model)) return reason;
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

std::optional<std::string> misfit(StrategyParams const& params, model::SimShape const& shape) {
    std::uint32_t const d = shape.attention_dim;
    if (params.kind == StrategyKind::low_rank && (params.rank == 0 || params.rank > d)) {
        return "rank " + std::to_string(params.rank) + " does not fit rows of attention_dim " +
               std::to_string(d) + " values. allowed: 1 .. " + std::to_string(d);
    }
    if (params.kind != StrategyKind::vq) return std::nullopt;
    if (params.subspaces == 0 || d % params.subspaces != 0) {
        return std::to_string(params.subspaces) + " subspaces do not divide attention_dim " +
               std::to_string(d) + ". choose a divisor of it";
    }
    if (params.code_bits == 0 || params.code_bits > 8) {
        return "code_bits " + std::to_string(params.code_bits) +
               " does not fit a code of one byte. allowed: 1 .. 8";
    }
    return std::nullopt;
}

bool is_exact(StrategyParams const& params) {
    if (params.kind == StrategyKind::recompute) return true;
    // A rank that spans all rows would be exact; the parameters alone cannot tell.
    if (params.kind == StrategyKind::low_rank || params.kind == StrategyKind::vq) return false;
    bool const random = params.kind == StrategyKind::collective && params.random_indices;
    bool const mean = params.kind == StrategyKind::full && params.mean_keys;
    return params.value_type == ValueType::fp32 && !random && !mean;
}

AppendRule append_rule(StrategyParams const& params, model::SimShape const& shape) {
    // A first layer's K and V are the item's own; entries of ids hold nothing that could be stale.
    bool const contextual = shape.stack_layers() > 1 && params.kind != StrategyKind::recompute;
    return contextual ? AppendRule::stale_after_window : AppendRule::exact;
}

std::string to_string(AppendRule rule) {
    return rule == AppendRule::exact ? "exact" : "stale_after_window";
}

std::string to_string(WindowPolicy policy) {
    switch (policy) {
        case WindowPolicy::encoded:
            return "encoded";
        case WindowPolicy::slide:
            return "slide";
        case WindowPolicy::reencode:
            return "reencode";
        case WindowPolicy::drop_block:
            return "drop_block";
    }
    throw InternalError("kv::to_string: unknown window policy");
}

std::optional<std::string> window_misfit(WindowParams const& window, StrategyParams const& params,
                                         model::SimShape const& shape) {
    if (window.policy == WindowPolicy::encoded) return std::nullopt;
    std::string const policy = "window policy '" + to_string(window.policy) + "' ";
    if (append_rule(params, shape) == AppendRule::exact) {
        return policy +
               "means nothing where appended entries are what encoding the history gives: models "
               "whose K and V belong to items, and 'recompute'. use 'encoded'";
    }
    if (window.policy == WindowPolicy::drop_block && window.block_tokens >= shape.max_tokens) {
        return policy + "with a block of " + std::to_string(window.block_tokens) +
               " leaves nothing of max_tokens " + std::to_string(shape.max_tokens) +
               ". take a smaller block";
    }
    return std::nullopt;
}

std::string to_string(Section section) {
    if (section >= Section::first_layer_ && section < Section::count_) {
        static constexpr std::array<char const*, kLayerParts> kParts = {
            "_k", "_v", "_k_index", "_k_user", "_v_index", "_v_user"};
        auto const place =
            static_cast<std::uint32_t>(section) - static_cast<std::uint32_t>(Section::first_layer_);
        return model::layer_name(place / kLayerParts) + kParts[place % kLayerParts];
    }
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
        case Section::long_sums:
            return "long_sums";
        case Section::first_layer_:
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
