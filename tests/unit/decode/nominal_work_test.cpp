#include "decode/nominal_work.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"
#include "decode/cost_key.hpp"

namespace ckvsim::decode {
namespace {

model::SimShape paper_shape() {
    model::SimShape shape;
    shape.feature_dim = 64;  // three features: d_e = 192, as MicroVideo in FACTS section 1
    shape.attention_dim = 256;
    shape.heads = 1;
    shape.short_tokens = 49;
    shape.search_dim = 32;
    shape.top_k = 50;
    shape.max_tokens = 1000;
    shape.context_dim = 4;
    shape.tower = {128};
    return shape;
}
constexpr std::uint32_t kFeatures = 3;
workload::Catalogue catalogue(std::uint32_t items = 100000) {
    workload::Catalogue result;
    result.items = items;
    result.features.resize(kFeatures);
    return result;
}

kv::StrategyParams strategy(kv::StrategyKind kind, kv::ValueType type = kv::ValueType::fp32) {
    kv::StrategyParams params;
    params.kind = kind;
    params.value_type = type;
    return params;
}
model::VariantParams collective(std::uint32_t d_u, std::uint32_t m, model::Scope scope) {
    model::VariantParams variant;
    variant.variant = model::Variant::collective;
    variant.scope = scope;
    variant.d_u = d_u;
    variant.m = m;
    return variant;
}

TEST(NominalWork, FullReadsItsStoredWidths) {
    auto const fp32 =
        nominal_work(paper_shape(), {}, strategy(kv::StrategyKind::full), catalogue());
    auto const fp16 = nominal_work(
        paper_shape(), {}, strategy(kv::StrategyKind::full, kv::ValueType::fp16), catalogue());
    // 1,000 tokens, one candidate: 49 short K and V, 1,000 search keys, 50 long K and V.
    double const values = 49 * 2 * 256 + 1000 * 32 + 50 * 2 * 256;
    EXPECT_DOUBLE_EQ(fp32.decode(1000, 1).bytes, 4 * values);
    EXPECT_DOUBLE_EQ(fp16.decode(1000, 1).bytes, 2 * values);
    // At 512 candidates every row of the long branch is read, once.
    EXPECT_DOUBLE_EQ(fp32.decode(1000, 512).bytes, 4.0 * (49 * 512 + 1000 * 32 + 1000 * 512));
    EXPECT_DOUBLE_EQ(fp32.decode(1000, 512).flops, fp16.decode(1000, 512).flops);
}

TEST(NominalWork, FlopsOfOneCandidateByHand) {
    auto const work =
        nominal_work(paper_shape(), {}, strategy(kv::StrategyKind::full), catalogue());
    double const attention = 4.0 * 256 * (49 + 50);
    double const search = 2.0 * 32 * 1000;
    double const projections = 2.0 * (2 * 2 * 256 * 192 + 32 * 192);
    EXPECT_DOUBLE_EQ(work.decode(1000, 1).flops, attention + search + projections);
    EXPECT_DOUBLE_EQ(work.decode(1000, 8).flops, 8 * (attention + search + projections));
    double const in = 3 * 192 + 4;
    EXPECT_DOUBLE_EQ(work.score(1).flops, 2 * (in * 128 + 128));
}

TEST(NominalWork, TheRouterMakesPrefillThirtyNineTimesDearer) {
    // FACTS section 3: 3.84 M multiply-adds a token for the routers against 98 k for K and V.
    auto const full =
        nominal_work(paper_shape(), {}, strategy(kv::StrategyKind::full), catalogue());
    auto const pooled = nominal_work(paper_shape(), collective(0, 10000, model::Scope::released),
                                     strategy(kv::StrategyKind::collective), catalogue());
    EXPECT_DOUBLE_EQ(full.prefill_flops_per_short_token, 2 * 98304.0);
    EXPECT_DOUBLE_EQ(pooled.prefill_flops_per_short_token, 2 * 3840000.0);
    EXPECT_NEAR(pooled.prefill_flops_per_short_token / full.prefill_flops_per_short_token, 39.06,
                0.01);
    EXPECT_DOUBLE_EQ(pooled.prefill_flops_per_token, full.prefill_flops_per_token)
        << "scope released leaves the long branch alone";
}

TEST(NominalWork, CollectiveReadsCodesAndPoolRows) {
    auto const work =
        nominal_work(paper_shape(), collective(1, 500, model::Scope::all),
                     strategy(kv::StrategyKind::collective, kv::ValueType::fp16), catalogue());
    double const row = 2 * (2 + 1 * 2) + 2 * 255 * 2;
    EXPECT_DOUBLE_EQ(work.decode(49, 1).bytes, 49 * row + 49 * row + 49 * 32 * 2);
}

model::VariantParams one_sided(model::Sides sides, model::Scope scope = model::Scope::all) {
    auto variant = collective(1, 500, scope);
    variant.sides = sides;
    return variant;
}

TEST(NominalWork, OneSidedPoolsReadRowsOfTheOtherSide) {
    auto const fp16 = strategy(kv::StrategyKind::collective, kv::ValueType::fp16);
    double const side = 2 + 1 * 2 + 255 * 2;
    double const row = 256 * 2;
    for (auto const sides : {model::Sides::k, model::Sides::v}) {
        auto const short_alone = one_sided(sides, model::Scope::released);
        auto const work = nominal_work(paper_shape(), one_sided(sides), fp16, catalogue());
        EXPECT_DOUBLE_EQ(work.decode(1000, 1).bytes, (49 + 50) * (side + row) + 1000 * 32 * 2);
        // Prefill: a router and a user part, and a projection.
        double const made = 2.0 * (500 + 1 + 256) * 192;
        EXPECT_DOUBLE_EQ(work.prefill_flops_per_short_token, made);
        EXPECT_DOUBLE_EQ(work.prefill_flops_per_token, made + 2.0 * 32 * 192);
        EXPECT_DOUBLE_EQ(work.prefill_batch_bytes, 4.0 * 192 * (2 * (500 + 1 + 256) + 32));
        auto const released = nominal_work(paper_shape(), short_alone, fp16, catalogue());
        EXPECT_DOUBLE_EQ(released.decode(1000, 1).bytes,
                         49 * (side + row) + 50 * 2 * row + 1000 * 32 * 2);
    }
}

TEST(NominalWork, WhoStoresIdsReadsIdsAndRecomputeProjectsAgain) {
    auto const table =
        nominal_work(paper_shape(), {}, strategy(kv::StrategyKind::item_table), catalogue());
    auto const full =
        nominal_work(paper_shape(), {}, strategy(kv::StrategyKind::full), catalogue());
    EXPECT_DOUBLE_EQ(table.decode(1000, 128).bytes, full.decode(1000, 128).bytes + 4 * 1000);
    EXPECT_DOUBLE_EQ(table.prefill(1000).flops, 0.0);
    EXPECT_DOUBLE_EQ(table.prefill(1000).bytes, 8.0 * 1000);
    auto const again =
        nominal_work(paper_shape(), {}, strategy(kv::StrategyKind::recompute), catalogue());
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).bytes, 1000.0 * (4 + 192 * 4));
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).flops - full.decode(1000, 1).flops,
                     1000.0 * 2 * 32 * 192 + (49 + 50) * 4.0 * 256 * 192);
}

model::SimShape twin_shape() {
    auto shape = paper_shape();
    shape.kind = model::ModelKind::twin;
    return shape;
}

TEST(NominalWork, TwinReadsTheKeysOfAllTokensAndTheValuesOfTheChosen) {
    using kv::StrategyKind;
    auto const full = nominal_work(twin_shape(), {}, strategy(StrategyKind::full), catalogue());
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).bytes, 4.0 * 256 * (49 * 2 + 1000 + 50));
    EXPECT_DOUBLE_EQ(full.decode(1000, 512).bytes, 4.0 * 256 * (49 * 2 + 1000 + 1000));
    // Not more than top_k tokens: nothing is read twice, nothing left out.
    EXPECT_DOUBLE_EQ(full.decode(50, 1).bytes, 4.0 * 256 * 2 * (49 + 50));
    double const attention = 4.0 * 256 * (49 + 50);
    double const projections = 2.0 * (2 * 2 * 256 * 192);
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).flops, attention + 2.0 * 256 * 1000 + projections);
    EXPECT_DOUBLE_EQ(full.prefill(1000).flops, (49 + 1000) * 4.0 * 256 * 192);
    auto const again =
        nominal_work(twin_shape(), {}, strategy(StrategyKind::recompute), catalogue());
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).bytes, 1000.0 * (4 + 192 * 4));
    // K and V of the short branch, K of all tokens, V of the chosen.
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).flops - full.decode(1000, 1).flops,
                     (49 * 2 + 1000 + 50) * 2.0 * 256 * 192);
}

TEST(NominalWork, TwinSearchesCodesAndTheirPoolRows) {
    auto const work =
        nominal_work(twin_shape(), collective(1, 500, model::Scope::all),
                     strategy(kv::StrategyKind::collective, kv::ValueType::fp16), catalogue());
    double const side = (2 + 1 * 2) + 255 * 2;
    EXPECT_DOUBLE_EQ(work.decode(1000, 1).bytes, side * (49 * 2 + 1000 + 50));
}

TEST(NominalWork, TwinWithOneSidedPoolsSearchesTheKeysAsTheyAreKept) {
    auto const fp16 = strategy(kv::StrategyKind::collective, kv::ValueType::fp16);
    double const side = 2 + 1 * 2 + 255 * 2;
    double const row = 256 * 2;
    auto const keys = nominal_work(twin_shape(), one_sided(model::Sides::k), fp16, catalogue());
    EXPECT_DOUBLE_EQ(keys.decode(1000, 1).bytes, 49 * (side + row) + 1000 * side + 50 * row);
    auto const values = nominal_work(twin_shape(), one_sided(model::Sides::v), fp16, catalogue());
    EXPECT_DOUBLE_EQ(values.decode(1000, 1).bytes, 49 * (side + row) + 1000 * row + 50 * side);
}

TEST(NominalWork, TwinSearchesWhatIsKeptOfTheKeys) {
    using kv::StrategyKind;
    auto const full = nominal_work(twin_shape(), {}, strategy(StrategyKind::full), catalogue());
    auto const bytes = [](double row) { return row * (49 * 2 + 1000 + 50); };
    for (auto const& [type, row] :
         {std::pair{kv::ValueType::int8, 260.0}, std::pair{kv::ValueType::int4, 144.0}}) {
        auto const packed =
            nominal_work(twin_shape(), {}, strategy(StrategyKind::full, type), catalogue());
        EXPECT_DOUBLE_EQ(packed.decode(1000, 1).bytes, bytes(row));
        EXPECT_DOUBLE_EQ(packed.decode(1000, 8).flops, full.decode(1000, 8).flops);
    }
    auto params = strategy(StrategyKind::low_rank, kv::ValueType::fp16);
    params.rank = 8;
    auto const low = nominal_work(twin_shape(), {}, params, catalogue());
    EXPECT_DOUBLE_EQ(low.decode(1000, 1).bytes, bytes(16));
    EXPECT_DOUBLE_EQ(low.flops_per_token_candidate, 2.0 * 8);
    params = strategy(StrategyKind::vq, kv::ValueType::int8);
    params.subspaces = 32;
    auto const vq = nominal_work(twin_shape(), {}, params, catalogue());
    EXPECT_DOUBLE_EQ(vq.decode(1000, 1).bytes, bytes(32));
    EXPECT_DOUBLE_EQ(vq.flops_per_token_candidate, 2.0 * 256);
}

TEST(NominalWork, EtaReadsSignaturesAndCountsBits) {
    using kv::StrategyKind;
    auto eta = paper_shape();
    eta.kind = model::ModelKind::eta;
    eta.hash_bits = 64;
    auto const full = nominal_work(eta, {}, strategy(StrategyKind::full), catalogue());
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).bytes, 4.0 * 256 * 2 * (49 + 50) + 1000 * 8);
    auto const halves =
        nominal_work(eta, {}, strategy(StrategyKind::full, kv::ValueType::fp16), catalogue());
    EXPECT_DOUBLE_EQ(halves.decode(1000, 1).bytes, 2.0 * 256 * 2 * (49 + 50) + 1000 * 8);
    double const attention = 4.0 * 256 * (49 + 50);
    double const projections = 2.0 * (2 * 2 * 256 * 192 + 64 * 192);
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).flops, attention + 1000 * 2 * 2.0 + projections);
    EXPECT_DOUBLE_EQ(full.decode_batch_bytes, 4.0 * (2 * 2 * 256 * 192 + 64 * 192));
    EXPECT_DOUBLE_EQ(full.prefill(1000).flops,
                     (49 + 1000) * 4.0 * 256 * 192 + 1000 * 2.0 * 64 * 192);
    auto const again = nominal_work(eta, {}, strategy(StrategyKind::recompute), catalogue());
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).bytes, 1000.0 * (4 + 192 * 4));
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).flops - full.decode(1000, 1).flops,
                     1000 * 2.0 * 64 * 192 + (49 + 50) * 4.0 * 256 * 192);
    // K and V of both sites are projected, too; the planes sign candidates and tokens.
    EXPECT_DOUBLE_EQ(again.decode_batch_bytes, full.decode_batch_bytes + 2 * 4.0 * 2 * 256 * 192);
}

model::SimShape sdim_shape() {
    auto shape = paper_shape();
    shape.kind = model::ModelKind::sdim;
    shape.hashes = 16;
    shape.hash_bits = 3;
    return shape;
}

TEST(NominalWork, SdimReadsARowOfSumsPerHashWhateverTheHistory) {
    using kv::StrategyKind;
    auto const full = nominal_work(sdim_shape(), {}, strategy(StrategyKind::full), catalogue());
    double const recent = 4.0 * 49 * 2 * 256;
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).bytes, recent + 16 * 192 * 4);
    EXPECT_DOUBLE_EQ(full.decode(200, 1).bytes, full.decode(1000, 1).bytes);
    EXPECT_DOUBLE_EQ(full.decode(1000, 3).bytes, recent + 48 * 192 * 4);
    // 128 rows in all: each is read once, however many candidates.
    EXPECT_DOUBLE_EQ(full.decode(1000, 512).bytes, recent + 128 * 192 * 4);
    EXPECT_DOUBLE_EQ(full.decode(0, 512).bytes, 0.0);
    auto const int8 = nominal_work(sdim_shape(), {},
                                   strategy(StrategyKind::full, kv::ValueType::int8), catalogue());
    EXPECT_DOUBLE_EQ(int8.decode(1000, 1).bytes, 49 * 2 * 260.0 + 16 * 196);
    double const attention = 4.0 * 256 * 49;
    double const projections = 2.0 * (2 * 256 * 192 + 48 * 192);
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).flops,
                     attention + projections + 16 * 192 + 16 * 3.0 * 192);
    EXPECT_DOUBLE_EQ(full.decode(1000, 512).flops,
                     512 * (attention + projections + 16 * 192) + 128 * 3.0 * 192);
    EXPECT_DOUBLE_EQ(full.decode_batch_bytes, 4.0 * (2 * 256 * 192 + 48 * 192));
}

TEST(NominalWork, SdimMakesSumsOfTheTokensInThemWhereIdsAreKept) {
    using kv::StrategyKind;
    auto const full = nominal_work(sdim_shape(), {}, strategy(StrategyKind::full), catalogue());
    auto const table =
        nominal_work(sdim_shape(), {}, strategy(StrategyKind::item_table), catalogue());
    double const recent = 4.0 * 49 * 2 * 256;
    EXPECT_DOUBLE_EQ(table.decode(1000, 1).bytes, recent + 1000.0 * (4 + 16 + 192 * 4));
    EXPECT_DOUBLE_EQ(table.decode(1000, 512).bytes, table.decode(1000, 1).bytes);
    EXPECT_DOUBLE_EQ(table.decode(1000, 1).flops - full.decode(1000, 1).flops,
                     16 * 1000.0 / 8 * 192);
    EXPECT_DOUBLE_EQ(table.decode(1000, 512).flops - full.decode(1000, 512).flops,
                     128 * 1000.0 / 8 * 192);
    auto const again =
        nominal_work(sdim_shape(), {}, strategy(StrategyKind::recompute), catalogue());
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).bytes, 1000.0 * (4 + 192 * 4));
    EXPECT_DOUBLE_EQ(again.decode(1000, 1).flops - table.decode(1000, 1).flops,
                     1000 * 2.0 * 48 * 192 + 49 * 4.0 * 256 * 192);
}

TEST(NominalWork, PrefillOfSdimWritesItsSumsOnce) {
    using kv::StrategyKind;
    auto const full = nominal_work(sdim_shape(), {}, strategy(StrategyKind::full), catalogue());
    for (double const n : {100.0, 1000.0}) {
        auto const work = full.prefill(static_cast<std::uint32_t>(n));
        EXPECT_DOUBLE_EQ(work.bytes, 128 * 192 * 4 + 49 * 2 * 256 * 4.0 + n * (4 + 192 * 4));
        EXPECT_DOUBLE_EQ(work.flops, 49 * 4.0 * 256 * 192 + n * (2.0 * 48 * 192 + 16 * 192));
    }
    EXPECT_DOUBLE_EQ(full.prefill(0).bytes, 0.0);
    EXPECT_DOUBLE_EQ(full.prefill_batch_bytes, 4.0 * (2 * 256 * 192 + 48 * 192));
    auto ids = strategy(StrategyKind::collective);
    ids.search_keys = kv::SearchKeys::item_table;
    auto const pooled =
        nominal_work(sdim_shape(), collective(1, 500, model::Scope::released), ids, catalogue());
    EXPECT_DOUBLE_EQ(pooled.prefill(1000).bytes, 49 * (2 * (2 + 4) + 192 * 4.0) + 1000 * 4);
    EXPECT_DOUBLE_EQ(pooled.prefill(1000).flops, 49 * 4.0 * 501 * 192);
}

TEST(CostKey, NamesTheModelAndNoSearchOfTwin) {
    auto const arm = strategy(kv::StrategyKind::collective, kv::ValueType::fp16);
    auto const variant = collective(1, 512, model::Scope::all);
    EXPECT_EQ(cost_key(paper_shape(), variant, arm, kFeatures),
              "collective/user_token/fp16/idx2/search=stored/scope=all/du1/m512/d256/h1/de192/s49/"
              "ds32/k50/c4/t128");
    EXPECT_EQ(cost_key(twin_shape(), variant, arm, kFeatures),
              "twin/collective/user_token/fp16/idx2/scope=all/du1/m512/d256/h1/de192/s49/k50/c4/"
              "t128");
}

TEST(NominalWork, QuantisedRowsCountTheirSteps) {
    auto const int8 = nominal_work(
        paper_shape(), {}, strategy(kv::StrategyKind::full, kv::ValueType::int8), catalogue());
    auto const int4 = nominal_work(
        paper_shape(), {}, strategy(kv::StrategyKind::full, kv::ValueType::int4), catalogue());
    EXPECT_DOUBLE_EQ(int8.decode(1000, 1).bytes, (49 + 50) * 2 * 260.0 + 1000 * 36);
    EXPECT_DOUBLE_EQ(int4.decode(1000, 1).bytes, (49 + 50) * 2 * 144.0 + 1000 * 36);
}

TEST(NominalWork, LowRankScoresCoefficientsAndVqReadsCodes) {
    auto const full =
        nominal_work(paper_shape(), {}, strategy(kv::StrategyKind::full), catalogue());
    auto params = strategy(kv::StrategyKind::low_rank, kv::ValueType::fp16);
    params.rank = 8;
    auto const low = nominal_work(paper_shape(), {}, params, catalogue());
    EXPECT_DOUBLE_EQ(low.decode(1000, 1).bytes, (49 + 50) * 2 * 16.0 + 1000 * 64);
    // Per row 4 r instead of 4 d flops; per candidate and site B^T q and B c.
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).flops - low.decode(1000, 1).flops,
                     (49 + 50) * 4.0 * (256 - 8) - 2 * 2 * 2.0 * 256 * 8);
    EXPECT_DOUBLE_EQ(low.decode_batch_bytes - full.decode_batch_bytes, 2 * 2 * 4.0 * 256 * 8);
    params = strategy(kv::StrategyKind::vq, kv::ValueType::int8);
    params.subspaces = 32;
    auto const vq = nominal_work(paper_shape(), {}, params, catalogue());
    EXPECT_DOUBLE_EQ(vq.decode(1000, 1).bytes, (49 + 50) * 2 * 32.0 + 1000 * 36);
    EXPECT_DOUBLE_EQ(vq.decode(1000, 1).flops, full.decode(1000, 1).flops);
    EXPECT_DOUBLE_EQ(vq.prefill_flops_per_token - full.prefill_flops_per_token,
                     2 * 2.0 * 256 * 256);
    // Of 100 items no more than 100 codewords are made.
    auto const few = nominal_work(paper_shape(), {}, params, catalogue(100));
    EXPECT_DOUBLE_EQ(few.decode_batch_bytes - full.decode_batch_bytes, 2 * 2 * 4.0 * 256 * 100);
    EXPECT_DOUBLE_EQ(few.prefill_flops_per_token - full.prefill_flops_per_token,
                     2 * 2.0 * 256 * 100);
}

TEST(NominalWork, ControlsWithoutAttentionReadEmbeddingsOrNothing) {
    model::VariantParams variant;
    variant.variant = model::Variant::mean_pool;
    auto const pool =
        nominal_work(paper_shape(), variant, strategy(kv::StrategyKind::recompute), catalogue());
    EXPECT_DOUBLE_EQ(pool.decode(10, 5).bytes, 10.0 * (4 + 192 * 4));
    variant.variant = model::Variant::no_history;
    auto const none =
        nominal_work(paper_shape(), variant, strategy(kv::StrategyKind::recompute), catalogue());
    EXPECT_DOUBLE_EQ(none.decode(10, 5).flops, 0.0);
}

model::SimShape hstu_shape(std::uint32_t layers = 2) {
    auto shape = paper_shape();
    shape.kind = model::ModelKind::hstu;
    shape.layers = layers;
    return shape;
}
constexpr double kLayerProducts = 3.0 * 256 * 192;  // wg, wq, wo

TEST(NominalWork, HstuReadsKeysAndValuesOfEveryLayer) {
    using kv::StrategyKind;
    auto const full = nominal_work(hstu_shape(), {}, strategy(StrategyKind::full), catalogue());
    EXPECT_DOUBLE_EQ(full.decode(1000, 1).bytes, 2 * 2 * 256 * 4.0 * 1000);
    EXPECT_DOUBLE_EQ(full.decode(1000, 512).bytes, full.decode(1000, 1).bytes);
    double const own = 2.0 * kLayerProducts + 4.0 * 256 * 192 + 4.0 * 256;
    EXPECT_DOUBLE_EQ(full.decode(1000, 3).flops, 3.0 * 2 * (own + 4.0 * 256 * 1000));
    double const in = 2 * 192 + 4;
    EXPECT_DOUBLE_EQ(full.score(1).flops, 2 * (in * 128 + 128));
}

TEST(NominalWork, RowsOfHstuThatAreOnlyPutTogetherHaveNoCosts) {
    for (auto const kind : {kv::StrategyKind::low_rank, kv::StrategyKind::vq})
        EXPECT_THROW(nominal_work(hstu_shape(), {}, strategy(kind), catalogue()), InternalError);
}

TEST(NominalWork, PrefillOfHstuGrowsWithThePairsOfAllLayersButTheLast) {
    using kv::StrategyKind;
    double const sides = 4.0 * 256 * 192;
    for (std::uint32_t const layers : {1U, 2U, 4U}) {
        auto const full =
            nominal_work(hstu_shape(layers), {}, strategy(StrategyKind::full), catalogue());
        double const deeper = layers - 1.0;
        EXPECT_DOUBLE_EQ(
            full.prefill(10).flops,
            10 * (layers * sides + deeper * 2 * kLayerProducts) + deeper * 4 * 256 * 55);
        EXPECT_DOUBLE_EQ(full.prefill(10).bytes, 10.0 * (4 * 192 + layers * 2 * 256 * 4));
        auto const again =
            nominal_work(hstu_shape(layers), {}, strategy(StrategyKind::recompute), catalogue());
        EXPECT_DOUBLE_EQ(again.decode(10, 1).flops - full.decode(10, 1).flops,
                         full.prefill(10).flops);
        EXPECT_DOUBLE_EQ(again.decode(10, 1).bytes, 10.0 * (4 + 4 * 192));
        EXPECT_DOUBLE_EQ(again.prefill(10).bytes, 10.0 * 8);
    }
}

TEST(NominalWork, CandidatesOfHstuGoThroughTheRouters) {
    auto const pooled =
        nominal_work(hstu_shape(), collective(1, 500, model::Scope::all),
                     strategy(kv::StrategyKind::collective, kv::ValueType::fp16), catalogue());
    double const codes = 2 * 2 * (2 + 2.0);
    double const pool_rows = 2 * 2 * 255 * 2.0;
    EXPECT_DOUBLE_EQ(pooled.decode(100, 1).bytes, 100 * (codes + pool_rows));
    EXPECT_DOUBLE_EQ(pooled.prefill(100).bytes, 100 * (codes + pool_rows / 2 + 4 * 192));
    double const router = 4.0 * (500 + 1) * 192;
    EXPECT_DOUBLE_EQ(pooled.decode(0, 1).flops, 2 * (2 * kLayerProducts + router + 4 * 256));
}

TEST(NominalWork, HstuWithOneSidedPoolsMakesAndReadsRowsOfTheOtherSide) {
    auto const fp16 = strategy(kv::StrategyKind::collective, kv::ValueType::fp16);
    double const stored = 2 * (2 + 1 * 2 + 256 * 2.0);  // two layers: a code and a row
    double const pool_rows = 2 * 255 * 2.0;
    double const made = 2.0 * (500 + 1 + 256) * 192;
    for (auto const sides : {model::Sides::k, model::Sides::v}) {
        auto const work = nominal_work(hstu_shape(), one_sided(sides), fp16, catalogue());
        EXPECT_DOUBLE_EQ(work.decode(100, 1).bytes, 100 * (stored + pool_rows));
        EXPECT_DOUBLE_EQ(work.prefill(100).bytes, 100 * (stored + pool_rows / 2 + 4 * 192));
        EXPECT_DOUBLE_EQ(work.decode(0, 1).flops, 2 * (2 * kLayerProducts + made + 4 * 256));
    }
}

}  // namespace
}  // namespace ckvsim::decode
