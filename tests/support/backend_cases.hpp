// Small catalogues, shapes and (variant, strategy) pairs for tests of backends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/rng.hpp"
#include "decode/backend.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::test {

/// Item id and a category of 7 values.
inline workload::Catalogue small_catalogue(std::uint32_t items) {
    workload::Catalogue catalogue;
    catalogue.items = items;
    catalogue.feature_names = {"item_id", "category"};
    catalogue.feature_vocabularies = {items + 1, 8};
    catalogue.features.resize(2);
    for (std::uint32_t item = 0; item <= items; ++item) {
        catalogue.features[0].push_back(item);
        catalogue.features[1].push_back(item == 0 ? 0 : 1 + item % 7);
    }
    return catalogue;
}

struct BackendCase {
    std::string name;
    model::SimShape shape;
    model::VariantParams variant;
    kv::StrategyParams strategy;
};

inline model::SimShape tiny_shape() {
    model::SimShape shape;
    shape.feature_dim = 3;
    shape.attention_dim = 8;
    shape.heads = 2;
    shape.short_tokens = 7;
    shape.search_dim = 5;
    shape.hash_bits = 8;
    shape.top_k = 4;
    shape.max_tokens = 40;
    shape.context_dim = 2;
    shape.tower = {9, 5};
    return shape;
}

/// Whole vectors everywhere, as in real use.
inline model::SimShape even_shape() {
    model::SimShape shape = tiny_shape();
    shape.feature_dim = 8;
    shape.attention_dim = 64;
    shape.short_tokens = 16;
    shape.search_dim = 16;
    shape.hash_bits = 32;
    shape.top_k = 10;
    shape.max_tokens = 150;
    shape.tower = {32, 16};
    return shape;
}

/// Odd widths: every kernel runs into its tail.
inline model::SimShape odd_shape() {
    model::SimShape shape = tiny_shape();
    shape.feature_dim = 5;
    shape.attention_dim = 57;
    shape.heads = 3;
    shape.short_tokens = 11;
    shape.search_dim = 19;
    shape.hash_bits = 64;
    shape.top_k = 13;
    shape.max_tokens = 97;
    shape.tower = {};
    return shape;
}

/// The same for TWIN.
inline model::SimShape twin_of(model::SimShape shape) {
    shape.kind = model::ModelKind::twin;
    return shape;
}

/// The same for ETA.
inline model::SimShape eta_of(model::SimShape shape) {
    shape.kind = model::ModelKind::eta;
    return shape;
}

/// The same for SDIM.
inline model::SimShape sdim_of(model::SimShape shape, std::uint32_t hashes = 16,
                               std::uint32_t bits = 3) {
    shape.kind = model::ModelKind::sdim;
    shape.hashes = hashes;
    shape.hash_bits = bits;
    return shape;
}

/// Of SIM, then of TWIN, then of ETA, then of SDIM.
inline std::vector<model::SimShape> test_shapes() {
    model::SimShape one_head = tiny_shape();
    one_head.heads = 1;
    one_head.attention_dim = 1;
    one_head.search_dim = 1;
    one_head.hash_bits = 16;
    one_head.top_k = 1;
    one_head.short_tokens = 1;
    std::vector<model::SimShape> shapes = {tiny_shape(), even_shape(), odd_shape(), one_head};
    for (std::size_t i = 0; i < 4; ++i) shapes.push_back(twin_of(shapes[i]));
    for (std::size_t i = 0; i < 4; ++i) shapes.push_back(eta_of(shapes[i]));
    // One hash alone, bytes that are full, and more buckets than tokens.
    shapes.push_back(sdim_of(shapes[0], 5, 2));
    shapes.push_back(sdim_of(shapes[1]));
    shapes.push_back(sdim_of(shapes[2], model::kMaxHashes, model::kMaxBucketBits));
    shapes.push_back(sdim_of(shapes[3], 1, 1));
    return shapes;
}
inline constexpr std::size_t kTestShapes = 16;

/// Calls add(variant, strategy) for the strategies of weights without pools.
template <class Add>
void add_full_weights(model::SimShape const& shape, Add const& add) {
    using kv::StrategyKind;
    using kv::ValueType;
    kv::StrategyParams strategy;
    std::uint32_t const d = shape.attention_dim;
    for (auto const variant : {model::Variant::full, model::Variant::full_silu}) {
        bool const plain = variant == model::Variant::full;
        for (auto const type :
             {ValueType::fp32, ValueType::fp16, ValueType::int8, ValueType::int4}) {
            strategy.value_type = type;
            for (auto const kind :
                 {StrategyKind::recompute, StrategyKind::full, StrategyKind::item_table}) {
                bool const packed = type == ValueType::int8 || type == ValueType::int4;
                if (packed && (kind == StrategyKind::recompute || !plain)) continue;
                strategy.kind = kind;
                add({variant, {}, 0, 1}, strategy);
            }
        }
        strategy.kind = StrategyKind::low_rank;
        for (std::uint32_t const rank : {1U, (d + 1) / 2, d}) {
            if (!plain && rank != d) continue;
            strategy.value_type = rank == 1 ? ValueType::fp32 : ValueType::fp16;
            strategy.rank = rank;
            add({variant, {}, 0, 1}, strategy);
        }
        // Few words make look-ups cheaper than rows; one subspace lies in several heads.
        strategy.kind = StrategyKind::vq;
        for (auto const& [subspaces, bits] : {std::pair{1U, 4U}, {3U, 1U}, {4U, 4U}, {4U, 8U}}) {
            if (d % subspaces != 0 || (!plain && bits == 8)) continue;
            strategy.value_type = bits == 4 ? ValueType::int8 : ValueType::fp16;
            strategy.subspaces = subspaces;
            strategy.code_bits = bits;
            add({variant, {}, 0, 1}, strategy);
        }
    }
}

/// Calls add(variant, strategy) for pools of several sizes, index widths and key places.
template <class Add>
void add_collective(model::SimShape const& shape, Add const& add) {
    struct Pool {
        std::uint32_t d_u, m, index_bytes;
    };
    bool const twin = shape.kind == model::ModelKind::twin;
    kv::StrategyParams strategy;
    strategy.kind = kv::StrategyKind::collective;
    std::uint32_t const d = shape.attention_dim;
    for (auto const type : {kv::ValueType::fp32, kv::ValueType::fp16, kv::ValueType::int8}) {
        strategy.value_type = type;
        for (auto const& [d_u, m, index_bytes] :
             {Pool{0, 1, 1}, Pool{1, 17, 1}, Pool{3, 300, 2}, Pool{d - 1, 6, 4}}) {
            if (d_u >= d) continue;
            for (auto const scope : {model::Scope::released, model::Scope::all}) {
                if (shape.kind == model::ModelKind::sdim && scope == model::Scope::all) continue;
                for (auto const keying : {kv::Keying::user_token, kv::Keying::item}) {
                    for (auto const keys : {kv::SearchKeys::stored, kv::SearchKeys::item_table}) {
                        bool const packed = type == kv::ValueType::int8;
                        if (twin && keys == kv::SearchKeys::item_table) continue;
                        if (packed && (d_u != 1 || keys != kv::SearchKeys::stored)) continue;
                        strategy.index_bytes = index_bytes;
                        strategy.keying = keying;
                        strategy.search_keys = keys;
                        add({model::Variant::collective, scope, d_u, m}, strategy);
                    }
                }
            }
        }
    }
}

/// Calls add(variant, strategy) for pools of K or V alone.
template <class Add>
void add_one_sided(model::SimShape const& shape, Add const& add) {
    struct Pool {
        std::uint32_t d_u, m, index_bytes;
    };
    bool const searches = shape.has_search_keys() || shape.bucket_hashes() > 0;
    kv::StrategyParams strategy;
    strategy.kind = kv::StrategyKind::collective;
    for (auto const type : {kv::ValueType::fp32, kv::ValueType::fp16, kv::ValueType::int8}) {
        strategy.value_type = type;
        for (auto const& [d_u, m, index_bytes] : {Pool{0, 6, 4}, Pool{1, 17, 1}, Pool{3, 300, 2}}) {
            if (d_u >= shape.attention_dim) continue;
            for (auto const sides : {model::Sides::k, model::Sides::v}) {
                for (auto const keying : {kv::Keying::user_token, kv::Keying::item}) {
                    auto const scope =
                        d_u == 0 || shape.kind == model::ModelKind::sdim ? model::Scope::released
                                                                         : model::Scope::all;
                    strategy.index_bytes = index_bytes;
                    strategy.keying = keying;
                    strategy.search_keys = searches && d_u == 3 ? kv::SearchKeys::item_table
                                                                : kv::SearchKeys::stored;
                    add({model::Variant::collective, scope, d_u, m, sides}, strategy);
                }
            }
        }
    }
}

/// Every (variant, strategy) pair that applies, over value types, index widths and key places.
inline std::vector<BackendCase> backend_cases(model::SimShape const& shape) {
    using kv::StrategyKind;
    using model::Variant;
    std::vector<BackendCase> cases;
    auto const add = [&](model::VariantParams const& variant, kv::StrategyParams const& strategy) {
        std::string name = model::to_string(shape.kind) + "/" + model::weights_stem(variant) + "/" +
                           kv::to_string(strategy.kind) + "/" + kv::to_string(strategy.value_type);
        if (strategy.kind == StrategyKind::collective) {
            name += "/" + kv::to_string(strategy.keying) + "/idx" +
                    std::to_string(strategy.index_bytes) + "/" +
                    kv::to_string(strategy.search_keys);
        } else if (strategy.kind == StrategyKind::low_rank) {
            name += "/r" + std::to_string(strategy.rank);
        } else if (strategy.kind == StrategyKind::vq) {
            name +=
                "/" + std::to_string(strategy.subspaces) + "x" + std::to_string(strategy.code_bits);
        }
        cases.push_back(
            {name + "/d" + std::to_string(shape.attention_dim), shape, variant, strategy});
    };
    for (auto const variant : {Variant::mean_pool, Variant::no_history}) {
        kv::StrategyParams strategy;
        strategy.kind = StrategyKind::recompute;
        add({variant, {}, 0, 1}, strategy);
    }
    add_full_weights(shape, add);
    add_collective(shape, add);
    add_one_sided(shape, add);
    return cases;
}

/// The same for HSTU; some shapes with one layer and with the most.
inline model::SimShape hstu_of(model::SimShape shape, std::uint32_t layers = 2) {
    shape.kind = model::ModelKind::hstu;
    shape.layers = layers;
    return shape;
}
inline std::vector<model::SimShape> stack_shapes() {
    model::SimShape one_head = tiny_shape();
    one_head.heads = 1;
    one_head.attention_dim = 2;
    return {hstu_of(tiny_shape()), hstu_of(even_shape()), hstu_of(odd_shape()),
            hstu_of(one_head, 1), hstu_of(tiny_shape(), model::kMaxLayers)};
}

/// Every (variant, strategy) pair that HSTU is served with.
inline std::vector<BackendCase> stack_cases(model::SimShape const& shape) {
    using kv::StrategyKind;
    std::vector<BackendCase> cases;
    auto const add = [&](model::VariantParams const& variant, kv::StrategyParams const& strategy) {
        cases.push_back({model::weights_stem(variant) + "/" + kv::to_string(strategy.kind) + "/" +
                             kv::to_string(strategy.value_type) + "/idx" +
                             std::to_string(strategy.index_bytes) + "/layers" +
                             std::to_string(shape.layers) + "/d" +
                             std::to_string(shape.attention_dim),
                         shape, variant, strategy});
    };
    kv::StrategyParams strategy;
    strategy.kind = StrategyKind::recompute;
    for (auto const variant :
         {model::Variant::mean_pool, model::Variant::no_history, model::Variant::full})
        add({variant, {}, 0, 1}, strategy);
    for (auto const type :
         {kv::ValueType::fp32, kv::ValueType::fp16, kv::ValueType::int4, kv::ValueType::int8}) {
        strategy.kind = StrategyKind::full;
        strategy.value_type = type;
        add({model::Variant::full, {}, 0, 1}, strategy);
        if (type == kv::ValueType::int4) continue;
        strategy.kind = StrategyKind::collective;
        std::uint32_t const d = shape.attention_dim;
        struct Pool {
            std::uint32_t d_u, m, index_bytes;
        };
        for (auto const& [d_u, m, index_bytes] :
             {Pool{0, 1, 1}, Pool{1, 17, 1}, Pool{3, 300, 2}, Pool{d - 1, 6, 4}}) {
            if (d_u >= d) continue;
            strategy.index_bytes = index_bytes;
            add({model::Variant::collective, model::Scope::all, d_u, m}, strategy);
            if (m == 6) continue;
            for (auto const sides : {model::Sides::k, model::Sides::v})
                add({model::Variant::collective, model::Scope::all, d_u, m, sides}, strategy);
        }
    }
    return cases;
}

/// HSTU with what is fitted to tokens: axes and codebooks, few and many.
inline std::vector<BackendCase> stack_code_cases(model::SimShape const& shape) {
    std::vector<BackendCase> cases;
    std::uint32_t const d = shape.attention_dim;
    kv::StrategyParams strategy;
    strategy.kind = kv::StrategyKind::low_rank;
    auto const add = [&](std::string const& what) {
        cases.push_back({kv::to_string(strategy.kind) + what + "/layers" +
                             std::to_string(shape.layers) + "/d" + std::to_string(d),
                         shape,
                         {model::Variant::full, {}, 0, 1},
                         strategy});
    };
    for (auto const type : {kv::ValueType::fp32, kv::ValueType::fp16}) {
        strategy.value_type = type;
        for (std::uint32_t const rank : {1U, std::min(5U, d), d}) {
            strategy.rank = rank;
            add("/" + kv::to_string(type) + "/r" + std::to_string(rank));
        }
    }
    strategy.kind = kv::StrategyKind::vq;
    for (auto const& [subspaces, bits] :
         {std::pair{1U, 3U}, std::pair{d % 8 == 0 ? 8U : 1U, 8U}, std::pair{d, 4U}}) {
        // Nothing but codes is kept, whatever the type.
        strategy.value_type = bits == 4 ? kv::ValueType::int8 : kv::ValueType::fp32;
        strategy.subspaces = subspaces;
        strategy.code_bits = bits;
        add("/" + std::to_string(subspaces) + "x" + std::to_string(bits));
    }
    return cases;
}

inline std::shared_ptr<model::SimWeights const> case_weights(BackendCase const& c,
                                                             workload::Catalogue const& catalogue,
                                                             std::uint64_t seed = 5) {
    return std::make_shared<model::SimWeights const>(
        model::random_sim_weights(c.shape, c.variant, catalogue, 3, seed));
}

/// `count` items in [1, items], some of them repeated.
inline std::vector<ItemId> random_history(std::size_t count, std::uint32_t items,
                                          std::uint64_t stream) {
    CounterRng rng(1, Purpose::test, stream, 9);
    std::vector<ItemId> history(count);
    for (ItemId& item : history) item = 1 + rng.below(items);
    return history;
}

/// Histories of 1 to 45 tokens that codes of HSTU are fitted to.
inline std::vector<std::vector<ItemId>> fitted_histories(std::uint32_t items) {
    std::vector<std::vector<ItemId>> histories;
    for (std::uint64_t h = 0; h < 30; ++h)
        histories.push_back(random_history(1 + h * 17 % 45, items, 100 + h));
    return histories;
}

}  // namespace ckvsim::test
