#include "config/presets.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "config/spec.hpp"
#include "core/error.hpp"

namespace ckvsim::config {
namespace {

/// A spec without a model and with little of training.
std::string spec_text(std::string const& more = "") {
    return R"({"schema_version":1,"name":"n",)" + more +
           R"("workload":{"kind":"dataset","dataset_path":"d.h5"},"training":{"epochs":3},)"
           R"("arms":[{"name":"full","weights":{"variant":"full"},"strategy":{"kind":"full"}}],)"
           R"("files":{"platform":"p.json"}})";
}

std::string refusal(std::string const& text, std::vector<std::string> const& overrides = {}) {
    try {
        parse_spec(text, "s", overrides);
    } catch (ConfigError const& error) {
        return error.what();
    }
    return "";
}

std::vector<std::string> names() {
    std::istringstream all(preset_names());
    std::vector<std::string> found;
    for (std::string name; std::getline(all, name, ',');)
        found.push_back(name.substr(name.find_first_not_of(' ')));
    return found;
}

TEST(Presets, ThereIsOneForEveryModelAndDatasetOfThePaper) {
    auto const found = names();
    EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
    for (char const* model : {"eta", "hstu", "sdim", "sim", "twin"})
        for (char const* dataset : {"ebnerd", "kuaivideo", "microvideo"})
            EXPECT_EQ(std::count(found.begin(), found.end(), std::string(model) + "-" + dataset),
                      1);
    EXPECT_EQ(found.size(), 15U);
}

TEST(Presets, EachIsAValidSpecOfItsModelAndOfPublishedLengths) {
    for (auto const& name : names()) {
        auto const spec = parse_spec(spec_text(), "s", {"/preset=" + name});
        EXPECT_EQ(to_string(spec.model.kind), name.substr(0, name.find('-')));
        EXPECT_EQ(spec.model.max_tokens, 1000U) << name;
        EXPECT_EQ(spec.model.feature_dim, 64U) << name;
        EXPECT_EQ(spec.training.peak_weight, 0.01) << name;
        EXPECT_EQ(parse_spec(dump_spec(spec), "dump"), spec) << name;
    }
}

TEST(Presets, HaveTheBenchmarksWidthsTopKAndRegularisers) {
    struct Expected {
        std::string name;
        std::uint32_t attention_dim;
        std::uint32_t top_k;  ///< 0: the model has none
        double embedding_l2;
    };
    std::vector<Expected> const all = {
        {"eta-ebnerd", 128, 50, 0.001},      {"eta-kuaivideo", 512, 50, 0.0001},
        {"eta-microvideo", 128, 50, 1e-05},  {"hstu-ebnerd", 256, 0, 0.0001},
        {"hstu-kuaivideo", 256, 0, 0.0001},  {"hstu-microvideo", 256, 0, 0.0001},
        {"sdim-ebnerd", 256, 0, 0.001},      {"sdim-kuaivideo", 512, 0, 0.0001},
        {"sdim-microvideo", 256, 0, 1e-05},  {"sim-ebnerd", 128, 50, 0.0001},
        {"sim-kuaivideo", 512, 50, 0.0001},  {"sim-microvideo", 256, 50, 1e-05},
        {"twin-ebnerd", 128, 20, 1e-05},     {"twin-kuaivideo", 512, 50, 0.0001},
        {"twin-microvideo", 128, 50, 1e-05},
    };
    EXPECT_EQ(all.size(), names().size());
    for (auto const& expected : all) {
        auto const spec = parse_spec(spec_text(), "s", {"/preset=" + expected.name});
        EXPECT_EQ(spec.model.attention_dim, expected.attention_dim) << expected.name;
        if (expected.top_k > 0) {
            EXPECT_EQ(spec.model.top_k, expected.top_k) << expected.name;
        }
        EXPECT_EQ(spec.training.embedding_l2, expected.embedding_l2) << expected.name;
        bool const hstu = expected.name.starts_with("hstu");
        EXPECT_EQ(spec.model.heads, hstu ? 2U : 1U) << expected.name;
        if (!hstu) {
            EXPECT_EQ(spec.model.short_tokens, 49U) << expected.name;
        }
        if (expected.name.starts_with("sdim")) {
            EXPECT_EQ(spec.model.hash_bits, 4U) << expected.name;
            EXPECT_EQ(spec.model.hashes, 16U) << expected.name;
        }
        if (expected.name.starts_with("eta")) {
            EXPECT_EQ(spec.model.hash_bits, 32U) << expected.name;
        }
    }
}

TEST(Presets, GiveWayToTheSpecsOwnKeysAndToTheCommandLine) {
    auto const spec = parse_spec(spec_text(R"("preset":"sim-kuaivideo","model":{"top_k":7},)"), "s",
                                 {"/model/attention_dim=32"});
    EXPECT_EQ(spec.model.top_k, 7U);
    EXPECT_EQ(spec.model.attention_dim, 32U);
    EXPECT_EQ(spec.model.search_dim, 64U);
    EXPECT_EQ(spec.training.epochs, 3U);
    EXPECT_EQ(spec.training.batch, 2048U);
    EXPECT_EQ(dump_spec(spec).find("preset"), std::string::npos);
}

TEST(Presets, AreRefusedWithTheirNamesAndForAnotherModel) {
    auto const unknown = refusal(spec_text(R"("preset":"sim-movielens",)"));
    EXPECT_NE(unknown.find("/preset: \"sim-movielens\" names no preset"), std::string::npos)
        << unknown;
    EXPECT_NE(unknown.find("twin-microvideo"), std::string::npos) << unknown;
    EXPECT_NE(refusal(spec_text(R"("preset":7,)")).find("7 names no preset"), std::string::npos);
    auto const other = refusal(spec_text(R"("preset":"sim-kuaivideo","model":{"kind":"twin"},)"));
    EXPECT_NE(other.find("/model/kind: \"twin\" is not the model of preset sim-kuaivideo"),
              std::string::npos)
        << other;
    // What is no object is the reader's to refuse, once.
    auto const broken = refusal(spec_text(R"("preset":"sim-kuaivideo","model":[1],)"));
    EXPECT_NE(broken.find("/model: an array"), std::string::npos) << broken;
}

}  // namespace
}  // namespace ckvsim::config
