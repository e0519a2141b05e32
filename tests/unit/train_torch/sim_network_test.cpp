#include "train/sim_network.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <span>
#include <tuple>

#include "network_fixtures.hpp"
#include "train/batch.hpp"
#include "train/torch_runtime.hpp"

namespace ckvsim::train {
namespace {

using test::batch_of;
using test::planted_samples;
using test::pools_of;
using test::variant_of;
using test::warm_up;

double total_of(StepLosses const& losses, Schedule const& schedule) {
    return losses.click + losses.search + schedule.peak_weight * losses.peak +
           schedule.balance_weight * losses.balance;
}

class EveryVariant : public testing::TestWithParam<std::tuple<Model, VariantSpec>> {};

// K, V, search keys and router once per unique item against once per token: the same objective and
// the same gradients, because the losses are weighted by counts.
TEST_P(EveryVariant, UniqueItemsGiveThePerTokenObjective) {
    auto const& [model, variant] = GetParam();
    auto const samples = planted_samples(false, model);
    SimNetwork network(samples, variant, 1);
    warm_up(network, samples);
    auto const unique = batch_of(samples, BatchBuilder::Mode::unique_items, 64);
    auto const tokens = batch_of(samples, BatchBuilder::Mode::per_token, 64);
    ASSERT_LT(unique.items.size() * 5, tokens.items.size());
    std::map<std::string, std::vector<float>> by_item;
    std::map<std::string, std::vector<float>> by_token;
    auto const a = network.gradients(unique, by_item);
    auto const b = network.gradients(tokens, by_token);
    EXPECT_NEAR(total_of(a, samples.schedule), total_of(b, samples.schedule), 1e-6);
    EXPECT_NEAR(a.peak, b.peak, 1e-6 * std::max(1.0, a.peak));
    EXPECT_NEAR(a.balance, b.balance, 1e-6 * std::max(1.0, a.balance));
    ASSERT_EQ(by_item.size(), by_token.size());
    for (auto const& [name, gradient] : by_item) {
        double scale = 0;
        for (auto const g : gradient) scale = std::max(scale, std::abs(double{g}));
        for (std::size_t i = 0; i < gradient.size(); ++i) {
            ASSERT_NEAR(gradient[i], by_token.at(name)[i], 1e-6 + 1e-4 * scale) << name << " " << i;
        }
    }
}

std::string case_name(testing::TestParamInfo<std::tuple<Model, VariantSpec>> const& of) {
    auto const& [model, variant] = of.param;
    return to_string(model) + "_" + to_string(variant.kind) + "_" + to_string(variant.scope) +
           "_" + to_string(variant.sides) + "_du" + std::to_string(variant.d_u) + "_m" +
           std::to_string(variant.m);
}

INSTANTIATE_TEST_SUITE_P(
    Variants, EveryVariant,
    testing::Combine(testing::Values(Model::sim, Model::twin, Model::eta),
                     testing::Values(variant_of(Kind::full), variant_of(Kind::full_silu),
                                     variant_of(Kind::collective, Scope::released, 1, 16),
                                     variant_of(Kind::collective, Scope::all, 0, 7),
                                     variant_of(Kind::collective, Scope::all, 3, 1),
                                     variant_of(Kind::collective, Scope::all, 2, 7, Sides::k),
                                     variant_of(Kind::collective, Scope::all, 2, 7, Sides::v),
                                     variant_of(Kind::mean_pool), variant_of(Kind::no_history))),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    VariantsOfSdim, EveryVariant,
    testing::Combine(testing::Values(Model::sdim),
                     testing::Values(variant_of(Kind::full), variant_of(Kind::full_silu),
                                     variant_of(Kind::collective, Scope::released, 1, 16),
                                     variant_of(Kind::collective, Scope::released, 0, 7),
                                     variant_of(Kind::collective, Scope::released, 2, 7, Sides::v),
                                     variant_of(Kind::mean_pool), variant_of(Kind::no_history))),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    VariantsOfHstu, EveryVariant,
    testing::Combine(testing::Values(Model::hstu),
                     testing::Values(variant_of(Kind::full),
                                     variant_of(Kind::collective, Scope::all, 0, 7),
                                     variant_of(Kind::collective, Scope::all, 3, 16),
                                     variant_of(Kind::collective, Scope::all, 2, 7, Sides::k),
                                     variant_of(Kind::collective, Scope::all, 2, 7, Sides::v),
                                     variant_of(Kind::mean_pool), variant_of(Kind::no_history))),
    case_name);

/// Of V beside what initial values give.
constexpr float kLargeValues = 30.0F;

class EveryModel : public testing::TestWithParam<Model> {};
INSTANTIATE_TEST_SUITE_P(Models, EveryModel,
                         testing::Values(Model::sim, Model::twin, Model::eta, Model::sdim,
                                         Model::hstu),
                         [](auto const& of) { return to_string(of.param); });

// Everything differentiable: with one pool row no arg-max can flip between the two evaluations.
TEST_P(EveryModel, GradientsAreDifferenceQuotients) {
    auto samples = planted_samples(false, GetParam());
    samples.schedule.dropout = 0;
    samples.shape.top_k = 16;  // all tokens: the search cannot flip either
    SimNetwork network(samples, pools_of(GetParam(), 2, 1), 1);
    if (GetParam() != Model::hstu) warm_up(network, samples);
    auto const batch = batch_of(samples, BatchBuilder::Mode::unique_items, 1024);
    std::map<std::string, std::vector<float>> gradients;
    network.gradients(batch, gradients);
    auto values = network.snapshot();
    // snapshot() is in the order of parameter names, then the feature tables, then the context.
    std::vector<std::string> names;
    for (auto const& [name, gradient] : gradients) {
        if (!name.starts_with("embed.")) names.push_back(name);
    }
    for (char const* const name : {"embed.0", "embed.1", "embed.context"}) names.push_back(name);
    ASSERT_EQ(names.size(), values.size());
    if (GetParam() == Model::hstu) {
        // Norms of small attention outputs bend too sharply for differences: V is made large. Nor is
        // this model warmed up, which ends elsewhere on each processor, near such bends on some.
        for (std::size_t p = 0; p < names.size(); ++p) {
            if (!names[p].ends_with(".v.pool") && !names[p].ends_with(".v.wu")) continue;
            for (float& value : values[p]) value *= kLargeValues;
        }
        network.restore(values);
        network.gradients(batch, gradients);
    }
    for (std::size_t p = 0; p < names.size(); ++p) {
        // ReLUs have kinks: judge the whole gradient on many samples, not single entries on few.
        auto const& gradient = gradients.at(names[p]);
        double norm = 0;
        for (auto const g : gradient) norm += double{g} * g;
        norm = std::sqrt(norm);
        if (norm < 1e-4) continue;
        // HSTU's norms bend still: its loss moves by 5e-6 at most.
        // SDIM's items must not leave their buckets.
        double step = GetParam() == Model::hstu ? std::min(2e-3, 5e-6 / norm) : 2e-3;
        if (GetParam() == Model::sdim && names[p].starts_with("embed.")) step = 2e-4;
        auto const shifted = [&](double sign) {
            auto moved = values;
            for (std::size_t i = 0; i < gradient.size(); ++i)
                moved[p][i] += static_cast<float>(sign * step * gradient[i] / norm);
            network.restore(moved);
            std::map<std::string, std::vector<float>> ignored;
            return total_of(network.gradients(batch, ignored), samples.schedule);
        };
        double const slope = (shifted(1) - shifted(-1)) / (2 * step);
        // SIM's search head sees detached embeddings: the click loss alone moves them.
        bool const stopped =
            GetParam() == Model::sim && (names[p] == "embed.0" || names[p] == "embed.1");
        if (!stopped) {
            EXPECT_NEAR(slope, norm, 0.03 * norm + 3e-4) << names[p];
        }
        network.restore(values);
    }
}

// Peak and balance of the sides with a pool against their formulas, computed here from the stored
// weights.
class RouterLosses : public testing::TestWithParam<Sides> {};
INSTANTIATE_TEST_SUITE_P(Pools, RouterLosses, testing::Values(Sides::both, Sides::k, Sides::v),
                         [](auto const& of) { return to_string(of.param); });

TEST_P(RouterLosses, AreTheFormulas) {
    auto const samples = planted_samples();
    VariantSpec const variant = variant_of(Kind::collective, Scope::released, 1, 12, GetParam());
    SimNetwork network(samples, variant, 1);
    warm_up(network, samples);
    auto const batch = batch_of(samples, BatchBuilder::Mode::unique_items, 48);
    TensorFile file;
    network.store(file);
    std::map<std::string, std::vector<float>> ignored;
    auto const losses = network.gradients(batch, ignored);
    double peak = 0;
    double balance = 0;
    for (std::string const name : {"k", "v"}) {
        auto const side = "short." + name + ".";
        EXPECT_EQ(file.has(side + "wr"), variant.pools(name));
        EXPECT_EQ(file.has("short.w" + name), !variant.pools(name));
        if (!variant.pools(name)) continue;
        auto const router = file.tensor(side + "wr").as<float>();
        std::vector<double> mean(12, 0.0);
        double side_peak = 0;
        for (auto const row : batch.short_tokens.rows) {
            std::vector<double> logits(12, 0.0);
            for (std::size_t m = 0; m < 12; ++m) {
                for (std::size_t i = 0; i < 16; ++i) {
                    std::size_t const f = i / 8;
                    auto const id = samples.item_features[f][batch.items[row]];
                    auto const table = file.tensor("embed." + std::to_string(f)).as<float>();
                    logits[m] += double{router[m * 16 + i]} * table[id * 8 + i % 8];
                }
            }
            double const largest = *std::max_element(logits.begin(), logits.end());
            side_peak += std::log1p(std::exp(-largest));
            double sum = 0;
            for (auto const r : logits) sum += std::exp(r);
            for (std::size_t m = 0; m < 12; ++m) mean[m] += std::exp(logits[m]) / sum;
        }
        auto const tokens = static_cast<double>(batch.short_tokens.rows.size());
        peak += side_peak / tokens;
        for (auto const p : mean) balance += p / tokens * std::log(p / tokens * 12);
    }
    EXPECT_NEAR(losses.peak, peak, 1e-5);
    EXPECT_NEAR(losses.balance, balance, 1e-5);
    EXPECT_GT(balance, 1e-4) << "the case must not be trivial";
}

TEST(SimNetwork, StraightThroughTrainsWithThePlainRow) {
    // Same weights: in the straight-through forward pass the pool row is not scaled, so without
    // dropout the training loss is that of evaluation.
    auto samples = planted_samples(true);
    samples.schedule.dropout = 0;
    SimNetwork network(samples, variant_of(Kind::collective, Scope::all, 1, 16), 1);
    warm_up(network, samples);
    auto const batch = batch_of(samples, BatchBuilder::Mode::unique_items, 64);
    auto const logits = network.predict(batch);
    double evaluated = 0;
    for (std::size_t b = 0; b < logits.size(); ++b)
        evaluated += std::log1p(std::exp(batch.labels[b] > 0 ? -logits[b] : logits[b])) / 64;
    std::map<std::string, std::vector<float>> gradients;
    EXPECT_NEAR(network.gradients(batch, gradients).click, evaluated, 1e-5);
    double router = 0;
    for (auto const g : gradients.at("short.k.wr")) router += std::abs(g);
    EXPECT_GT(router, 0.0);
}

TEST(SimNetwork, TheSearchLearnsOnlyFromItsHead) {
    auto const samples = planted_samples();
    SimNetwork network(samples, variant_of(Kind::full), 1);
    warm_up(network, samples);
    auto const batch = batch_of(samples, BatchBuilder::Mode::unique_items, 64);
    std::map<std::string, std::vector<float>> gradients;
    network.gradients(batch, gradients);
    for (char const* const name : {"search.wq", "search.wk"}) {
        double size = 0;
        for (auto const g : gradients.at(name)) size += std::abs(g);
        EXPECT_GT(size, 1e-6) << name;
    }
    TensorFile file;
    network.store(file);
    EXPECT_TRUE(file.has("search.wk"));
    for (auto const& [name, tensor] : file.tensors)
        EXPECT_FALSE(name.starts_with("search_head")) << name;
}

TEST(SimNetwork, TwinTrainsItsSearchThroughTheAttentionAlone) {
    auto const samples = planted_samples(false, Model::twin);
    SimNetwork network(samples, variant_of(Kind::full), 1);
    warm_up(network, samples);
    auto const batch = batch_of(samples, BatchBuilder::Mode::unique_items, 64);
    std::map<std::string, std::vector<float>> gradients;
    EXPECT_EQ(network.gradients(batch, gradients).search, 0.0);
    for (auto const& [name, gradient] : gradients) EXPECT_FALSE(name.starts_with("search")) << name;
    for (char const* const name : {"long.wq", "long.wk"}) {
        double size = 0;
        for (auto const g : gradients.at(name)) size += std::abs(g);
        EXPECT_GT(size, 1e-6) << name;
    }
    // Another wk chooses other tokens: the search has no keys of its own.
    Ragged before;
    network.predict(batch, &before);
    auto values = network.snapshot();
    std::vector<std::string> names;
    for (auto const& [name, gradient] : gradients) {
        if (!name.starts_with("embed.")) names.push_back(name);
    }
    auto const at = std::find(names.begin(), names.end(), "long.wk") - names.begin();
    for (float& w : values[static_cast<std::size_t>(at)]) w = -w;
    network.restore(values);
    Ragged after;
    network.predict(batch, &after);
    EXPECT_EQ(before.offsets, after.offsets);
    EXPECT_NE(before.rows, after.rows);
}

// A history item that is neither in the short window nor chosen by the search has no gradient: the
// items with one betray what training chose.
class SearchWithoutAHead : public testing::TestWithParam<Model> {};
INSTANTIATE_TEST_SUITE_P(Models, SearchWithoutAHead, testing::Values(Model::twin, Model::eta),
                         [](auto const& of) { return to_string(of.param); });

TEST_P(SearchWithoutAHead, InTrainingAsInServing) {
    auto samples = planted_samples(false, GetParam());
    samples.schedule.peak_weight = 0;
    samples.schedule.balance_weight = 0;
    for (auto const& variant : {variant_of(Kind::full), variant_of(Kind::full_silu),
                                variant_of(Kind::collective, Scope::all, 1, 16),
                                variant_of(Kind::collective, Scope::all, 0, 16)}) {
        SimNetwork network(samples, variant, 1);
        warm_up(network, samples);
        std::size_t found = 0;
        for (std::uint32_t sample = 0; sample < 256; ++sample) {
            Batch batch;
            BatchBuilder(samples).build(samples.train, std::span(&sample, 1), batch);
            Ragged chosen;
            network.predict(batch, &chosen);
            std::set<std::uint32_t> expected = {batch.items[batch.candidates[0]]};
            for (auto const row : batch.short_tokens.rows) expected.insert(batch.items[row]);
            std::size_t const without_search = expected.size();
            for (auto const position : chosen.rows)
                expected.insert(batch.items[batch.long_tokens.rows[position]]);
            std::map<std::string, std::vector<float>> gradients;
            network.gradients(batch, gradients);
            auto const& rows = gradients.at("embed.0");
            std::set<std::uint32_t> moved;
            for (std::size_t i = 0; i < rows.size(); ++i) {
                if (rows[i] != 0.0F) moved.insert(static_cast<std::uint32_t>(i / 8));
            }
            EXPECT_TRUE(std::includes(expected.begin(), expected.end(), moved.begin(), moved.end()))
                << to_string(variant.kind) << " sample " << sample;
            if (moved == expected) found += expected.size() - without_search;
        }
        EXPECT_GT(found, 100U) << "the case must not be trivial";
    }
}

// The stored planes and embeddings choose what the network chose: nearest first, then newest.
TEST(SimNetwork, EtaChoosesByTheSignsThatItStores) {
    auto const samples = planted_samples(false, Model::eta);
    SimNetwork network(samples, variant_of(Kind::full), 1);
    TensorFile start;
    network.store(start);
    warm_up(network, samples);
    TensorFile file;
    network.store(file);
    auto const planes = file.tensor("hash.planes").as<float>();
    EXPECT_EQ(file.tensor("hash.planes").shape, (std::vector<std::int64_t>{16, 16}));
    auto const before = start.tensor("hash.planes").as<float>();
    EXPECT_TRUE(std::equal(planes.begin(), planes.end(), before.begin())) << "never trained";
    auto const batch = batch_of(samples, BatchBuilder::Mode::unique_items, 64);
    std::map<std::string, std::vector<float>> gradients;
    EXPECT_EQ(network.gradients(batch, gradients).search, 0.0);
    EXPECT_FALSE(gradients.contains("hash.planes"));
    auto const side = [&](std::uint32_t row, std::size_t plane) {
        double sum = 0;
        for (std::size_t i = 0; i < 16; ++i) {
            std::size_t const f = i / 8;
            auto const id = samples.item_features[f][batch.items[row]];
            auto const table = file.tensor("embed." + std::to_string(f)).as<float>();
            sum += double{planes[plane * 16 + i]} * table[id * 8 + i % 8];
        }
        return sum > 0;
    };
    auto const distance = [&](std::uint32_t a, std::uint32_t b) {
        int differing = 0;
        for (std::size_t plane = 0; plane < 16; ++plane)
            differing += side(a, plane) != side(b, plane) ? 1 : 0;
        return differing;
    };
    Ragged chosen;
    network.predict(batch, &chosen);
    std::size_t searched = 0;
    for (std::size_t b = 0; b < batch.size(); ++b) {
        auto const tokens = batch.long_tokens.list(b);
        auto const candidate = static_cast<std::uint32_t>(batch.candidates[b]);
        std::vector<std::uint32_t> order(tokens.size());
        std::iota(order.begin(), order.end(), 0U);
        std::sort(order.begin(), order.end(), [&](std::uint32_t x, std::uint32_t y) {
            int const dx = distance(candidate, tokens[x]);
            int const dy = distance(candidate, tokens[y]);
            return dx != dy ? dx < dy : x > y;
        });
        searched += order.size() > 5 ? 1 : 0;
        order.resize(std::min<std::size_t>(order.size(), 5));
        std::sort(order.begin(), order.end());
        auto const own = chosen.list(b);
        EXPECT_EQ(std::vector<std::uint32_t>(own.begin(), own.end()), order) << "sample " << b;
    }
    EXPECT_GT(searched, 20U) << "the case must not be trivial";
}

TEST(SimNetwork, EveryVariantOfASeedHasTheSamePlanes) {
    auto const samples = planted_samples(false, Model::eta);
    auto const planes_of = [&](VariantSpec const& variant, std::uint64_t seed) {
        TensorFile file;
        SimNetwork(samples, variant, seed).store(file);
        auto const values = file.tensor("hash.planes").as<float>();
        return std::vector<float>(values.begin(), values.end());
    };
    auto const pools = variant_of(Kind::collective, Scope::all, 1, 16);
    EXPECT_EQ(planes_of(variant_of(Kind::full), 1), planes_of(pools, 1));
    EXPECT_NE(planes_of(pools, 1), planes_of(pools, 2));
    TensorFile none;
    SimNetwork(samples, variant_of(Kind::mean_pool), 1).store(none);
    EXPECT_FALSE(none.has("hash.planes"));
}

TEST(SimNetwork, PaddingStaysZero) {
    auto const samples = planted_samples();
    SimNetwork network(samples, variant_of(Kind::full), 1);
    warm_up(network, samples);
    TensorFile file;
    network.store(file);
    for (auto const* const name : {"embed.0", "embed.1"}) {
        auto const table = file.tensor(name).as<float>();
        for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(table[i], 0.0F);
    }
}

TEST_P(EveryModel, ABatchWithoutAnyHistoryTrains) {
    auto const samples = planted_samples(false, GetParam());
    Batch batch;
    std::vector<std::uint32_t> const rows = {0, 1, 2, 3};  // the user without a history
    BatchBuilder(samples).build(samples.train, rows, batch);
    ASSERT_EQ(batch.long_items, 0U);
    for (auto const& variant :
         {variant_of(Kind::full), pools_of(GetParam(), 1, 4), variant_of(Kind::mean_pool)}) {
        SimNetwork network(samples, variant, 1);
        auto const losses = network.train_step(batch);
        EXPECT_TRUE(std::isfinite(losses.click + losses.search + losses.peak + losses.balance));
        for (auto const logit : network.predict(batch)) EXPECT_TRUE(std::isfinite(logit));
    }
}

}  // namespace
}  // namespace ckvsim::train
