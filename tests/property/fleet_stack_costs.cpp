// The fleet's coarse formulas must charge a model over the sequence (HSTU) what the formulas of the
// served model charge: two sources of one number.
#include <gtest/gtest.h>

#include "decode/nominal_work.hpp"
#include "fleet/serving_costs.hpp"

namespace ckvsim {
namespace {

constexpr std::uint32_t kMaxTokens = 60;
constexpr std::uint32_t kFeatures = 3;

struct Widths {
    std::uint32_t attention, feature, layers;
};

model::SimShape served_shape(Widths const& widths) {
    model::SimShape shape;
    shape.kind = model::ModelKind::hstu;
    shape.attention_dim = widths.attention;
    shape.feature_dim = widths.feature;
    shape.layers = widths.layers;
    shape.max_tokens = kMaxTokens;
    return shape;
}

fleet::ServingModel fleet_model(Widths const& widths) {
    auto model = fleet::hstu_preset();
    model.attention_dim = widths.attention;
    model.embedding_dim = kFeatures * widths.feature;
    model.tokens_per_interaction = 1;
    model.max_interactions = kMaxTokens;
    model.sites = {{0, 0, widths.layers}};
    return model;
}

struct Arm {
    char const* name;
    kv::StrategyKind kind;
    fleet::Keeping keeping;
};

decode::NominalWork served(Widths const& widths, Arm const& arm, std::uint32_t m,
                           std::uint32_t d_u) {
    model::VariantParams variant;
    kv::StrategyParams strategy;
    strategy.kind = arm.kind;
    if (arm.keeping == fleet::Keeping::collective) {
        variant.variant = model::Variant::collective;
        variant.scope = model::Scope::all;
        variant.m = m;
        variant.d_u = d_u;
        strategy.index_bytes = 2;
    }
    workload::Catalogue catalogue;
    catalogue.items = 1000;
    catalogue.features.resize(kFeatures);
    return decode::nominal_work(served_shape(widths), variant, strategy, catalogue);
}

constexpr Arm kArms[] = {
    {"full", kv::StrategyKind::full, fleet::Keeping::full},
    {"collective", kv::StrategyKind::collective, fleet::Keeping::collective},
    {"recompute", kv::StrategyKind::recompute, fleet::Keeping::recompute},
};
constexpr Widths kWidths[] = {{256, 64, 2}, {32, 16, 1}, {64, 8, 4}, {24, 8, 3}};
constexpr double kExact = 1e-12;

TEST(FleetStackCosts, AreThoseOfTheServedModel) {
    for (auto const& widths : kWidths) {
        for (auto const& arm : kArms) {
            for (std::uint32_t const m : {7U, 500U}) {
                std::uint32_t const d_u = m == 7 ? 0 : 3;
                auto const expected = served(widths, arm, m, d_u);
                for (std::uint32_t const candidates : {1U, 100U}) {
                    SCOPED_TRACE(testing::Message()
                                 << arm.name << " d " << widths.attention << " layers "
                                 << widths.layers << " m " << m << " C " << candidates);
                    fleet::ServingCosts const costs(
                        fleet_model(widths), {arm.keeping, fleet::StoredType::fp32, d_u, m, 2},
                        1000.0, candidates);
                    for (std::uint32_t const n : {0U, 1U, 17U, kMaxTokens}) {
                        auto const decode = expected.decode(n, candidates);
                        EXPECT_NEAR(costs.decode(n).flops, decode.flops, kExact * decode.flops);
                        EXPECT_NEAR(costs.prefill(n).flops, expected.prefill(n).flops,
                                    kExact * expected.prefill(n).flops);
                        if (arm.keeping != fleet::Keeping::recompute) {
                            EXPECT_DOUBLE_EQ(costs.decode(n).bytes, decode.bytes);
                        }
                    }
                }
            }
        }
    }
}

TEST(FleetStackCosts, EventsAppendedOneByOneCostAPrefill) {
    for (auto const& widths : kWidths) {
        for (auto const keeping : {fleet::Keeping::full, fleet::Keeping::collective}) {
            fleet::ServingCosts const costs(
                fleet_model(widths), {keeping, fleet::StoredType::fp16, 1, 50, 2}, 1000.0, 1);
            double flops = 0.0;
            for (std::uint32_t n = 1; n <= kMaxTokens; ++n) flops += costs.append(n, 1).flops;
            double const at_once = costs.prefill(kMaxTokens).flops;
            EXPECT_GT(at_once, 0.0);
            EXPECT_NEAR(flops, at_once, kExact * at_once);
        }
    }
}

}  // namespace
}  // namespace ckvsim
