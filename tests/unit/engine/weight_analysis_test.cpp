#include "engine/weight_analysis.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "serving_fixtures.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::PlainPopulation;
using testing_support::serving_shape;

std::shared_ptr<decode::Backend const> backend_of(PlainPopulation const& population,
                                                  model::VariantParams const& variant,
                                                  kv::StrategyParams const& strategy) {
    auto const weights = std::make_shared<model::SimWeights const>(
        model::random_sim_weights(serving_shape(), variant, population.catalogue(), 1, 1));
    return device::cpu::make_backend(weights, strategy, population.catalogue());
}

/// Pools of 300 rows in every site.
model::VariantParams pooled() {
    model::VariantParams variant;
    variant.variant = model::Variant::collective;
    variant.scope = model::Scope::all;
    variant.m = 300;
    return variant;
}

kv::StrategyParams codes() {
    kv::StrategyParams strategy;
    strategy.kind = kv::StrategyKind::collective;
    return strategy;
}

TEST(WeightAnalysis, RowsAreTheProjectionsOfTheItems) {
    PlainPopulation const population(1);
    auto const backend = backend_of(population, {}, {});
    auto const& weights = backend->weights();
    std::size_t const d = weights.shape.attention_dim;
    for (auto const& [section, side] : {std::pair{kv::Section::short_k, &weights.short_site.k},
                                        std::pair{kv::Section::long_v, &weights.long_site.v}}) {
        auto const rows = item_rows(*backend, section);
        ASSERT_EQ(rows.size(), 501 * d);
        for (std::size_t item = 1; item <= 500; ++item) {
            for (std::size_t i = 0; i < d; ++i) {
                double expected = 0.0;
                for (std::size_t e = 0; e < weights.d_e; ++e)
                    expected += double{side->w[i * weights.d_e + e]} *
                                weights.item_embeddings[item * weights.d_e + e];
                EXPECT_NEAR(rows[item * d + i], expected, 1e-5) << item;
            }
        }
    }
    EXPECT_THROW(item_rows(*backend, kv::Section::long_k_index), InternalError);
}

TEST(WeightAnalysis, IndicesAreTheRoutersChoice) {
    PlainPopulation const population(1);
    auto const variant = pooled();
    auto const backend = backend_of(population, variant, codes());
    auto const& weights = backend->weights();
    auto const indices = item_indices(*backend, kv::Section::long_k_index);
    for (std::size_t item = 1; item <= 500; ++item) {
        auto const logit = [&](std::size_t row) {
            double sum = 0.0;
            for (std::size_t e = 0; e < weights.d_e; ++e)
                sum += double{weights.long_site.k.router[row * weights.d_e + e]} *
                       weights.item_embeddings[item * weights.d_e + e];
            return sum;
        };
        for (std::size_t row = 0; row < variant.m; ++row)
            EXPECT_LE(logit(row), logit(indices[item]) + 1e-5) << item;
    }
}

TEST(WeightAnalysis, EnergyIsFoundWhereItWasPut) {
    // Rows a (1, 1, 0) / sqrt 2 with weight 3 and b (0, 0, 1) with weight 2, in random order.
    constexpr std::size_t kWidth = 3;
    double const root = std::sqrt(0.5);
    std::vector<float> rows(kWidth);  // row 0, not an item
    std::vector<std::uint64_t> weights = {0};
    for (int i = 0; i < 4; ++i) {
        rows.insert(rows.end(), {static_cast<float>(2 * root), static_cast<float>(2 * root), 0.0F});
        weights.push_back(3);
        rows.insert(rows.end(), {0.0F, 0.0F, i % 2 == 0 ? 1.0F : -1.0F});
        weights.push_back(2);
    }
    auto const found = principal_directions(rows, kWidth, weights);
    EXPECT_NEAR(found.energy[0], 48.0 / 56.0, 1e-6);
    EXPECT_NEAR(found.energy[1], 8.0 / 56.0, 1e-6);
    EXPECT_NEAR(found.energy[2], 0.0, 1e-9);
    EXPECT_NEAR(std::abs(found.directions[0]), root, 1e-6);
    EXPECT_NEAR(std::abs(found.directions[kWidth + 2]), 1.0, 1e-6);
    EXPECT_EQ(found.rank_of(0.5), 1U);
    EXPECT_EQ(found.rank_of(0.9), 2U);
    EXPECT_EQ(found.rank_of(1.0), 2U);
    std::vector<float> const nothing(2 * kWidth);
    auto const none = principal_directions(nothing, kWidth, std::vector<std::uint64_t>{0, 5});
    EXPECT_EQ(none.energy[0], 0.0);
    EXPECT_EQ(none.rank_of(0.9), kWidth);
    EXPECT_THROW(principal_directions(rows, 2, weights), InternalError);
}

/// Users who each read one group of items, all with the same leading direction.
class GroupedPopulation final : public PlainPopulation {
  public:
    using PlainPopulation::PlainPopulation;
    [[nodiscard]] std::uint32_t history_length(UserId) const override { return 40; }
    void load_history(UserId user, std::vector<ItemId>& out) const override {
        out.assign(40, static_cast<ItemId>(1 + user % 2));
    }
};

TEST(WeightAnalysis, UsersAgreeWhereAllRowsPointAlikeAndDifferInTheRest) {
    GroupedPopulation const population(100);
    // Item 1 = (10, 1), item 2 = (10, -1).
    std::vector<float> const rows = {0, 0, 10, 1, 10, -1};
    std::vector<std::uint64_t> const weights = {0, 1, 1};
    auto const directions = principal_directions(rows, 2, weights);
    AgreementParams params;
    params.sample = 60;
    auto const rows_of = table_rows(rows, 2);
    auto const found = user_agreement(population, directions, rows_of, weights, params);
    EXPECT_EQ(found.rank, 1U);
    EXPECT_EQ(found.users, 60U);
    EXPECT_NEAR(found.leading_cosine, 1.0, 1e-9);
    EXPECT_LT(std::abs(found.rest_cosine), 0.3);  // two opposite camps of random size
    EXPECT_NEAR(found.rest_between, 1.0, 1e-9);   // nothing varies within a user
    EXPECT_NEAR(found.leading_cosine_chance, 1.0, 1e-9);
    AgreementParams nobody;
    nobody.min_tokens = 41;
    auto const none = user_agreement(population, directions, rows_of, weights, nobody);
    EXPECT_EQ(none.users, 0U);
    EXPECT_TRUE(std::isnan(none.leading_cosine));
}

TEST(WeightAnalysis, PoolUseCountsItemsAndTokensApart) {
    std::vector<std::uint32_t> const indices = {0, 3, 3, 5, 7};
    std::vector<std::uint64_t> const weights = {9, 10, 30, 40, 0};
    auto const use = pool_use(indices, weights, 8);
    EXPECT_EQ(use.rows_of_items, 3U);
    EXPECT_EQ(use.rows_of_tokens, 2U);
    EXPECT_NEAR(use.effective_rows, 2.0, 1e-9);
    EXPECT_NEAR(use.top_share, 0.5, 1e-9);
    EXPECT_THROW(pool_use(indices, weights, 7), InternalError);
}

TEST(WeightAnalysis, RenumberedRowsAreTheSameGroups) {
    std::vector<std::uint32_t> const before = {0, 1, 1, 2, 2, 3};
    std::vector<std::uint32_t> const renumbered = {0, 7, 7, 5, 5, 1};
    std::vector<std::uint64_t> const weights = {0, 1, 1, 1, 1, 6};
    auto const same = router_change(before, before, weights);
    EXPECT_EQ(same.items_changed, 0.0);
    EXPECT_EQ(same.same_groups, 1.0);
    auto const other = router_change(before, renumbered, weights);
    EXPECT_EQ(other.items_changed, 1.0);
    EXPECT_EQ(other.tokens_changed, 1.0);
    EXPECT_NEAR(other.same_groups, 1.0, 1e-12);
    // One item of 6 in 10 tokens moved to a row of its own neighbours.
    std::vector<std::uint32_t> const moved = {0, 1, 1, 2, 2, 2};
    auto const part = router_change(before, moved, weights);
    EXPECT_NEAR(part.items_changed, 0.2, 1e-12);
    EXPECT_NEAR(part.tokens_changed, 0.6, 1e-12);
    EXPECT_GT(part.same_groups, 0.0);
    EXPECT_LT(part.same_groups, 1.0);
    CounterRng rng(1, Purpose::test, 8);
    std::vector<std::uint32_t> a(5001);
    std::vector<std::uint32_t> b(5001);
    for (auto& row : a) row = rng.below(50);
    for (auto& row : b) row = rng.below(50);
    auto const chance = router_change(a, b, std::vector<std::uint64_t>(5001, 1));
    EXPECT_NEAR(chance.same_groups, 0.0, 0.01);
    EXPECT_NEAR(chance.items_changed, 0.98, 0.01);
}

model::SimShape stack_shape() {
    auto shape = serving_shape();
    shape.kind = model::ModelKind::hstu;
    shape.layers = 2;
    return shape;
}

std::shared_ptr<decode::Backend const> stack_of(PlainPopulation const& population,
                                                model::VariantParams const& variant,
                                                kv::StrategyParams const& strategy) {
    auto const weights = std::make_shared<model::SimWeights const>(
        model::random_sim_weights(stack_shape(), variant, population.catalogue(), 1, 1));
    return device::cpu::make_backend(weights, strategy, population.catalogue());
}

/// The normalised embedding of an item, which layer 1 projects.
std::vector<double> first_state(model::SimWeights const& weights, ItemId item) {
    std::vector<double> state(weights.d_e);
    double mean = 0.0;
    double variance = 0.0;
    for (std::size_t i = 0; i < state.size(); ++i) {
        state[i] = weights.item_embeddings[item * weights.d_e + i];
        mean += state[i] / static_cast<double>(state.size());
    }
    for (double const x : state)
        variance += (x - mean) * (x - mean) / static_cast<double>(state.size());
    for (double& x : state) x = (x - mean) / std::sqrt(variance + 1e-6);
    return state;
}

double product(std::vector<float> const& matrix, std::size_t row, std::vector<double> const& x) {
    double sum = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += double{matrix[row * x.size() + i]} * x[i];
    return sum;
}

TEST(WeightAnalysis, RowsOfHstuAreTheTokensOfAHistory) {
    PlainPopulation const population(1);
    auto const backend = stack_of(population, {}, {});
    auto const& weights = backend->weights();
    std::size_t const d = weights.shape.attention_dim;
    std::vector<ItemId> const history = {7, 3, 7, 400, 7};
    std::vector<float> rows;
    layer_rows(*backend, kv::layer_section(0, kv::LayerPart::v))(history, rows);
    ASSERT_EQ(rows.size(), history.size() * d);
    for (std::size_t t = 0; t < history.size(); ++t) {
        auto const state = first_state(weights, history[t]);
        for (std::size_t i = 0; i < d; ++i) {
            double const x = product(weights.stack[0].site.v.w, i, state);
            EXPECT_NEAR(rows[t * d + i], x / (1.0 + std::exp(-x)), 1e-5) << t;
        }
    }
    auto const second = layer_rows(*backend, kv::layer_section(1, kv::LayerPart::k));
    second(history, rows);
    ASSERT_EQ(rows.size(), history.size() * d);
    for (std::size_t const t : {2U, 4U}) {
        EXPECT_FALSE(std::equal(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(d),
                                rows.begin() + static_cast<std::ptrdiff_t>(t * d)))
            << "the same item after other tokens";
    }
    // The newest tokens change nothing before them.
    auto const whole = rows;
    second(std::span(history).first(3), rows);
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), whole.begin()));
    EXPECT_THROW(layer_rows(*backend, kv::Section::long_k)(history, rows), InternalError);
    EXPECT_THROW(layer_indices(*backend, kv::layer_section(0, kv::LayerPart::k_index), {}),
                 InternalError);
}

TEST(WeightAnalysis, IndicesOfHstuAreTheRoutersChoiceForEveryToken) {
    PlainPopulation const population(1);
    auto const variant = pooled();
    auto const backend = stack_of(population, variant, codes());
    auto const& weights = backend->weights();
    std::vector<std::vector<ItemId>> const histories = {{7, 3, 400, 7}, {9}, {3, 7}};
    std::vector<ItemId> const items = {7, 3, 400, 7, 9, 3, 7};
    auto const first =
        layer_indices(*backend, kv::layer_section(0, kv::LayerPart::k_index), histories);
    ASSERT_EQ(first.size(), items.size());
    for (std::size_t t = 0; t < items.size(); ++t) {
        auto const state = first_state(weights, items[t]);
        double const chosen = product(weights.stack[0].site.k.router, first[t], state);
        for (std::size_t row = 0; row < variant.m; ++row)
            EXPECT_LE(product(weights.stack[0].site.k.router, row, state), chosen + 1e-5) << t;
    }
    auto const deeper =
        layer_indices(*backend, kv::layer_section(1, kv::LayerPart::v_index), histories);
    for (std::uint32_t const row : deeper) EXPECT_LT(row, variant.m);
    EXPECT_THROW(layer_rows(*backend, kv::layer_section(0, kv::LayerPart::k)), InternalError);
}

TEST(WeightAnalysis, TokensCountAsTheirItemsDoWhereRowsAreTheItems) {
    PlainPopulation const population(50);
    AgreementParams params;
    params.sample = 20;
    params.max_tokens = 15;
    auto const histories = sampled_histories(population, params);
    EXPECT_EQ(histories.size(), 20U);
    CounterRng rng(1, Purpose::test, 4);
    std::vector<float> rows(501 * 3);
    for (float& value : rows) value = static_cast<float>(rng.normal());
    std::vector<std::uint32_t> before(501);
    std::vector<std::uint32_t> after(501);
    for (auto& row : before) row = rng.below(40);
    for (auto& row : after) row = rng.below(40);
    std::vector<std::uint64_t> counts(501);
    std::vector<ItemId> items;
    std::vector<std::uint32_t> token_before;
    std::vector<std::uint32_t> token_after;
    for (auto const& history : histories) {
        EXPECT_GE(history.size(), params.min_tokens);
        EXPECT_LE(history.size(), 15U);
        for (ItemId const item : history) {
            ++counts[item];
            items.push_back(item);
            token_before.push_back(before[item]);
            token_after.push_back(after[item]);
        }
    }
    auto const by_item = principal_directions(rows, 3, counts);
    auto const by_token = principal_directions(histories, table_rows(rows, 3), 3);
    for (std::size_t k = 0; k < 3; ++k) EXPECT_NEAR(by_token.energy[k], by_item.energy[k], 1e-9);

    auto const expected = pool_use(before, counts, 41);
    auto const use = token_pool_use(token_before, 41);
    EXPECT_EQ(use.rows, 41U);
    EXPECT_EQ(use.rows_of_tokens, expected.rows_of_tokens);
    EXPECT_EQ(use.rows_of_items, expected.rows_of_tokens);
    EXPECT_NEAR(use.effective_rows, expected.effective_rows, 1e-9);
    EXPECT_EQ(use.top_share, expected.top_share);
    EXPECT_THROW(token_pool_use(token_before, 20), InternalError);

    // Of the items that are read, as they are counted: items of equal weight, tokens of equal
    // weight.
    double moved = 0.0;
    double read = 0.0;
    for (std::size_t item = 1; item <= 500; ++item) {
        if (counts[item] == 0) continue;
        ++read;
        moved += before[item] != after[item] ? 1.0 : 0.0;
    }
    auto const change = token_router_change(token_before, token_after, items);
    EXPECT_NEAR(change.items_changed, moved / read, 1e-12);
    EXPECT_NEAR(change.tokens_changed, router_change(before, after, counts).tokens_changed, 1e-12);
    EXPECT_LT(change.same_groups, 1.0);
    EXPECT_EQ(token_router_change(token_before, token_before, items).same_groups, 1.0);
    // An item that keeps its row in one place of two counts by half.
    std::vector<ItemId> const two = {5, 5, 6};
    std::vector<std::uint32_t> const old_rows = {1, 1, 2};
    std::vector<std::uint32_t> const new_rows = {1, 3, 2};
    auto const half = token_router_change(old_rows, new_rows, two);
    EXPECT_NEAR(half.items_changed, 0.25, 1e-12);
    EXPECT_NEAR(half.tokens_changed, 1.0 / 3.0, 1e-12);
    EXPECT_TRUE(std::isnan(token_router_change({}, {}, {}).tokens_changed));
    EXPECT_THROW(token_router_change(old_rows, new_rows, items), InternalError);
}

}  // namespace
}  // namespace ckvsim::engine
