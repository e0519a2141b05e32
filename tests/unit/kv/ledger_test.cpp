// Shared bytes against sums made by hand, and the two ratios.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/error.hpp"
#include "kv/strategy.hpp"
#include "ledger_fixtures.hpp"

namespace ckvsim::kv {
namespace {

using model::ModelKind;
using model::Scope;
using model::Variant;
using model::VariantParams;
using test::ledger::catalogue;
using test::ledger::shape;
using testing::HasSubstr;

VariantParams collective(Scope scope, std::uint32_t d_u = 2, std::uint32_t m = 50) {
    VariantParams v;
    v.variant = Variant::collective;
    v.scope = scope;
    v.d_u = d_u;
    v.m = m;
    return v;
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

StrategyParams of(StrategyKind kind, ValueType type = ValueType::fp32) {
    StrategyParams s;
    s.kind = kind;
    s.value_type = type;
    return s;
}

// Embeddings: (100 + 11) rows of 8 and 5 contexts of 3 floats. Tower: 3 * 16 + 3 = 51 inputs.
constexpr std::size_t kEmbeddings = (111 * 8 + 5 * 3) * 4;
constexpr std::size_t kTower = ((51 + 1) * 20 + (20 + 1) * 10 + (10 + 1) * 1) * 4;
// Per site wq, wo, wk, wv of 32 x 16; two search maps of 4 x 16.
constexpr std::size_t kFullProjections = (2 * 4 * 32 * 16 + 2 * 4 * 16) * 4;

TEST(SharedBytes, FullAndRecompute) {
    std::map<std::string, std::size_t> const expected = {
        {"embeddings", kEmbeddings}, {"tower", kTower}, {"projections", kFullProjections}};
    EXPECT_EQ(shared({}, of(StrategyKind::full)), expected);
    EXPECT_EQ(shared({}, of(StrategyKind::full, ValueType::fp16)), expected)
        << "weights stay fp32; the value type is that of stored K and V";
    EXPECT_EQ(shared({}, of(StrategyKind::recompute)), expected);
}

TEST(SharedBytes, ItemTableGrowsWithTheCatalogue) {
    std::map<std::string, std::size_t> const expected = {
        {"embeddings", kEmbeddings},          {"tower", kTower},
        {"projections", kFullProjections},    {"item_table.short.k", 100 * 32 * 2},
        {"item_table.short.v", 100 * 32 * 2}, {"item_table.long.k", 100 * 32 * 2},
        {"item_table.long.v", 100 * 32 * 2},  {"item_table.search", 100 * 4 * 2}};
    EXPECT_EQ(shared({}, of(StrategyKind::item_table, ValueType::fp16)), expected);
}

TEST(SharedBytes, CollectivePerUserToken) {
    // Released scope: the short site has pool, router and user maps, the long one full maps.
    std::map<std::string, std::size_t> const released = {
        {"embeddings", kEmbeddings},
        {"tower", kTower},
        {"projections", (2 * 2 * 32 * 16 + 2 * 4 * 16 + 2 * 2 * 16 + 2 * 32 * 16) * 4},
        {"router", 2 * 50 * 16 * 4},
        {"short.k.pool", 50 * 30 * 4},
        {"short.v.pool", 50 * 30 * 4}};
    EXPECT_EQ(shared(collective(Scope::released), of(StrategyKind::collective)), released);
    auto all = released;
    all["projections"] = (2 * 2 * 32 * 16 + 2 * 4 * 16 + 2 * 2 * 2 * 16) * 4;
    all["router"] = 4 * 50 * 16 * 4;
    all["long.k.pool"] = all["long.v.pool"] = 50 * 30 * 4;
    EXPECT_EQ(shared(collective(Scope::all), of(StrategyKind::collective)), all);
    auto with_table = of(StrategyKind::collective);
    with_table.search_keys = SearchKeys::item_table;
    all["item_table.search"] = 100 * 4 * 4;
    EXPECT_EQ(shared(collective(Scope::all), with_table), all);
}

TEST(SharedBytes, CollectivePerItemMovesTheCodesIntoATable) {
    auto by_item = of(StrategyKind::collective, ValueType::fp16);
    by_item.keying = Keying::item;
    by_item.index_bytes = 1;
    auto const parts = shared(collective(Scope::released), by_item);
    for (std::string const side : {"k", "v"}) {
        EXPECT_EQ(parts.at("item_table.short." + side + ".index"), 100U * 1);
        EXPECT_EQ(parts.at("item_table.short." + side + ".user"), 100U * 2 * 2);
        EXPECT_EQ(parts.at("short." + side + ".pool"), 50U * 30 * 2);
        EXPECT_EQ(parts.at("item_table.long." + side), 100U * 32 * 2)
            << "full rows outside the scope";
    }
    EXPECT_EQ(parts.at("item_table.search"), 100U * 4 * 2);
}

TEST(SharedBytes, TwinHasNothingOfASearch) {
    std::map<std::string, std::size_t> const expected = {
        {"embeddings", kEmbeddings},          {"tower", kTower},
        {"projections", 2 * 4 * 32 * 16 * 4}, {"item_table.short.k", 100 * 32 * 4},
        {"item_table.short.v", 100 * 32 * 4}, {"item_table.long.k", 100 * 32 * 4},
        {"item_table.long.v", 100 * 32 * 4}};
    EXPECT_EQ(shared({}, of(StrategyKind::item_table), ModelKind::twin), expected);
    auto by_item = of(StrategyKind::collective);
    by_item.keying = Keying::item;
    auto const parts = shared(collective(Scope::all), by_item, ModelKind::twin);
    EXPECT_FALSE(parts.contains("item_table.search"));
    EXPECT_EQ(parts.at("projections"), (2U * 2 * 32 * 16 + 2 * 2 * 2 * 16) * 4);
}

TEST(SharedBytes, EtaHasHyperplanesAndSignaturesOfItems) {
    // 32 bits by default. Candidates and tokens are signed by the same planes.
    std::map<std::string, std::size_t> expected = {{"embeddings", kEmbeddings},
                                                   {"tower", kTower},
                                                   {"projections", (2 * 4 * 32 + 32) * 16 * 4}};
    EXPECT_EQ(shared({}, of(StrategyKind::full), ModelKind::eta), expected);
    EXPECT_EQ(shared({}, of(StrategyKind::recompute), ModelKind::eta), expected);
    for (auto const type : {ValueType::fp32, ValueType::int4}) {
        EXPECT_EQ(
            shared({}, of(StrategyKind::item_table, type), ModelKind::eta).at("item_table.search"),
            100U * 4)
            << "bits, whatever the type";
    }
    auto pooled = of(StrategyKind::collective);
    EXPECT_FALSE(
        shared(collective(Scope::all), pooled, ModelKind::eta).contains("item_table.search"));
    pooled.search_keys = SearchKeys::item_table;
    EXPECT_EQ(shared(collective(Scope::all), pooled, ModelKind::eta).at("item_table.search"),
              100U * 4);
}

TEST(SharedBytes, SdimHasPlanesAndBucketsOfItemsAndNoLongSite) {
    // 16 hashes of 3 bits; wq, wo, wk, wv of the short site alone.
    std::map<std::string, std::size_t> expected = {{"embeddings", kEmbeddings},
                                                   {"tower", kTower},
                                                   {"projections", (4 * 32 + 16 * 3) * 16 * 4}};
    EXPECT_EQ(shared({}, of(StrategyKind::full), ModelKind::sdim), expected);
    EXPECT_EQ(shared({}, of(StrategyKind::recompute), ModelKind::sdim), expected);
    expected["item_table.short.k"] = expected["item_table.short.v"] = 100 * 32 * 2;
    expected["item_table.signatures"] = 100 * 16;
    EXPECT_EQ(shared({}, of(StrategyKind::item_table, ValueType::fp16), ModelKind::sdim), expected);
    auto pooled = of(StrategyKind::collective);
    auto const pools = collective(Scope::released);
    std::map<std::string, std::size_t> const stored = {
        {"embeddings", kEmbeddings},
        {"tower", kTower},
        {"projections", (2 * 32 + 2 * 2 + 16 * 3) * 16 * 4},
        {"router", 2 * 50 * 16 * 4},
        {"short.k.pool", 50 * 30 * 4},
        {"short.v.pool", 50 * 30 * 4}};
    EXPECT_EQ(shared(pools, pooled, ModelKind::sdim), stored);
    pooled.search_keys = SearchKeys::item_table;
    EXPECT_EQ(shared(pools, pooled, ModelKind::sdim).at("item_table.signatures"), 100U * 16);
    auto low = of(StrategyKind::low_rank);
    low.rank = 4;
    auto const fitted = shared({}, low, ModelKind::sdim);
    EXPECT_TRUE(fitted.contains("short.k.basis"));
    EXPECT_FALSE(fitted.contains("long.k.basis"));
}

TEST(Refusal, SdimIsServedByWhateverServesSimButPoolsInItsLongBranch) {
    for (auto const kind : {StrategyKind::recompute, StrategyKind::full, StrategyKind::item_table,
                            StrategyKind::low_rank, StrategyKind::vq})
        EXPECT_FALSE(refusal(of(kind), {}, ModelKind::sdim)) << to_string(kind);
    for (auto const type : {ValueType::int8, ValueType::int4})
        EXPECT_FALSE(refusal(of(StrategyKind::full, type), {}, ModelKind::sdim));
    auto table = of(StrategyKind::collective, ValueType::int8);
    table.search_keys = SearchKeys::item_table;
    EXPECT_FALSE(refusal(table, collective(Scope::released), ModelKind::sdim));
    EXPECT_THAT(refusal(table, collective(Scope::all), ModelKind::sdim).value(),
                HasSubstr("its long branch keeps no K and V"));
}

TEST(Ratios, OfSdimCountTheSumsOfBothSides) {
    auto s = shape();
    s.kind = ModelKind::sdim;
    s.hash_bits = 3;
    // Full fp32 keeps 128 rows of 16 values, an id a token and 49 short tokens of 2 x 32 values.
    double const full = 128 * 16 * 4 + 100 * 4 + 49 * 2 * 32 * 4;
    auto const halves =
        ratios(s, {}, of(StrategyKind::full, ValueType::fp16), catalogue(), 5, 100, 1e6);
    EXPECT_NEAR(halves.real, (full + 100 * 4) / 2 / full, 1e-12);
    auto const table = ratios(s, {}, of(StrategyKind::item_table), catalogue(), 5, 100, 1e6);
    EXPECT_NEAR(table.real, 400 / full, 1e-12);
}

TEST(Refusal, EtaIsServedByWhateverServesSim) {
    for (auto const kind : {StrategyKind::recompute, StrategyKind::full, StrategyKind::item_table,
                            StrategyKind::low_rank, StrategyKind::vq}) {
        EXPECT_FALSE(refusal(of(kind), {}, ModelKind::eta)) << to_string(kind);
        EXPECT_TRUE(refusal(of(kind), collective(Scope::all), ModelKind::eta)) << to_string(kind);
    }
    for (auto const type : {ValueType::int8, ValueType::int4})
        EXPECT_FALSE(refusal(of(StrategyKind::full, type), {}, ModelKind::eta));
    auto table = of(StrategyKind::collective, ValueType::int8);
    table.search_keys = SearchKeys::item_table;
    EXPECT_FALSE(refusal(table, collective(Scope::all), ModelKind::eta));
}

TEST(SharedBytes, TablesAndPoolsOfQuantisedRows) {
    auto const table = shared({}, of(StrategyKind::item_table, ValueType::int4));
    EXPECT_EQ(table.at("item_table.short.k"), 100U * (16 + 4));
    EXPECT_EQ(table.at("item_table.search"), 100U * (4 + 4)) << "int8 keys";
    auto by_item = of(StrategyKind::collective, ValueType::int8);
    by_item.keying = Keying::item;
    auto const parts = shared(collective(Scope::released), by_item);
    EXPECT_EQ(parts.at("short.k.pool"), 50U * (30 + 4));
    EXPECT_EQ(parts.at("item_table.short.v.user"), 100U * 2 * 2) << "fp16 user parts";
    EXPECT_EQ(parts.at("item_table.long.k"), 100U * (32 + 4));
}

TEST(SharedBytes, LowRankKeepsBasesAndVqCodebooks) {
    auto low = of(StrategyKind::low_rank, ValueType::fp16);
    low.rank = 5;
    auto const bases = shared({}, low);
    EXPECT_EQ(bases.at("projections"), kFullProjections);
    for (std::string const site : {"short", "long"}) {
        EXPECT_EQ(bases.at(site + ".k.basis"), (32U * 5 + 32) * 4) << "axes and mean";
        EXPECT_EQ(bases.at(site + ".v.basis"), (2U * 32 * 5 + 32) * 4) << "axes for outputs, too";
    }
    EXPECT_EQ(bases.size(), 7U);
    auto vq = of(StrategyKind::vq);
    vq.subspaces = 4;
    vq.code_bits = 6;
    EXPECT_EQ(shared({}, vq).at("long.v.codebook"), 64U * (2 * 32 + 4) * 4);
    vq.code_bits = 8;
    EXPECT_EQ(shared({}, vq).at("long.v.codebook"), 99U * (2 * 32 + 4) * 4) << "a word an item";
    vq.subspaces = 5;
    EXPECT_THROW(shared_bytes(shape(), {}, vq, catalogue(), 5), InternalError);
}

TEST(SharedBytes, HstuHasBasesAndCodebooksOfEveryLayer) {
    auto low = of(StrategyKind::low_rank, ValueType::fp16);
    low.rank = 5;
    auto const bases = shared({}, low, ModelKind::hstu);
    auto vq = of(StrategyKind::vq);
    vq.subspaces = 4;
    vq.code_bits = 6;
    auto const books = shared({}, vq, ModelKind::hstu);
    for (std::string const side : {"layer1.k", "layer1.v", "layer2.k", "layer2.v"}) {
        EXPECT_EQ(bases.at(side + ".basis"), (2U * 32 * 5 + 32) * 4)
            << "axes both ways and mean: rows are put together on either side";
        EXPECT_EQ(books.at(side + ".codebook"), 64U * (2 * 32 + 4) * 4);
    }
    EXPECT_EQ(bases.size(), books.size());
    EXPECT_EQ(bases.size(), shared({}, of(StrategyKind::full), ModelKind::hstu).size() + 4);
}

TEST(SharedBytes, ControlsWithoutAttentionHaveNoProjections) {
    VariantParams none;
    none.variant = Variant::no_history;
    std::map<std::string, std::size_t> const expected = {{"embeddings", kEmbeddings},
                                                         {"tower", kTower}};
    EXPECT_EQ(shared(none, of(StrategyKind::recompute)), expected);
}

Ratios ratios_at(std::uint32_t d_u, ValueType type = ValueType::fp32) {
    model::SimShape s = shape();
    s.attention_dim = 256;
    return ratios(s, collective(Scope::all, d_u, 100), of(StrategyKind::collective, type),
                  catalogue(), 1, 1000, 1e6);
}

TEST(Ratios, ThePapersRatios) {
    // 0.8 %, 1.2 % and 1.6 % as printed in the paper's tables at d = 256.
    EXPECT_NEAR(ratios_at(1).paper, 0.008, 0.0005);
    EXPECT_NEAR(ratios_at(2).paper, 0.012, 0.0005);
    EXPECT_NEAR(ratios_at(3).paper, 0.016, 0.0005);
    EXPECT_EQ(ratios_at(1).paper, 2.0 / 256);
    EXPECT_EQ(ratios_at(1, ValueType::fp16).paper, 2.0 / 256)
        << "the paper counts values, not bytes";
}

TEST(Ratios, TheRealOneCountsEveryStoredByte) {
    // n = 1000, d = 256, d_s = 4: codes of 2 + 4 bytes per side, search keys as in full.
    double const full = 49 * 2 * 1024 + 1000 * 16 + 1000 * 2 * 1024;
    double const mine = 49 * 2 * 6 + 1000 * 16 + 1000 * 2 * 6;
    EXPECT_DOUBLE_EQ(ratios_at(1).real, mine / full);
    EXPECT_GT(ratios_at(1).real, ratios_at(1).paper) << "search keys are not compressed";
    EXPECT_LT(ratios_at(1, ValueType::fp16).real, ratios_at(1).real);
}

TEST(Ratios, OfTwinHaveNoSearchKeysLeft) {
    model::SimShape s = shape();
    s.kind = ModelKind::twin;
    s.attention_dim = 256;
    auto const twin = ratios(s, collective(Scope::all, 1, 100), of(StrategyKind::collective),
                             catalogue(), 1, 1000, 1e6);
    // Every K and V becomes 2 + 4 bytes: 6 of 1,024, beside the paper's 2 of 256.
    EXPECT_DOUBLE_EQ(twin.real, 6.0 / 1024);
    EXPECT_EQ(twin.paper, 2.0 / 256);
}

TEST(Ratios, SharedBytesAreSpreadOverTheUsers) {
    model::SimShape const s = shape();
    auto const total = [&](VariantParams const& v, StrategyParams const& strategy) {
        double bytes = 0.0;
        for (auto const& part : shared_bytes(s, v, strategy, catalogue(), 1))
            bytes += static_cast<double>(part.bytes);
        return bytes;
    };
    auto const v = collective(Scope::all);
    auto const strategy = of(StrategyKind::collective);
    auto const at = [&](double users) {
        return ratios(s, v, strategy, catalogue(), 1, 100, users);
    };
    double const mine = static_cast<double>(EntryLayout(s, v, strategy).payload_bytes(100));
    double const full =
        static_cast<double>(EntryLayout(s, {}, of(StrategyKind::full)).payload_bytes(100));
    EXPECT_DOUBLE_EQ(at(1).real_with_shared,
                     (mine + total(v, strategy)) / (full + total({}, of(StrategyKind::full))));
    EXPECT_NEAR(at(1e12).real_with_shared, at(1).real, 1e-9);
    EXPECT_EQ(ratios(s, {}, of(StrategyKind::full), catalogue(), 1, 100, 10.0).real, 1.0);
    EXPECT_EQ(ratios(s, {}, of(StrategyKind::full), catalogue(), 1, 100, 10.0).paper, 1.0);
    EXPECT_EQ(ratios(s, {}, of(StrategyKind::full), catalogue(), 1, 100, 10.0).real_with_shared,
              1.0);
    EXPECT_THROW(at(0.0), InternalError);
    EXPECT_THROW(ratios(s, v, strategy, catalogue(), 1, 0, 1.0), InternalError);
}

TEST(Refusal, Table) {
    VariantParams full;
    VariantParams silu;
    silu.variant = Variant::full_silu;
    VariantParams pooled;
    pooled.variant = Variant::mean_pool;
    VariantParams none;
    none.variant = Variant::no_history;
    auto const wide = [](std::uint32_t m, std::uint32_t width) {
        auto s = of(StrategyKind::collective);
        s.index_bytes = width;
        return refusal(s, collective(Scope::all, 1, m), ModelKind::sim);
    };
    for (auto const& v : {full, silu}) {
        for (auto const kind : {StrategyKind::recompute, StrategyKind::full,
                                StrategyKind::item_table, StrategyKind::low_rank, StrategyKind::vq})
            EXPECT_FALSE(refusal(of(kind), v, ModelKind::sim)) << to_string(kind);
        for (auto const type : {ValueType::int8, ValueType::int4}) {
            EXPECT_FALSE(refusal(of(StrategyKind::full, type), v, ModelKind::sim));
            EXPECT_FALSE(refusal(of(StrategyKind::item_table, type), v, ModelKind::sim));
            EXPECT_THAT(refusal(of(StrategyKind::low_rank, type), v, ModelKind::sim).value(),
                        HasSubstr("use fp16"));
        }
        EXPECT_FALSE(refusal(of(StrategyKind::vq, ValueType::int8), v, ModelKind::sim));
        EXPECT_THAT(refusal(of(StrategyKind::vq, ValueType::int4), v, ModelKind::sim).value(),
                    HasSubstr("use int8"));
        EXPECT_THAT(refusal(of(StrategyKind::collective), v, ModelKind::sim).value(),
                    HasSubstr("without a pool"));
    }
    EXPECT_FALSE(refusal(of(StrategyKind::collective, ValueType::int8), collective(Scope::all),
                         ModelKind::sim));
    EXPECT_THAT(refusal(of(StrategyKind::collective, ValueType::int4), collective(Scope::all),
                        ModelKind::sim)
                    .value(),
                HasSubstr("is not kept by 'collective'"));
    for (auto const kind : {StrategyKind::recompute, StrategyKind::full, StrategyKind::item_table,
                            StrategyKind::low_rank, StrategyKind::vq})
        EXPECT_THAT(refusal(of(kind), collective(Scope::all), ModelKind::sim).value(),
                    HasSubstr("use strategy 'collective'"));
    EXPECT_FALSE(
        refusal(of(StrategyKind::collective), collective(Scope::released), ModelKind::sim));
    for (auto const& v : {pooled, none}) {
        EXPECT_FALSE(refusal(of(StrategyKind::recompute), v, ModelKind::sim));
        for (auto const kind : {StrategyKind::full, StrategyKind::item_table,
                                StrategyKind::collective, StrategyKind::low_rank, StrategyKind::vq})
            EXPECT_THAT(refusal(of(kind), v, ModelKind::sim).value(),
                        HasSubstr("no keys and values"));
    }
    auto table = of(StrategyKind::collective);
    table.search_keys = SearchKeys::item_table;
    EXPECT_FALSE(refusal(table, collective(Scope::all), ModelKind::sim));
    EXPECT_THAT(refusal(table, collective(Scope::all), ModelKind::twin).value(),
                HasSubstr("there are no search keys"));
    EXPECT_FALSE(wide(256, 1));
    EXPECT_THAT(wide(257, 1).value(), HasSubstr("cannot hold pool index 256"));
    EXPECT_FALSE(wide(65536, 2));
    EXPECT_THAT(wide(65537, 2).value(), HasSubstr("use a wider index"));
    EXPECT_FALSE(wide(65537, 4));
    EXPECT_THAT(wide(10, 3).value(), HasSubstr("allowed: 1, 2, 4"));
    EXPECT_TRUE(wide(0, 2));
}

TEST(Refusal, TwinIsServedWithWhatSimIsServedWith) {
    auto const pools = collective(Scope::all);
    auto const same = [](StrategyParams const& s, VariantParams const& v) {
        return refusal(s, v, ModelKind::twin) == refusal(s, v, ModelKind::sim);
    };
    std::size_t served = 0;
    for (auto const type : {ValueType::fp32, ValueType::fp16, ValueType::int8, ValueType::int4}) {
        for (auto const kind :
             {StrategyKind::recompute, StrategyKind::full, StrategyKind::item_table,
              StrategyKind::low_rank, StrategyKind::vq}) {
            EXPECT_TRUE(same(of(kind, type), {})) << to_string(kind) << " " << to_string(type);
            served += refusal(of(kind, type), {}, ModelKind::twin) ? 0 : 1;
        }
        EXPECT_TRUE(same(of(StrategyKind::collective, type), pools)) << to_string(type);
    }
    EXPECT_EQ(served, 17U) << "all but low_rank of int8 and int4 and vq of int4";
    EXPECT_FALSE(refusal(of(StrategyKind::collective, ValueType::int8), pools, ModelKind::twin));
}

TEST(Refusal, HstuHasNoRowsOfItems) {
    auto const by_item = HasSubstr("depend on the tokens before from the second layer on");
    auto const pools = collective(Scope::all);
    auto const why = [](StrategyParams const& s, VariantParams const& v) {
        return refusal(s, v, ModelKind::hstu).value_or("it applies");
    };
    EXPECT_THAT(why(of(StrategyKind::item_table), {}), by_item);
    auto codes = of(StrategyKind::collective);
    EXPECT_EQ(why(codes, pools), "it applies");
    codes.keying = Keying::item;
    EXPECT_THAT(why(codes, pools), by_item);
    codes.keying = Keying::user_token;
    codes.search_keys = SearchKeys::item_table;
    EXPECT_THAT(why(codes, pools), HasSubstr("nothing is searched"));
    EXPECT_THAT(why(of(StrategyKind::collective), collective(Scope::released)),
                HasSubstr("it has no short branch"));
    for (auto const kind : {StrategyKind::low_rank, StrategyKind::vq}) {
        EXPECT_EQ(why(of(kind), {}), "it applies");
        EXPECT_THAT(why(of(kind), pools), HasSubstr("cannot serve 'collective' weights"));
    }
    EXPECT_THAT(why(of(StrategyKind::low_rank, ValueType::int8), {}), HasSubstr("use fp16"));
    auto mean = of(StrategyKind::full);
    mean.mean_keys = true;
    EXPECT_THAT(why(mean, {}), HasSubstr("no mean of them"));
    for (auto const type : {ValueType::fp32, ValueType::fp16, ValueType::int8, ValueType::int4}) {
        for (auto const kind : {StrategyKind::full, StrategyKind::recompute})
            EXPECT_EQ(why(of(kind, type), {}), "it applies");
    }
    EXPECT_EQ(why(of(StrategyKind::collective, ValueType::int8), pools), "it applies");
    EXPECT_THAT(why(of(StrategyKind::collective, ValueType::int4), pools), HasSubstr("use int8"));
}

TEST(IsExact, OnlyUnroundedAndUnscrambledOnes) {
    EXPECT_TRUE(is_exact(of(StrategyKind::recompute, ValueType::fp16))) << "stores ids alone";
    EXPECT_TRUE(is_exact(of(StrategyKind::full)));
    EXPECT_FALSE(is_exact(of(StrategyKind::full, ValueType::fp16)));
    EXPECT_TRUE(is_exact(of(StrategyKind::item_table)));
    EXPECT_FALSE(is_exact(of(StrategyKind::item_table, ValueType::fp16)));
    for (auto const type : {ValueType::int8, ValueType::int4})
        EXPECT_FALSE(is_exact(of(StrategyKind::full, type)));
    EXPECT_FALSE(is_exact(of(StrategyKind::low_rank)));
    EXPECT_FALSE(is_exact(of(StrategyKind::vq)));
    auto random = of(StrategyKind::collective);
    EXPECT_TRUE(is_exact(random));
    random.random_indices = true;
    EXPECT_FALSE(is_exact(random));
    auto mean = of(StrategyKind::full);
    mean.mean_keys = true;
    EXPECT_FALSE(is_exact(mean));
}

}  // namespace
}  // namespace ckvsim::kv
