#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "core/error.hpp"
#include "model/sim.hpp"

namespace ckvsim::model {
namespace {

workload::Catalogue catalogue() {
    workload::Catalogue result;
    result.items = 5;
    result.feature_names = {"item_id", "category"};
    result.feature_vocabularies = {6, 3};
    result.features = {{0, 1, 2, 3, 4, 5}, {0, 1, 2, 1, 2, 1}};
    return result;
}

SimShape shape() {
    SimShape result;
    result.feature_dim = 3;
    result.attention_dim = 6;
    result.heads = 3;
    result.short_tokens = 4;
    result.search_dim = 2;
    result.top_k = 3;
    result.max_tokens = 9;
    result.context_dim = 2;
    result.tower = {5, 4};
    return result;
}

std::vector<VariantParams> variants() {
    return {{Variant::full, {}, 0, 0},
            {Variant::full_silu, {}, 0, 0},
            {Variant::mean_pool, {}, 0, 0},
            {Variant::no_history, {}, 0, 0},
            {Variant::collective, Scope::released, 1, 7},
            {Variant::collective, Scope::all, 0, 1},
            {Variant::collective, Scope::all, 5, 3},
            {Variant::collective, Scope::released, 1, 7, Sides::v},
            {Variant::collective, Scope::all, 2, 3, Sides::k}};
}

void expect_equal(SideWeights const& a, SideWeights const& b) {
    EXPECT_EQ(a.w, b.w);
    EXPECT_EQ(a.router, b.router);
    EXPECT_EQ(a.user, b.user);
    EXPECT_EQ(a.pool, b.pool);
}

void expect_equal(SiteWeights const& a, SiteWeights const& b) {
    EXPECT_EQ(a.collective, b.collective);
    EXPECT_EQ(a.silu, b.silu);
    EXPECT_EQ(a.wq, b.wq);
    EXPECT_EQ(a.wo, b.wo);
    expect_equal(a.k, b.k);
    expect_equal(a.v, b.v);
}

/// DataError text of reading `file`, empty when it is accepted.
std::string refusal_of(TensorFile const& file) {
    try {
        sim_weights_from(file, catalogue(), "weights.ckvt");
    } catch (DataError const& error) {
        return error.what();
    }
    return {};
}

class EveryModel : public testing::TestWithParam<ModelKind> {
  protected:
    static SimShape model_shape() {
        SimShape result = shape();
        result.kind = GetParam();
        if (result.kind == ModelKind::sdim) result.hash_bits = 3;
        return result;
    }
};
INSTANTIATE_TEST_SUITE_P(Models, EveryModel,
                         testing::Values(ModelKind::sim, ModelKind::twin, ModelKind::eta,
                                         ModelKind::sdim),
                         [](auto const& of) { return to_string(of.param); });

TEST_P(EveryModel, WrittenWeightsReadBackUnchanged) {
    for (VariantParams const& variant : variants()) {
        if (variant_refusal(variant, GetParam())) continue;
        SCOPED_TRACE(weights_stem(variant));
        SimWeights written = random_sim_weights(model_shape(), variant, catalogue(), 4, 11);
        written.training_seed = 42;
        TensorFile const file = weights_file_from(written, catalogue());
        SimWeights const read = sim_weights_from(file, catalogue(), "weights.ckvt");
        EXPECT_EQ(read.training_seed, 42U);
        EXPECT_EQ(read.digest, file.digest());
        EXPECT_EQ(read.variant.variant, variant.variant);
        if (variant.variant == Variant::collective) {
            EXPECT_EQ(weights_stem(read.variant), weights_stem(variant));
        }
        EXPECT_EQ(read.shape.kind, GetParam());
        EXPECT_EQ(read.shape.tower, written.shape.tower);
        EXPECT_EQ(read.shape.top_k,
                  written.shape.has_long_attention() ? written.shape.top_k : SimShape{}.top_k);
        EXPECT_EQ(read.shape.max_tokens, written.shape.max_tokens);
        EXPECT_EQ(read.feature_tables, written.feature_tables);
        EXPECT_EQ(read.item_embeddings, written.item_embeddings);
        EXPECT_EQ(read.context_embeddings, written.context_embeddings);
        expect_equal(read.short_site, written.short_site);
        expect_equal(read.long_site, written.long_site);
        EXPECT_EQ(read.search_wq, written.search_wq);
        EXPECT_EQ(read.search_wk, written.search_wk);
        EXPECT_EQ(read.hash_planes, written.hash_planes);
        ASSERT_EQ(read.tower.size(), written.tower.size());
        for (std::size_t l = 0; l < read.tower.size(); ++l) {
            EXPECT_EQ(read.tower[l].w, written.tower[l].w);
            EXPECT_EQ(read.tower[l].b, written.tower[l].b);
        }
    }
}

TEST(WeightsFile, OneSidedHoldsThePoolOfThatSideAndTheMapOfTheOther) {
    VariantParams variant{Variant::collective, Scope::all, 2, 7, Sides::k};
    auto const file =
        weights_file_from(random_sim_weights(shape(), variant, catalogue(), 4, 1), catalogue());
    EXPECT_EQ(file.text("sides"), "k");
    for (std::string const site : {"short.", "long."}) {
        for (char const* const name : {"k.wr", "k.wu", "k.pool", "wv"})
            EXPECT_TRUE(file.has(site + name)) << site << name;
        for (char const* const name : {"v.wr", "v.wu", "v.pool", "wk"})
            EXPECT_FALSE(file.has(site + name)) << site << name;
    }
    auto const read = sim_weights_from(file, catalogue(), "weights.ckvt");
    EXPECT_EQ(read.variant, variant);
    EXPECT_TRUE(read.short_site.silu) << "q and the side without a pool, too";
    EXPECT_TRUE(read.long_site.collective);
    variant.sides = Sides::both;
    auto const both =
        weights_file_from(random_sim_weights(shape(), variant, catalogue(), 4, 1), catalogue());
    EXPECT_FALSE(both.attributes.contains("sides")) << "as before there was a choice";
    auto other = file;
    other.set("sides", std::string("v"));
    EXPECT_NE(refusal_of(other).find("'short.wk' is missing"), std::string::npos);
    other.attributes.erase("sides");
    EXPECT_NE(refusal_of(other).find("'short.v.wr' is missing"), std::string::npos);
    other.set("sides", std::string("q"));
    EXPECT_NE(refusal_of(other).find("unknown sides 'q' (known: both, k, v)"), std::string::npos);
}

TEST(WeightsFile, NamesTheStartOfTrainingUnlessItIsRandom) {
    VariantParams variant{Variant::collective, Scope::all, 2, 7, Sides::both, Start::full_silu};
    auto const of = [&] {
        return weights_file_from(random_sim_weights(shape(), variant, catalogue(), 4, 1),
                                 catalogue());
    };
    auto file = of();
    EXPECT_EQ(file.text("start"), "full_silu");
    EXPECT_EQ(sim_weights_from(file, catalogue(), "weights.ckvt").variant, variant);
    file.set("start", std::string("warm"));
    EXPECT_NE(refusal_of(file).find("unknown start 'warm' (known: random, full, full_silu)"),
              std::string::npos);
    variant.start = Start::random;
    auto const random = of();
    EXPECT_FALSE(random.attributes.contains("start")) << "as before there was a choice";
    EXPECT_EQ(sim_weights_from(random, catalogue(), "weights.ckvt").variant, variant);
}

TEST(WeightsFile, NamesTheTeacherUnlessThereIsNone) {
    VariantParams variant{Variant::collective, Scope::all,   2, 7, Sides::both,
                          Start::full,         Teacher::full};
    auto const of = [&] {
        return weights_file_from(random_sim_weights(shape(), variant, catalogue(), 4, 1),
                                 catalogue());
    };
    auto file = of();
    EXPECT_EQ(file.text("teacher"), "full");
    EXPECT_EQ(sim_weights_from(file, catalogue(), "weights.ckvt").variant, variant);
    file.set("teacher", std::string("me"));
    EXPECT_NE(refusal_of(file).find("unknown teacher 'me' (known: none, full, full_silu)"),
              std::string::npos);
    variant.teacher = Teacher::none;
    auto const plain = of();
    EXPECT_FALSE(plain.attributes.contains("teacher")) << "as before there was a choice";
    EXPECT_EQ(sim_weights_from(plain, catalogue(), "weights.ckvt").variant, variant);
}

TEST(WeightsFile, TeacherOfHstuIsFullAlone) {
    VariantParams pools{Variant::collective, Scope::all,   1, 7, Sides::both,
                        Start::random,       Teacher::full};
    for (auto const kind : {ModelKind::sim, ModelKind::twin, ModelKind::eta, ModelKind::hstu})
        EXPECT_FALSE(variant_refusal(pools, kind));
    pools.teacher = Teacher::full_silu;
    EXPECT_FALSE(variant_refusal(pools, ModelKind::twin));
    ASSERT_TRUE(variant_refusal(pools, ModelKind::hstu));
    EXPECT_NE(variant_refusal(pools, ModelKind::hstu)->find("teacher 'full_silu'"),
              std::string::npos);
}

TEST(WeightsFile, HstuHasNoWarmStart) {
    VariantParams pools{Variant::collective, Scope::all, 1, 7, Sides::both, Start::full};
    for (auto const kind : {ModelKind::sim, ModelKind::twin, ModelKind::eta})
        EXPECT_FALSE(variant_refusal(pools, kind));
    ASSERT_TRUE(variant_refusal(pools, ModelKind::hstu));
    EXPECT_NE(variant_refusal(pools, ModelKind::hstu)->find("start 'full'"), std::string::npos);
    pools.start = Start::random;
    EXPECT_FALSE(variant_refusal(pools, ModelKind::hstu));
    pools = {Variant::collective, Scope::released, 1, 7, Sides::both, Start::full};
    EXPECT_FALSE(variant_refusal(pools, ModelKind::sdim));
}

TEST(WeightsFile, OnlySimHasASearchOfItsOwn) {
    SimShape twin = shape();
    twin.kind = ModelKind::twin;
    auto const of_sim =
        weights_file_from(random_sim_weights(shape(), {}, catalogue(), 4, 1), catalogue());
    auto of_twin = weights_file_from(random_sim_weights(twin, {}, catalogue(), 4, 1), catalogue());
    EXPECT_TRUE(of_sim.has("search.wq"));
    EXPECT_FALSE(of_sim.attributes.contains("model")) << "as before there was another model";
    EXPECT_FALSE(of_twin.has("search.wq"));
    EXPECT_FALSE(of_twin.has("search.wk"));
    EXPECT_FALSE(of_twin.attributes.contains("search_dim"));
    EXPECT_EQ(of_twin.text("model"), "twin");
    auto renamed = of_twin;
    renamed.set("model", std::string("sim"));
    EXPECT_NE(refusal_of(renamed).find("search_dim is missing"), std::string::npos)
        << refusal_of(renamed);
    renamed.set("model", std::string("sasrec"));
    EXPECT_NE(refusal_of(renamed).find("'model' is 'sasrec' (known: sim, twin, eta, sdim, hstu)"),
              std::string::npos)
        << refusal_of(renamed);
}

TEST(WeightsFile, EtaStoresItsHyperplanes) {
    SimShape eta = shape();
    eta.kind = ModelKind::eta;
    eta.hash_bits = 16;
    auto const weights = random_sim_weights(eta, {}, catalogue(), 4, 1);
    EXPECT_EQ(weights.hash_planes.size(), 16U * weights.d_e);
    auto file = weights_file_from(weights, catalogue());
    EXPECT_EQ(file.text("model"), "eta");
    EXPECT_EQ(file.integer("hash_bits"), 16);
    EXPECT_FALSE(file.has("search.wq"));
    EXPECT_FALSE(file.attributes.contains("search_dim"));
    EXPECT_EQ(sim_weights_from(file, catalogue(), "weights.ckvt").shape.hash_bits, 16U);
    file.set("hash_bits", std::int64_t{32});
    EXPECT_NE(refusal_of(file).find("'hash.planes' has shape [16, 6] (expected [32, 6])"),
              std::string::npos)
        << refusal_of(file);
    file.set("hash_bits", std::int64_t{12});
    EXPECT_NE(refusal_of(file).find("hash_bits must be 8, 16, 32 or 64"), std::string::npos)
        << refusal_of(file);
    file.attributes.erase("hash_bits");
    EXPECT_NE(refusal_of(file).find("hash_bits is missing"), std::string::npos) << refusal_of(file);
}

SimShape sdim_shape() {
    SimShape result = shape();
    result.kind = ModelKind::sdim;
    result.hashes = 5;
    result.hash_bits = 2;
    return result;
}

TEST(WeightsFile, SdimStoresPlanesOfItsHashesAndNothingOfALongSite) {
    auto const weights = random_sim_weights(sdim_shape(), {}, catalogue(), 4, 1);
    EXPECT_EQ(weights.hash_planes.size(), 5U * 2 * weights.d_e);
    auto file = weights_file_from(weights, catalogue());
    EXPECT_EQ(file.text("model"), "sdim");
    EXPECT_EQ(file.integer("hashes"), 5);
    EXPECT_EQ(file.integer("hash_bits"), 2);
    EXPECT_TRUE(file.has("short.wq"));
    for (char const* const absent : {"long.wq", "long.wo", "long.wk", "long.wv", "search.wq"})
        EXPECT_FALSE(file.has(absent)) << absent;
    for (char const* const absent : {"top_k", "search_dim"})
        EXPECT_FALSE(file.attributes.contains(absent)) << absent;
    auto const read = sim_weights_from(file, catalogue(), "weights.ckvt");
    EXPECT_EQ(read.shape.hashes, 5U);
    EXPECT_EQ(read.shape.hash_bits, 2U);
    file.set("hashes", std::int64_t{4});
    EXPECT_NE(refusal_of(file).find("'hash.planes' has shape [10, 6] (expected [8, 6])"),
              std::string::npos)
        << refusal_of(file);
    file.set("hashes", std::int64_t{65});
    EXPECT_NE(refusal_of(file).find("hashes must be 1 to 64"), std::string::npos)
        << refusal_of(file);
    file.set("hashes", std::int64_t{5});
    file.set("hash_bits", std::int64_t{9});
    EXPECT_NE(refusal_of(file).find("hash_bits of 'sdim' must be 1 to 8"), std::string::npos)
        << refusal_of(file);
    file.attributes.erase("hashes");
    EXPECT_NE(refusal_of(file).find("hashes is missing"), std::string::npos) << refusal_of(file);
}

TEST(WeightsFile, SdimHasNoPoolsInItsLongBranch) {
    VariantParams pools{Variant::collective, Scope::released, 1, 7};
    EXPECT_FALSE(variant_refusal(pools, ModelKind::sdim));
    auto file =
        weights_file_from(random_sim_weights(sdim_shape(), pools, catalogue(), 4, 1), catalogue());
    EXPECT_EQ(refusal_of(file), "");
    pools.scope = Scope::all;
    EXPECT_TRUE(variant_refusal(pools, ModelKind::sdim));
    file.set("scope", std::string("all"));
    EXPECT_NE(refusal_of(file).find("its long branch keeps no K and V"), std::string::npos)
        << refusal_of(file);
    EXPECT_FALSE(variant_refusal({Variant::full_silu, {}, 0, 0}, ModelKind::sdim));
}

TEST(SimShape, CountsTheRowsAndPlanesOfTheModelThatHasThem) {
    SimShape shape = sdim_shape();
    EXPECT_EQ(shape.bucket_hashes(), 5U);
    EXPECT_EQ(shape.bucket_rows(), 5U * 4);
    EXPECT_EQ(shape.hash_planes(), 5U * 2);
    EXPECT_EQ(shape.signature_bits(), 0U);
    EXPECT_FALSE(shape.has_search_keys());
    EXPECT_FALSE(shape.has_long_attention());
    shape.kind = ModelKind::eta;
    shape.hash_bits = 32;
    EXPECT_EQ(shape.bucket_hashes(), 0U);
    EXPECT_EQ(shape.bucket_rows(), 0U);
    EXPECT_EQ(shape.hash_planes(), 32U);
    EXPECT_TRUE(shape.has_long_attention());
    shape.kind = ModelKind::sim;
    EXPECT_EQ(shape.hash_planes(), 0U);
    EXPECT_TRUE(shape.has_long_attention());
    shape.kind = ModelKind::hstu;
    EXPECT_FALSE(shape.has_long_attention());
}

TEST(WeightsFile, ReferenceBlockOfSdimHoldsBucketsInPlaceOfPositions) {
    ReferenceBlock block;
    block.signatures.assign(6 * 5, 3);
    block.signatures[7] = 1;
    TensorFile file;
    add_reference_block(block, sdim_shape(), file);
    EXPECT_FALSE(file.has("ref.topk"));
    EXPECT_EQ(file.tensor("ref.signature").shape, (std::vector<std::int64_t>{6, 5}));
    EXPECT_EQ(file.tensor("ref.signature").as<std::uint8_t>()[7], 1);
}

TEST(WeightsFile, ReferenceBlockHoldsWhatWasGiven) {
    ReferenceBlock block;
    block.offsets = {0, 2, 2};
    block.tokens = {3, 1};
    block.candidates = {5, 2};
    block.contexts = {0, 1};
    block.logits = {0.5F, -1.0F};
    block.top_k = {0, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF};
    block.indices["short.k"] = {0, 1, 2, 3, 4, 5};
    TensorFile file;
    SimShape three;
    three.top_k = 3;
    add_reference_block(block, three, file);
    EXPECT_EQ(file.tensor("ref.offsets").as<std::uint64_t>()[1], 2U);
    EXPECT_EQ(file.tensor("ref.tokens").as<std::uint32_t>()[0], 3U);
    EXPECT_EQ(file.tensor("ref.candidate").as<std::uint32_t>()[1], 2U);
    EXPECT_EQ(file.tensor("ref.context").as<std::uint32_t>()[1], 1U);
    EXPECT_EQ(file.tensor("ref.logit").as<float>()[1], -1.0F);
    EXPECT_EQ(file.tensor("ref.topk").shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(file.tensor("ref.short.k.index").elements(), 6U);
    EXPECT_FALSE(file.has("ref.long.k.index"));
    EXPECT_FALSE(file.has("ref.signature"));
}

TEST_P(EveryModel, BrokenFilesAreRefusedWithTheTensorsName) {
    VariantParams variant{Variant::collective, Scope::all, 2, 7};
    if (variant_refusal(variant, GetParam())) variant.scope = Scope::released;
    TensorFile const good = weights_file_from(
        random_sim_weights(model_shape(), variant, catalogue(), 4, 1), catalogue());
    ASSERT_EQ(refusal_of(good), "");
    for (auto const& [name, tensor] : good.tensors) {
        TensorFile missing = good;
        missing.tensors.erase(name);
        EXPECT_NE(refusal_of(missing).find("'" + name + "'"), std::string::npos) << name;
        TensorFile reshaped = good;
        reshaped.tensors[name].shape.push_back(1);
        EXPECT_NE(refusal_of(reshaped).find("'" + name + "'"), std::string::npos) << name;
        TensorFile infinite = good;
        float const bad = std::numeric_limits<float>::infinity();
        std::memcpy(infinite.tensors[name].data.data(), &bad, sizeof bad);
        EXPECT_NE(refusal_of(infinite).find("'" + name + "'"), std::string::npos) << name;
    }
    for (auto const& [key, value] : {std::pair{"format", "other"},
                                     {"catalogue_digest", "0"},
                                     {"variant", "none"},
                                     {"scope", "some"},
                                     {"m", "0"},
                                     {"d_u", "6"},
                                     {"heads", "4"},
                                     {"tower", "5,,4"}}) {
        TensorFile changed = good;
        changed.set(key, std::string(value));
        EXPECT_NE(refusal_of(changed), "") << key;
    }
}

SimShape hstu_shape() {
    SimShape result = shape();
    result.kind = ModelKind::hstu;
    result.layers = 3;
    return result;
}

TEST(WeightsFile, TheStackOfHstuReadsBackUnchanged) {
    for (VariantParams const& variant : {VariantParams{Variant::full, {}, 0, 0},
                                         {Variant::mean_pool, {}, 0, 0},
                                         {Variant::collective, Scope::all, 0, 4},
                                         {Variant::collective, Scope::all, 2, 7}}) {
        SCOPED_TRACE(weights_stem(variant));
        SimWeights const written = random_sim_weights(hstu_shape(), variant, catalogue(), 4, 11);
        TensorFile const file = weights_file_from(written, catalogue());
        EXPECT_FALSE(file.has("short.wq"));
        EXPECT_FALSE(file.attributes.contains("top_k"));
        SimWeights const read = sim_weights_from(file, catalogue(), "weights.ckvt");
        EXPECT_EQ(read.shape.layers, 3U);
        ASSERT_EQ(read.stack.size(), variant.variant == Variant::mean_pool ? 0U : 3U);
        for (std::size_t l = 0; l < read.stack.size(); ++l) {
            expect_equal(read.stack[l].site, written.stack[l].site);
            EXPECT_EQ(read.stack[l].gate, written.stack[l].gate);
            EXPECT_EQ(read.stack[l].position_bias, written.stack[l].position_bias);
        }
        EXPECT_EQ(read.tower.front().w, written.tower.front().w);
        EXPECT_EQ(read.bytes(), written.bytes());
    }
}

TEST(WeightsFile, BrokenStacksOfHstuAreRefused) {
    auto const file =
        weights_file_from(random_sim_weights(hstu_shape(), {}, catalogue(), 4, 1), catalogue());
    EXPECT_EQ(refusal_of(file), "");
    auto without = file;
    without.tensors.erase("layer2.bias");
    EXPECT_NE(refusal_of(without).find("tensor 'layer2.bias' is missing (expected [3, 32])"),
              std::string::npos)
        << refusal_of(without);
    auto deep = file;
    deep.set("layers", std::int64_t{kMaxLayers + 1});
    EXPECT_NE(refusal_of(deep).find("layers must be 1 to 4"), std::string::npos);
    auto silu = file;
    silu.set("variant", std::string("full_silu"));
    EXPECT_NE(refusal_of(silu).find("'full_silu' is 'full' for model 'hstu'"), std::string::npos);
}

TEST(WeightsFile, HstuHasNoShortBranchToReleaseAlone) {
    VariantParams released{Variant::collective, Scope::released, 1, 4};
    EXPECT_TRUE(variant_refusal(released, ModelKind::hstu));
    EXPECT_FALSE(variant_refusal(released, ModelKind::twin));
    EXPECT_THROW(random_sim_weights(hstu_shape(), released, catalogue(), 4, 1), InternalError);
    released.scope = Scope::all;
    EXPECT_FALSE(variant_refusal(released, ModelKind::hstu));
}

}  // namespace
}  // namespace ckvsim::model
