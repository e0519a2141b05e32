#include "train/samples.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>

#include "core/error.hpp"
#include "planted_samples.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::train {
namespace {

TEST(Samples, ReadsWhatWasWritten) {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    planted.set_variants({{"full", "released", 0, 0}, {"collective", "all", 1, 32}});
    planted.file().write(folder.path("a.ckvt"));
    auto const samples = read_samples(folder.path("a.ckvt"));
    EXPECT_EQ(samples.items, 60U);
    EXPECT_EQ(samples.shape.d_e(), 16U);
    EXPECT_EQ(samples.shape.tower, (std::vector<std::uint32_t>{16, 8}));
    ASSERT_EQ(samples.variants.size(), 2U);
    EXPECT_EQ(samples.variants[1].kind, Kind::collective);
    EXPECT_TRUE(samples.variants[1].collective_long());
    EXPECT_EQ(samples.variants[1].m, 32U);
    EXPECT_EQ(samples.train.size(), 1600U);
    EXPECT_EQ(samples.item_features[1][7], 1U);
    EXPECT_EQ(weights_path(samples, samples.variants[0], 3), "weights/full_released_seed3.ckvt");
}

TEST(Samples, NameTheSidesOfPoolsUnlessBothHaveThem) {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    planted.set_variants({{"collective", "all", 1, 32},
                          {"collective", "all", 1, 32, "k"},
                          {"collective", "released", 1, 32, "v"},
                          {"full", "released", 0, 0}});
    planted.file().write(folder.path("a.ckvt"));
    auto const variants = read_samples(folder.path("a.ckvt")).variants;
    ASSERT_EQ(variants.size(), 4U);
    EXPECT_EQ(variants[0].sides, Sides::both);
    EXPECT_EQ(variants[1].sides, Sides::k);
    EXPECT_EQ(variants[2].sides, Sides::v);
    EXPECT_TRUE(variants[0].pools("k") && variants[0].pools("v"));
    EXPECT_TRUE(variants[1].pools("k") && !variants[1].pools("v"));
    EXPECT_TRUE(!variants[2].pools("k") && variants[2].pools("v"));
    EXPECT_FALSE(variants[3].pools("k") || variants[3].pools("v"));
}

TEST(Samples, NameTheStartOfPoolsUnlessItIsRandom) {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    planted.set_variants({{"collective", "all", 1, 32},
                          {"collective", "all", 1, 32, "", "full"},
                          {"collective", "released", 1, 32, "v", "full_silu"},
                          {"collective", "all", 1, 32, "", "random"}});
    planted.file().write(folder.path("a.ckvt"));
    auto const variants = read_samples(folder.path("a.ckvt")).variants;
    ASSERT_EQ(variants.size(), 4U);
    EXPECT_EQ(variants[0].start, Start::random);
    EXPECT_EQ(variants[1].start, Start::full);
    EXPECT_EQ(variants[2].start, Start::full_silu);
    EXPECT_EQ(variants[2].sides, Sides::v);
    EXPECT_TRUE(variants[1].starts_warm() && variants[2].starts_warm());
    EXPECT_FALSE(variants[0].starts_warm() || variants[3].starts_warm());
}

TEST(Samples, NameTheTeacherOfPoolsUnlessThereIsNone) {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    planted.set_variants({{"collective", "all", 1, 32},
                          {"collective", "all", 1, 32, "", "", "full"},
                          {"collective", "released", 1, 32, "v", "full", "full_silu"},
                          {"collective", "all", 1, 32, "", "full_silu", "full_silu"}});
    planted.file().write(folder.path("a.ckvt"));
    auto const samples = read_samples(folder.path("a.ckvt"));
    auto const& variants = samples.variants;
    ASSERT_EQ(variants.size(), 4U);
    EXPECT_FALSE(variants[0].has_teacher());
    EXPECT_EQ(variants[1].teacher, Teacher::full);
    EXPECT_EQ(variants[2].teacher, Teacher::full_silu);
    EXPECT_FALSE(variants[1].starts_from_teacher() || variants[2].starts_from_teacher());
    EXPECT_TRUE(variants[3].starts_from_teacher());
    for (std::size_t i = 0; i < variants.size(); ++i)
        EXPECT_EQ(variants[i].trainings(), (std::array{1U, 2U, 3U, 2U}[i])) << i;
    EXPECT_EQ(samples.schedule.distil_weight, 0.5);
    EXPECT_EQ(samples.schedule.distil_temperature, 2.0);
}

TEST(Samples, NameTheirModelUnlessItIsSim) {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    planted.file().write(folder.path("sim.ckvt"));
    EXPECT_EQ(read_samples(folder.path("sim.ckvt")).shape.model, Model::sim);
    planted.set_twin();
    planted.file().write(folder.path("twin.ckvt"));
    EXPECT_EQ(read_samples(folder.path("twin.ckvt")).shape.model, Model::twin);
    EXPECT_EQ(to_string(Model::twin), "twin");
    planted.set_eta();
    planted.file().write(folder.path("eta.ckvt"));
    EXPECT_EQ(read_samples(folder.path("eta.ckvt")).shape.model, Model::eta);
    EXPECT_EQ(read_samples(folder.path("eta.ckvt")).shape.hash_bits, 16U);
    EXPECT_EQ(read_samples(folder.path("eta.ckvt")).shape.hash_planes(), 16U);
}

TEST(Samples, OfSdimHaveHashesAndNoTopK) {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    planted.set_sdim();
    planted.set_variants({{"collective", "released", 1, 32}});
    planted.file().write(folder.path("sdim.ckvt"));
    auto const samples = read_samples(folder.path("sdim.ckvt"));
    EXPECT_EQ(samples.shape.model, Model::sdim);
    EXPECT_EQ(to_string(Model::sdim), "sdim");
    EXPECT_EQ(samples.shape.hashes, 4U);
    EXPECT_EQ(samples.shape.hash_bits, 3U);
    EXPECT_EQ(samples.shape.hash_planes(), 12U);
    EXPECT_EQ(samples.shape.top_k, 0U);
    EXPECT_EQ(samples.shape.short_tokens, 6U);
}

struct BrokenCase {
    char const* name;
    std::function<void(TensorFile&)> damage;
    char const* message;
};
void PrintTo(BrokenCase const& broken, std::ostream* out) { *out << broken.name; }

class BrokenSamples : public testing::TestWithParam<BrokenCase> {};

TEST_P(BrokenSamples, AreRefusedWithTheReason) {
    test::TemporaryFolder const folder;
    test::PlantedSamples planted;
    GetParam().damage(planted.file());
    planted.file().write(folder.path("broken.ckvt"));
    try {
        read_samples(folder.path("broken.ckvt"));
        FAIL() << "accepted";
    } catch (DataError const& error) {
        EXPECT_NE(std::string(error.what()).find("broken.ckvt"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos)
            << error.what();
    }
}

template <class T>
void overwrite(TensorFile& file, std::string const& name, std::size_t at, T value) {
    std::memcpy(file.tensors.at(name).data.data() + at * sizeof(T), &value, sizeof(T));
}
void fill_labels(TensorFile& file, std::string const& name, std::uint8_t value) {
    for (auto& byte : file.tensors.at(name).data) byte = std::byte{value};
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BrokenSamples,
    testing::Values(
        BrokenCase{"format", [](TensorFile& f) { f.set("format", std::string("ckvsim-sim-1")); },
                   "is not a sample file"},
        BrokenCase{"no_attribute", [](TensorFile& f) { f.attributes.erase("top_k"); },
                   "attribute top_k is missing"},
        BrokenCase{"no_tensor", [](TensorFile& f) { f.tensors.erase("tune.label"); },
                   "tensor tune.label is missing"},
        BrokenCase{"model", [](TensorFile& f) { f.set("model", std::string("din")); },
                   "\"din\" is not a model (known: sim, twin, eta, sdim, hstu)"},
        BrokenCase{"sides", [](TensorFile& f) { f.set("variant.0.sides", std::string("q")); },
                   "variant.0.sides = \"q\" names no sides (known: both, k, v)"},
        BrokenCase{"start", [](TensorFile& f) { f.set("variant.0.start", std::string("warm")); },
                   "variant.0.start = \"warm\" is not a start (known: random, full, full_silu)"},
        BrokenCase{"start_of_full",
                   [](TensorFile& f) { f.set("variant.0.start", std::string("full")); },
                   "variant.0.start = \"full\" means nothing to variant full, which has no pools"},
        BrokenCase{"start_of_hstu",
                   [](TensorFile& f) {
                       f.set("model", std::string("hstu"));
                       f.set("layers", std::int64_t{2});
                       f.set("variant.0.kind", std::string("collective"));
                       f.set("variant.0.m", std::int64_t{8});
                       f.set("variant.0.start", std::string("full_silu"));
                   },
                   "variant.0.start = \"full_silu\" means nothing to model hstu"},
        BrokenCase{"teacher", [](TensorFile& f) { f.set("variant.0.teacher", std::string("me")); },
                   "variant.0.teacher = \"me\" is not a teacher (known: none, full, full_silu)"},
        BrokenCase{
            "teacher_of_full",
            [](TensorFile& f) { f.set("variant.0.teacher", std::string("full")); },
            "variant.0.teacher = \"full\" means nothing to variant full, which has no pools"},
        BrokenCase{"silu_teacher_of_hstu",
                   [](TensorFile& f) {
                       f.set("model", std::string("hstu"));
                       f.set("layers", std::int64_t{2});
                       f.set("variant.0.kind", std::string("collective"));
                       f.set("variant.0.m", std::int64_t{8});
                       f.set("variant.0.teacher", std::string("full_silu"));
                   },
                   "variant.0.teacher = \"full_silu\" means nothing to model hstu"},
        BrokenCase{"teacher_without_a_weight",
                   [](TensorFile& f) {
                       f.set("variant.0.kind", std::string("collective"));
                       f.set("variant.0.m", std::int64_t{8});
                       f.set("variant.0.teacher", std::string("full"));
                   },
                   "distil_weight"},
        BrokenCase{"distil_weight",
                   [](TensorFile& f) {
                       f.set("variant.0.kind", std::string("collective"));
                       f.set("variant.0.m", std::int64_t{8});
                       f.set("variant.0.teacher", std::string("full"));
                       f.set_real("distil_weight", 1.5);
                       f.set_real("distil_temperature", 1);
                   },
                   "attribute distil_weight is 1.5"},
        BrokenCase{"distil_temperature",
                   [](TensorFile& f) {
                       f.set("variant.0.kind", std::string("collective"));
                       f.set("variant.0.m", std::int64_t{8});
                       f.set("variant.0.teacher", std::string("full"));
                       f.set_real("distil_weight", 0.5);
                       f.set_real("distil_temperature", 0);
                   },
                   "attribute distil_temperature is 0"},
        BrokenCase{"hash_bits",
                   [](TensorFile& f) {
                       f.set("model", std::string("eta"));
                       f.set("hash_bits", std::int64_t{24});
                   },
                   "hash_bits is 24 (allowed: 8, 16, 32, 64)"},
        BrokenCase{"bucket_bits",
                   [](TensorFile& f) {
                       f.set("model", std::string("sdim"));
                       f.set("hashes", std::int64_t{4});
                       f.set("hash_bits", std::int64_t{9});
                   },
                   "hash_bits is 9 (allowed: 1 .. 8)"},
        BrokenCase{"hashes",
                   [](TensorFile& f) {
                       f.set("model", std::string("sdim"));
                       f.set("hashes", std::int64_t{65});
                       f.set("hash_bits", std::int64_t{3});
                   },
                   "hashes is 65 (allowed: 1 .. 64)"},
        BrokenCase{"no_hashes",
                   [](TensorFile& f) {
                       f.set("model", std::string("sdim"));
                       f.set("hash_bits", std::int64_t{3});
                   },
                   "attribute hashes is missing"},
        BrokenCase{"sdim_scope",
                   [](TensorFile& f) {
                       f.set("model", std::string("sdim"));
                       f.set("hashes", std::int64_t{4});
                       f.set("hash_bits", std::int64_t{3});
                       f.set("variant.0.kind", std::string("collective"));
                       f.set("variant.0.scope", std::string("all"));
                   },
                   "variant.0.scope = \"all\" means nothing to model sdim"},
        BrokenCase{"no_search_dim", [](TensorFile& f) { f.attributes.erase("search_dim"); },
                   "attribute search_dim is missing"},
        BrokenCase{"heads", [](TensorFile& f) { f.set("heads", std::int64_t{3}); },
                   "does not divide attention_dim"},
        BrokenCase{"tower", [](TensorFile& f) { f.set("tower", std::string("8,x")); },
                   "comma-separated"},
        BrokenCase{"rate", [](TensorFile& f) { f.set("learning_rate", std::string("nan")); },
                   "attribute learning_rate"},
        BrokenCase{"kind",
                   [](TensorFile& f) { f.set("variant.0.kind", std::string("transformer")); },
                   "\"transformer\" is not a variant"},
        BrokenCase{"d_u",
                   [](TensorFile& f) {
                       f.set("variant.0.kind", std::string("collective"));
                       f.set("variant.0.m", std::int64_t{4});
                       f.set("variant.0.d_u", std::int64_t{16});
                   },
                   "variant.0.d_u is 16"},
        BrokenCase{"type", [](TensorFile& f) { f.tensors.at("train.item").dtype = DType::i32; },
                   "unexpected value type"},
        BrokenCase{"item", [](TensorFile& f) { overwrite<std::uint32_t>(f, "train.item", 3, 61); },
                   "split train, sample 3: item 61"},
        BrokenCase{"user",
                   [](TensorFile& f) { overwrite<std::uint32_t>(f, "tune.user", 0, 1U << 30); },
                   "split tune, sample 0: user row"},
        BrokenCase{"history",
                   [](TensorFile& f) { overwrite<std::uint32_t>(f, "train.history_end", 5, 1000); },
                   "history ends behind"},
        BrokenCase{"event",
                   [](TensorFile& f) { overwrite<std::uint32_t>(f, "timeline.items", 0, 0); },
                   "timeline.items holds item 0"},
        BrokenCase{"feature",
                   [](TensorFile& f) { overwrite<std::uint32_t>(f, "item_features", 1, 1000); },
                   "its vocabulary ends at"},
        BrokenCase{"padding",
                   [](TensorFile& f) { overwrite<std::uint32_t>(f, "item_features", 0, 1); },
                   "padding item"},
        BrokenCase{"no_clicks", [](TensorFile& f) { fill_labels(f, "train.label", 0); },
                   "labels of split train are equal"},
        BrokenCase{"all_clicks", [](TensorFile& f) { fill_labels(f, "tune.label", 1); },
                   "labels of split tune are equal"}),
    [](auto const& param_info) { return std::string(param_info.param.name); });

}  // namespace
}  // namespace ckvsim::train
