// Arms that cost differently must not share measured costs.
#include "decode/cost_key.hpp"

#include <gtest/gtest.h>

#include <set>

namespace ckvsim::decode {
namespace {

TEST(CostKey, TellsStoredFormsApart) {
    using kv::StrategyKind;
    using kv::ValueType;
    std::set<std::string> keys;
    std::size_t made = 0;
    auto const add = [&](kv::StrategyParams const& strategy) {
        keys.insert(cost_key({}, {}, strategy, 2));
        EXPECT_EQ(keys.size(), ++made) << cost_key({}, {}, strategy, 2);
    };
    kv::StrategyParams strategy;
    for (auto const type : {ValueType::fp32, ValueType::fp16, ValueType::int8, ValueType::int4}) {
        strategy.value_type = type;
        add(strategy);
    }
    strategy.value_type = ValueType::fp16;
    strategy.kind = StrategyKind::low_rank;
    for (std::uint32_t const rank : {1U, 8U}) {
        strategy.rank = rank;
        add(strategy);
    }
    strategy.kind = StrategyKind::vq;
    for (std::uint32_t const subspaces : {1U, 8U}) {
        for (std::uint32_t const bits : {4U, 8U}) {
            strategy.subspaces = subspaces;
            strategy.code_bits = bits;
            add(strategy);
        }
    }
}

TEST(CostKey, LeavesOutWhatAStrategyDoesNotUse) {
    kv::StrategyParams full;
    auto other = full;
    other.rank = 3;
    other.subspaces = 5;
    other.code_bits = 2;
    EXPECT_EQ(cost_key({}, {}, full, 2), cost_key({}, {}, other, 2));
}

TEST(CostKey, OfEtaNamesTheBitsOfItsSignatures) {
    model::SimShape shape;
    shape.kind = model::ModelKind::eta;
    auto other = shape;
    other.search_dim = 2;
    EXPECT_EQ(cost_key(shape, {}, {}, 2), cost_key(other, {}, {}, 2));
    EXPECT_TRUE(cost_key(shape, {}, {}, 2).starts_with("eta/"));
    other.hash_bits = 64;
    EXPECT_NE(cost_key(shape, {}, {}, 2), cost_key(other, {}, {}, 2));
    model::VariantParams pools;
    pools.variant = model::Variant::collective;
    kv::StrategyParams stored;
    stored.kind = kv::StrategyKind::collective;
    auto table = stored;
    table.search_keys = kv::SearchKeys::item_table;
    EXPECT_NE(cost_key(shape, pools, stored, 2), cost_key(shape, pools, table, 2));
}

TEST(CostKey, OfSdimNamesItsHashesAndNoChoiceOfTokens) {
    model::SimShape shape;
    shape.kind = model::ModelKind::sdim;
    shape.hash_bits = 3;
    auto other = shape;
    other.top_k = 7;
    other.search_dim = 2;
    EXPECT_EQ(cost_key(shape, {}, {}, 2), cost_key(other, {}, {}, 2));
    EXPECT_TRUE(cost_key(shape, {}, {}, 2).starts_with("sdim/"));
    std::set<std::string> keys = {cost_key(shape, {}, {}, 2)};
    other.hash_bits = 4;
    keys.insert(cost_key(other, {}, {}, 2));
    other.hashes = 8;
    keys.insert(cost_key(other, {}, {}, 2));
    other.kind = model::ModelKind::eta;
    keys.insert(cost_key(other, {}, {}, 2));
    EXPECT_EQ(keys.size(), 4U);
    model::VariantParams pools;
    pools.variant = model::Variant::collective;
    kv::StrategyParams stored;
    stored.kind = kv::StrategyKind::collective;
    auto table = stored;
    table.search_keys = kv::SearchKeys::item_table;
    EXPECT_NE(cost_key(shape, pools, stored, 2), cost_key(shape, pools, table, 2));
}

TEST(CostKey, NamesTheSideOfAPoolOnOneSideAlone) {
    model::VariantParams pools;
    pools.variant = model::Variant::collective;
    kv::StrategyParams stored;
    stored.kind = kv::StrategyKind::collective;
    std::set<std::string> keys;
    for (auto const sides : {model::Sides::both, model::Sides::k, model::Sides::v}) {
        pools.sides = sides;
        keys.insert(cost_key({}, pools, stored, 2));
        EXPECT_EQ(cost_key({}, pools, stored, 2).find("sides=") == std::string::npos,
                  sides == model::Sides::both)
            << "calibrations from before there was a choice stay valid";
    }
    EXPECT_EQ(keys.size(), 3U);
}

TEST(CostKey, OfHstuNamesItsLayersAndNothingOfASearch) {
    model::SimShape shape;
    shape.kind = model::ModelKind::hstu;
    auto other = shape;
    other.top_k = 3;
    other.short_tokens = 5;
    other.search_dim = 2;
    EXPECT_EQ(cost_key(shape, {}, {}, 2), cost_key(other, {}, {}, 2));
    other = shape;
    other.layers = 3;
    EXPECT_NE(cost_key(shape, {}, {}, 2), cost_key(other, {}, {}, 2));
    other.kind = model::ModelKind::twin;
    EXPECT_NE(cost_key(shape, {}, {}, 2), cost_key(other, {}, {}, 2));
}

}  // namespace
}  // namespace ckvsim::decode
