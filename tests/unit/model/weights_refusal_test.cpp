// Weight files: what a valid one gives back, and every way in which one is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <map>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "model/sim.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::model {
namespace {

using testing::HasSubstr;

workload::Catalogue catalogue() {
    workload::Catalogue c;
    c.items = 5;
    c.feature_names = {"item", "category"};
    c.feature_vocabularies = {6, 3};
    c.features = {{0, 1, 2, 3, 4, 5}, {0, 1, 2, 1, 2, 0}};
    return c;
}

/// Small enough to write by hand: d_e = 4, d = 6, tower input 3 * 4 + 2 = 14.
class FileBuilder {
  public:
    explicit FileBuilder(VariantParams const& variant) : variant_(variant) {
        file.set("format", std::string("ckvsim-sim-1"));
        file.set("variant", to_string(variant.variant));
        file.set("catalogue_digest", to_hex(catalogue_digest(catalogue())));
        for (auto const& [key, value] : std::map<std::string, std::int64_t>{{"seed", 9},
                                                                            {"feature_dim", 2},
                                                                            {"attention_dim", 6},
                                                                            {"heads", 2},
                                                                            {"short_tokens", 4},
                                                                            {"search_dim", 3},
                                                                            {"top_k", 2},
                                                                            {"max_tokens", 10},
                                                                            {"context_dim", 2}})
            file.set(key, value);
        file.set("tower", std::string("5,4"));
        if (variant.variant == Variant::collective) {
            file.set("scope", to_string(variant.scope));
            file.set("d_u", std::int64_t{variant.d_u});
            file.set("m", std::int64_t{variant.m});
        }
        add("embed.0", {6, 2}, 2);
        add("embed.1", {3, 2}, 2);
        add("embed.context", {4, 2});
        add("tower.0.w", {5, 14});
        add("tower.0.b", {5});
        add("tower.1.w", {4, 5});
        add("tower.1.b", {4});
        add("tower.2.w", {1, 4});
        add("tower.2.b", {1});
        if (variant.variant == Variant::mean_pool || variant.variant == Variant::no_history) return;
        add_site("short", variant.variant == Variant::collective);
        add_site("long", variant.variant == Variant::collective && variant.scope == Scope::all);
        add("search.wq", {3, 4});
        add("search.wk", {3, 4});
    }
    TensorFile file;

    /// Values 1, 2, 3, ... continued from tensor to tensor; the first `zeros` are 0.
    void add(std::string const& name, std::vector<std::int64_t> shape, std::size_t zeros = 0) {
        std::size_t count = 1;
        for (auto const extent : shape) count *= static_cast<std::size_t>(extent);
        std::vector<float> values(count);
        for (std::size_t i = 0; i < count; ++i) values[i] = i < zeros ? 0.0F : next_++;
        file.tensors[name] = Tensor::from<float>(std::span<float const>(values), std::move(shape));
    }

  private:
    void add_site(std::string const& site, bool collective) {
        add(site + ".wq", {6, 4});
        add(site + ".wo", {4, 6});
        for (std::string const side : {"k", "v"}) {
            if (!collective) {
                add(site + ".w" + side, {6, 4});
                continue;
            }
            add(site + "." + side + ".wr", {variant_.m, 4});
            if (variant_.d_u > 0) add(site + "." + side + ".wu", {variant_.d_u, 4});
            add(site + "." + side + ".pool", {variant_.m, 6 - std::int64_t{variant_.d_u}});
        }
    }
    VariantParams variant_;
    float next_ = 1.0F;
};

VariantParams of(Variant variant, Scope scope = Scope::released, std::uint32_t d_u = 1) {
    VariantParams params;
    params.variant = variant;
    params.scope = scope;
    params.d_u = d_u;
    params.m = 8;
    return params;
}

std::vector<VariantParams> all_variants() {
    return {of(Variant::full),
            of(Variant::full_silu),
            of(Variant::collective, Scope::released),
            of(Variant::collective, Scope::all, 3),
            of(Variant::collective, Scope::all, 0),
            of(Variant::mean_pool),
            of(Variant::no_history)};
}

std::string refusal(TensorFile const& file) {
    try {
        sim_weights_from(file, catalogue(), "w.ckvt");
    } catch (DataError const& error) {
        return error.what();
    }
    return "";
}

TEST(WeightsRefusal, EveryVariantLoads) {
    for (auto const& variant : all_variants()) {
        auto const weights = sim_weights_from(FileBuilder(variant).file, catalogue(), "w");
        EXPECT_EQ(weights.variant.variant, variant.variant);
        EXPECT_EQ(weights.d_e, 4U);
        EXPECT_EQ(weights.items, 5U);
        EXPECT_EQ(weights.training_seed, 9U);
        EXPECT_EQ(weights.context_vocabulary, 4U);
        EXPECT_EQ(weights.shape.tower, (std::vector<std::uint32_t>{5, 4}));
        ASSERT_EQ(weights.tower.size(), 3U);
        EXPECT_EQ(weights.tower[2].in, 4U);
        EXPECT_EQ(weights.tower[2].out, 1U);
        bool const collective = variant.variant == Variant::collective;
        EXPECT_EQ(weights.short_site.collective, collective);
        EXPECT_EQ(weights.long_site.collective, collective && variant.scope == Scope::all);
        EXPECT_EQ(weights.short_site.silu, collective || variant.variant == Variant::full_silu);
        EXPECT_EQ(weights.long_site.silu,
                  weights.long_site.collective || variant.variant == Variant::full_silu);
        if (collective) {
            EXPECT_EQ(weights.short_site.k.pool.size(), 8U * (6 - variant.d_u));
            EXPECT_EQ(weights.short_site.v.user.size(), std::size_t{variant.d_u} * 4);
            EXPECT_TRUE(weights.short_site.k.w.empty());
        }
    }
}

TEST(WeightsRefusal, ItemEmbeddingsConcatenateTheFeatures) {
    auto const weights = sim_weights_from(FileBuilder(of(Variant::full)).file, catalogue(), "w");
    // embed.0 = [0 0][1 2][3 4]...[9 10], embed.1 = [0 0][11 12][13 14]; item 4 has category 2.
    std::vector<float> const item_4(weights.item_embeddings.begin() + 16,
                                    weights.item_embeddings.begin() + 20);
    EXPECT_EQ(item_4, (std::vector<float>{7, 8, 13, 14}));
    for (int i = 0; i < 4; ++i)
        EXPECT_EQ(weights.item_embeddings[static_cast<std::size_t>(i)], 0.0F);
}

TEST(WeightsRefusal, SurvivesTheDisk) {
    test::TemporaryFolder const folder;
    FileBuilder const built(of(Variant::collective, Scope::all, 3));
    built.file.write(folder.path("w.ckvt"));
    auto const weights = load_sim_weights(folder.path("w.ckvt"), catalogue());
    EXPECT_EQ(weights.digest, built.file.digest());
    EXPECT_EQ(weights.variant.d_u, 3U);
    std::string what;
    try {
        load_sim_weights(folder.path("absent.ckvt"), catalogue());
    } catch (DataError const& error) {
        what = error.what();
    }
    EXPECT_THAT(what, HasSubstr("absent.ckvt"));
}

TEST(WeightsRefusal, EveryMissingTensorIsNamed) {
    for (auto const& variant : all_variants()) {
        auto const complete = FileBuilder(variant).file;
        for (auto const& [name, tensor] : complete.tensors) {
            TensorFile file = complete;
            file.tensors.erase(name);
            EXPECT_THAT(refusal(file), HasSubstr("w.ckvt: tensor '" + name + "' is missing"))
                << to_string(variant.variant);
        }
    }
}

TEST(WeightsRefusal, EveryIllShapedTensorIsNamed) {
    for (auto const& variant : all_variants()) {
        auto const complete = FileBuilder(variant).file;
        for (auto const& [name, tensor] : complete.tensors) {
            if (name == "embed.context") continue;  // its rows are free; see below
            TensorFile file = complete;
            auto shape = tensor.shape;
            shape[0] += 1;
            std::size_t count = 1;
            for (auto const extent : shape) count *= static_cast<std::size_t>(extent);
            std::vector<float> const values(count, 0.0F);
            file.tensors[name] = Tensor::from<float>(std::span<float const>(values), shape);
            EXPECT_THAT(refusal(file), HasSubstr("tensor '" + name + "' has shape")) << name;
            file.tensors[name] = Tensor::from<float>(std::span<float const>(values),
                                                     {static_cast<std::int64_t>(count)});
            if (tensor.shape.size() > 1) {
                EXPECT_THAT(refusal(file), HasSubstr("tensor '" + name + "' has shape")) << name;
            }
        }
    }
}

TEST(WeightsRefusal, EveryValueThatIsNotFiniteIsNamed) {
    auto const complete = FileBuilder(of(Variant::collective, Scope::all)).file;
    for (float const bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
        for (auto const& [name, tensor] : complete.tensors) {
            TensorFile file = complete;
            auto& data = file.tensors[name].data;
            std::memcpy(data.data() + data.size() - 4, &bad, 4);
            EXPECT_THAT(refusal(file),
                        HasSubstr("tensor '" + name + "' holds a value that is not finite"))
                << name;
        }
    }
}

TEST(WeightsRefusal, OtherTypesAndPaddingRowsAreRefused) {
    auto file = FileBuilder(of(Variant::full)).file;
    file.tensors["short.wq"].dtype = DType::i32;
    EXPECT_THAT(refusal(file), HasSubstr("'short.wq' is not float32"));
    file = FileBuilder(of(Variant::full)).file;
    file.tensors["embed.1"].data[3] = std::byte{0x40};
    EXPECT_THAT(refusal(file), HasSubstr("'embed.1' has a padding row 0 that is not zero"));
    file = FileBuilder(of(Variant::full)).file;
    FileBuilder helper(of(Variant::full));
    helper.add("embed.context", {0, 2});
    file.tensors["embed.context"] = helper.file.tensors["embed.context"];
    EXPECT_THAT(refusal(file), HasSubstr("'embed.context' has no rows"));
    helper.add("embed.context", {4, 3});
    file.tensors["embed.context"] = helper.file.tensors["embed.context"];
    EXPECT_THAT(refusal(file), HasSubstr("'embed.context' has shape [4, 3] (expected [4, 2])"));
}

TEST(WeightsRefusal, ForeignCataloguesAreRefused) {
    auto const file = FileBuilder(of(Variant::full)).file;
    auto other = catalogue();
    other.features[1][5] = 1;
    try {
        sim_weights_from(file, other, "w.ckvt");
        ADD_FAILURE() << "foreign weights were accepted";
    } catch (DataError const& error) {
        EXPECT_THAT(error.what(), HasSubstr("belong to another catalogue"));
    }
    other = catalogue();
    other.feature_vocabularies[1] = 4;
    EXPECT_NE(catalogue_digest(other), catalogue_digest(catalogue()));
}

TEST(WeightsRefusal, AttributeGarbageIsRefused) {
    struct Case {
        char const* key;
        char const* value;
        char const* expected;
    };
    std::vector<Case> const cases = {
        {"format", "ckvsim-sim-2", "format is 'ckvsim-sim-2'"},
        {"catalogue_digest", "", "another catalogue"},
        {"variant", "partial", "unknown variant 'partial'"},
        {"scope", "some", "unknown scope 'some'"},
        {"d_u", "6", "d_u must be below attention_dim"},
        {"d_u", "-1", "attribute 'd_u' is -1"},
        {"m", "0", "attribute 'm' is 0"},
        {"m", "9", "has shape"},
        {"m", "4294967296", "attribute 'm' is 4294967296"},
        {"heads", "4", "heads must divide attention_dim"},
        {"heads", "0", "attribute 'heads' is 0"},
        {"attention_dim", "0", "attribute 'attention_dim' is 0"},
        {"attention_dim", "12", "has shape"},
        {"feature_dim", "3", "has shape"},
        {"feature_dim", "2147483648", "has shape"},
        {"top_k", "none", "\"none\" is not a number"},
        {"top_k", "2.5", "is not a number"},
        {"top_k", "", "is not a number"},
        {"short_tokens", "0", "attribute 'short_tokens' is 0"},
        {"max_tokens", "0", "attribute 'max_tokens' is 0"},
        {"search_dim", "99999999999999999999", "is not a number"},
        {"seed", "x", "is not a number"},
        {"tower", "5,,4", "comma-separated positive widths"},
        {"tower", "5,0", "comma-separated positive widths"},
        {"tower", "5;4", "comma-separated positive widths"},
        {"tower", "5", "has shape"},
        {"tower", "5,4,3", "has shape"},
    };
    auto const complete = FileBuilder(of(Variant::collective)).file;
    ASSERT_EQ(refusal(complete), "");
    for (auto const& [key, value, expected] : cases) {
        TensorFile file = complete;
        file.attributes[key] = value;
        EXPECT_THAT(refusal(file), HasSubstr(expected)) << key << " = " << value;
    }
    for (auto const& [key, value] : complete.attributes) {
        TensorFile file = complete;
        file.attributes.erase(key);
        EXPECT_THAT(refusal(file), HasSubstr("attribute " + key + " is missing"));
    }
}

TEST(WeightsRefusal, WeightsOfAnotherVariantAreRefused) {
    // A file that says `collective` but holds the tensors of `full`, and the other way round.
    auto file = FileBuilder(of(Variant::full)).file;
    file.set("variant", std::string("collective"));
    file.set("scope", std::string("all"));
    file.set("d_u", std::int64_t{1});
    file.set("m", std::int64_t{8});
    EXPECT_THAT(refusal(file), HasSubstr("'short.k.wr' is missing"));
    file = FileBuilder(of(Variant::collective)).file;
    file.set("variant", std::string("full"));
    EXPECT_THAT(refusal(file), HasSubstr("'short.wk' is missing"));
    file = FileBuilder(of(Variant::collective, Scope::released)).file;
    file.set("scope", std::string("all"));
    EXPECT_THAT(refusal(file), HasSubstr("'long.k.wr' is missing"));
}

TEST(SimNames, RoundTripAndStems) {
    for (auto const v : {Variant::full, Variant::full_silu, Variant::collective, Variant::mean_pool,
                         Variant::no_history})
        EXPECT_EQ(variant_from(to_string(v)), v);
    for (auto const s : {Scope::released, Scope::all}) EXPECT_EQ(scope_from(to_string(s)), s);
    for (auto const k :
         {ModelKind::sim, ModelKind::twin, ModelKind::eta, ModelKind::sdim, ModelKind::hstu})
        EXPECT_EQ(model_kind_from(to_string(k)), k);
    EXPECT_THROW(model_kind_from("SIM"), InternalError);
    EXPECT_THROW(variant_from("Full"), InternalError);
    EXPECT_THROW(scope_from(""), InternalError);
    EXPECT_EQ(weights_stem(of(Variant::full)), "full");
    EXPECT_EQ(weights_stem(of(Variant::collective, Scope::all, 3)), "collective_all_du3_m8");
    for (auto const s : {Sides::both, Sides::k, Sides::v}) EXPECT_EQ(sides_from(to_string(s)), s);
    EXPECT_THROW(sides_from("K"), InternalError);
    auto values = of(Variant::collective, Scope::released, 1);
    values.sides = Sides::v;
    EXPECT_EQ(weights_stem(values), "collective_released_v_du1_m8");
    for (auto const s : {Start::random, Start::full, Start::full_silu})
        EXPECT_EQ(start_from(to_string(s)), s);
    EXPECT_THROW(start_from("warm"), InternalError);
    values.start = Start::full;
    EXPECT_EQ(weights_stem(values), "collective_released_v_from_full_du1_m8");
    for (auto const t : {Teacher::none, Teacher::full, Teacher::full_silu})
        EXPECT_EQ(teacher_from(to_string(t)), t);
    EXPECT_THROW(teacher_from("collective"), InternalError);
    values.teacher = Teacher::full_silu;
    EXPECT_EQ(weights_stem(values), "collective_released_v_from_full_distil_full_silu_du1_m8");
    values.variant = Variant::full;
    EXPECT_EQ(weights_stem(values), "full");
}

TEST(RandomWeights, AreAFunctionOfTheirArguments) {
    SimShape shape;
    auto const make = [&](std::uint64_t seed) {
        return random_sim_weights(shape, of(Variant::collective, Scope::all), catalogue(), 2, seed);
    };
    EXPECT_EQ(make(1).short_site.k.pool, make(1).short_site.k.pool);
    EXPECT_EQ(make(1).digest, make(1).digest);
    EXPECT_NE(make(1).digest, make(2).digest);
    EXPECT_NE(make(1).short_site.k.pool, make(1).short_site.v.pool);
    shape.heads = 3;
    EXPECT_THROW(make(1), InternalError) << "3 heads do not divide 64";
}

TEST(SimWeights, BytesCountEveryTensor) {
    for (auto const& variant : all_variants()) {
        auto const file = FileBuilder(variant).file;
        std::size_t all = 0;
        for (auto const& [name, tensor] : file.tensors) all += tensor.data.size();
        auto const weights = sim_weights_from(file, catalogue(), "w");
        EXPECT_EQ(weights.bytes() + weights.embedding_bytes(), all) << to_string(variant.variant);
        EXPECT_EQ(weights.embedding_bytes(), (12U + 6 + 8) * 4);
    }
}

}  // namespace
}  // namespace ckvsim::model
