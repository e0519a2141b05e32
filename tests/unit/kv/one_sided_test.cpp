// Pools of K or V alone: what entries and shared tables hold, counted by hand and in both columns.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kv/strategy.hpp"
#include "ledger_fixtures.hpp"

namespace ckvsim::kv {
namespace {

using model::ModelKind;
using model::Scope;
using model::Sides;
using model::Variant;
using model::VariantParams;
using test::ledger::catalogue;
using test::ledger::shape;

constexpr std::size_t kLong = 1000;  ///< n
constexpr std::size_t kShort = 49;

VariantParams pools(Sides sides, Scope scope, std::uint32_t d_u = 2) {
    return {Variant::collective, scope, d_u, 50, sides};
}

StrategyParams of(StrategyKind kind, ValueType type = ValueType::fp32) {
    StrategyParams s;
    s.kind = kind;
    s.value_type = type;
    return s;
}

model::SimShape wide_shape() {
    model::SimShape s;
    s.attention_dim = 256;  // d
    s.search_dim = 64;      // d_s
    s.max_tokens = kLong;
    return s;
}

std::size_t payload(VariantParams const& v, StrategyParams const& s, std::uint32_t tokens) {
    return EntryLayout(wide_shape(), v, s).payload_bytes(tokens);
}

/// d = 256, d_u, 2-byte indices: what one side of one token costs with a pool and without.
struct SideBytes {
    std::size_t code, row;
};
SideBytes side_bytes(ValueType type, std::uint32_t d_u) {
    switch (type) {
        case ValueType::fp32:
            return {2 + 4 * d_u, 4 * 256};
        case ValueType::fp16:
            return {2 + 2 * d_u, 2 * 256};
        default:  // int8: scale and zero with the row, user values are halves
            return {2 + 2 * d_u, 256 + 4};
    }
}

// Hand count in both columns: what K moves into codes and what V keeps, and the other way round.
TEST(OneSidedLayout, PoolsKeepRowsOfTheOtherSide) {
    for (auto const type : {ValueType::fp32, ValueType::fp16, ValueType::int8}) {
        auto const s = of(StrategyKind::collective, type);
        auto const [code, row] = side_bytes(type, 3);
        std::size_t const key = type == ValueType::int8 ? 64 + 4 : 64 * value_bytes(type);
        for (auto const sides : {Sides::k, Sides::v}) {
            auto variant = pools(sides, Scope::all, 3);
            for (std::uint32_t const n : {1U, 49U, 1000U}) {
                std::size_t const recent = std::min<std::size_t>(n, kShort);
                EXPECT_EQ(payload(variant, s, n),
                          recent * (code + row) + n * key + n * (code + row));
            }
            variant.scope = Scope::released;
            EXPECT_EQ(payload(variant, s, kLong),
                      kShort * (code + row) + kLong * key + kLong * 2 * row);
            EntryLayout const layout(wide_shape(), variant, s);
            bool const k = sides == Sides::k;
            EXPECT_EQ(layout.bytes_per_token(Section::short_k), k ? 0 : row);
            EXPECT_EQ(layout.bytes_per_token(Section::short_v), k ? row : 0);
            EXPECT_EQ(layout.bytes_per_token(Section::short_k_index), k ? 2U : 0U);
            EXPECT_EQ(layout.bytes_per_token(Section::short_v_index), k ? 0U : 2U);
            EXPECT_EQ(layout.bytes_per_token(Section::short_k_user), k ? code - 2 : 0);
            EXPECT_EQ(layout.bytes_per_token(Section::short_v_user), k ? 0 : code - 2);
        }
    }
}

// Double entry: K alone and V alone together hold what both and neither hold together.
TEST(OneSidedLayout, PoolsAddUpToBothAndNeither) {
    for (auto const kind :
         {ModelKind::sim, ModelKind::twin, ModelKind::eta, ModelKind::sdim, ModelKind::hstu}) {
        auto of_model = wide_shape();
        of_model.kind = kind;
        if (kind == ModelKind::sdim) of_model.hash_bits = 3;
        auto const scope = kind == ModelKind::sdim ? Scope::released : Scope::all;
        for (auto const type : {ValueType::fp32, ValueType::fp16, ValueType::int8}) {
            auto const bytes = [&](Sides sides, Section section) {
                EntryLayout const layout(of_model, pools(sides, scope),
                                         of(StrategyKind::collective, type), 3);
                return layout.payload_bytes(kLong, section);
            };
            EntryLayout const full(of_model, {}, of(StrategyKind::full, type), 3);
            std::size_t differing = 0;
            for (std::size_t s = 0; s < kSections; ++s) {
                auto const section = static_cast<Section>(s);
                std::size_t const k = bytes(Sides::k, section);
                std::size_t const v = bytes(Sides::v, section);
                EXPECT_EQ(k + v, bytes(Sides::both, section) + full.payload_bytes(kLong, section))
                    << to_string(kind) << " " << to_string(section);
                differing += k != v ? 1 : 0;
            }
            // Row, index and user part of K and V, per site or layer.
            EXPECT_EQ(differing, kind == ModelKind::sdim ? 6U : 12U);
        }
    }
}

TEST(OneSidedLayout, CodesOfItemsLeaveIdsAlone) {
    auto by_item = of(StrategyKind::collective);
    by_item.keying = Keying::item;
    for (auto const sides : {Sides::k, Sides::v})
        EXPECT_EQ(payload(pools(sides, Scope::all), by_item, kLong), 4 * kLong);
}

std::map<std::string, std::size_t> shared(VariantParams const& v, StrategyParams const& s,
                                          ModelKind model = ModelKind::sim) {
    std::map<std::string, std::size_t> parts;
    model::SimShape of_model = shape();
    of_model.kind = model;
    if (model == ModelKind::sdim) of_model.hash_bits = 3;
    for (auto const& part : shared_bytes(of_model, v, s, catalogue(), 5)) {
        EXPECT_TRUE(parts.emplace(part.what, part.bytes).second) << part.what << " twice";
        EXPECT_GT(part.bytes, 0U);
    }
    return parts;
}

// Embeddings: (100 + 11) rows of 8 and 5 contexts of 3 floats. Tower: 3 * 16 + 3 = 51 inputs.
constexpr std::size_t kEmbeddings = (111 * 8 + 5 * 3) * 4;
constexpr std::size_t kTower = ((51 + 1) * 20 + (20 + 1) * 10 + (10 + 1) * 1) * 4;

TEST(OneSidedShared, HasPoolAndRouterOfThatSideAlone) {
    // Short: wq, wo, the user part of K and wv; long: wq, wo, wk, wv.
    std::map<std::string, std::size_t> const keys = {
        {"embeddings", kEmbeddings},
        {"tower", kTower},
        {"projections", (3 * 32 * 16 + 2 * 16 + 2 * 4 * 16 + 4 * 32 * 16) * 4},
        {"router", 50 * 16 * 4},
        {"short.k.pool", 50 * 30 * 4}};
    EXPECT_EQ(shared(pools(Sides::k, Scope::released), of(StrategyKind::collective)), keys);
    auto values = keys;
    values.erase("short.k.pool");
    values["short.v.pool"] = values["long.v.pool"] = 50 * 30 * 4;
    values["projections"] = (2 * (3 * 32 * 16 + 2 * 16) + 2 * 4 * 16) * 4;
    values["router"] = 2 * 50 * 16 * 4;
    EXPECT_EQ(shared(pools(Sides::v, Scope::all), of(StrategyKind::collective)), values);
}

// Double entry: K alone and V alone together need what both and neither need together.
TEST(OneSidedShared, PoolsAddUpToBothAndNeither) {
    for (auto const model :
         {ModelKind::sim, ModelKind::twin, ModelKind::eta, ModelKind::sdim, ModelKind::hstu}) {
        for (auto const keying : {Keying::user_token, Keying::item}) {
            if (model == ModelKind::hstu && keying == Keying::item) continue;
            auto strategy = of(StrategyKind::collective, ValueType::fp16);
            strategy.keying = keying;
            auto const scope = model == ModelKind::sdim ? Scope::released : Scope::all;
            auto none = of(keying == Keying::item ? StrategyKind::item_table : StrategyKind::full,
                           ValueType::fp16);
            auto left = shared(pools(Sides::k, scope), strategy, model);
            for (auto const& [what, bytes] : shared(pools(Sides::v, scope), strategy, model))
                left[what] += bytes;
            auto right = shared(pools(Sides::both, scope), strategy, model);
            for (auto const& [what, bytes] : shared({}, none, model)) right[what] += bytes;
            EXPECT_EQ(left, right) << to_string(model) << " " << to_string(keying);
        }
    }
}

TEST(OneSidedRatios, CountTheRowsOfTheOther) {
    model::SimShape s = shape();
    s.attention_dim = 256;
    for (auto const sides : {Sides::k, Sides::v}) {
        auto const of_side = ratios(s, pools(sides, Scope::all), of(StrategyKind::collective),
                                    catalogue(), 1, 1000, 1e6);
        // Of 512 values a token: an index and d_u = 2 values of one side, all of the other.
        EXPECT_EQ(of_side.paper, (1 + 2 + 256) / 512.0);
        double const full = 49 * 2 * 1024 + 1000 * 16 + 1000 * 2 * 1024;
        double const mine = 49 * (10 + 1024) + 1000 * 16 + 1000 * (10 + 1024);
        EXPECT_DOUBLE_EQ(of_side.real, mine / full);
    }
}

}  // namespace
}  // namespace ckvsim::kv
