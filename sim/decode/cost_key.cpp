#include "decode/cost_key.hpp"

#include <sstream>

namespace ckvsim::decode {

std::string cost_key(model::SimShape const& shape, model::VariantParams const& variant,
                     kv::StrategyParams const& strategy, std::uint32_t features) {
    using kv::StrategyKind;
    std::ostringstream key;
    if (shape.kind != model::ModelKind::sim) key << to_string(shape.kind) << '/';
    key << to_string(strategy.kind);
    bool const collective = strategy.kind == StrategyKind::collective;
    if (!collective && variant.variant != model::Variant::full)
        key << '/' << to_string(variant.variant);
    if (collective) key << '/' << to_string(strategy.keying);
    if (strategy.kind != StrategyKind::recompute) key << '/' << to_string(strategy.value_type);
    if (strategy.kind == StrategyKind::low_rank) key << "/r" << strategy.rank;
    if (strategy.kind == StrategyKind::vq)
        key << "/sub" << strategy.subspaces << "x" << strategy.code_bits << "bit";
    if (collective) {
        // Under keying item the search keys are always in the item table, whatever search_keys
        // says.
        bool const in_table = strategy.keying == kv::Keying::item ||
                              strategy.search_keys == kv::SearchKeys::item_table;
        key << "/idx" << strategy.index_bytes;
        if (shape.has_search_keys() || shape.bucket_hashes() > 0)
            key << "/search=" << (in_table ? "item_table" : "stored");
        key << "/scope=" << to_string(variant.scope);
        // Keys of both sides stay as calibrations before there was a choice have them.
        if (variant.sides != model::Sides::both) key << "/sides=" << to_string(variant.sides);
        key << "/du" << variant.d_u << "/m" << variant.m;
    }
    key << "/d" << shape.attention_dim << "/h" << shape.heads << "/de"
        << features * shape.feature_dim;
    if (shape.stack_layers() > 0) {
        key << "/layers" << shape.layers;
    } else {
        key << "/s" << shape.short_tokens;
        if (shape.search_width() > 0) key << "/ds" << shape.search_dim;
        if (shape.signature_bits() > 0) key << "/hb" << shape.hash_bits;
        if (shape.bucket_hashes() > 0) key << "/hb" << shape.hashes << "x" << shape.hash_bits;
        if (shape.has_long_attention()) key << "/k" << shape.top_k;
    }
    key << "/c" << shape.context_dim << "/t";
    for (std::size_t i = 0; i < shape.tower.size(); ++i)
        key << (i == 0 ? "" : "x") << shape.tower[i];
    return key.str();
}

}  // namespace ckvsim::decode
