#include "kv/latency.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckvsim::kv {
namespace {

using model::ModelKind;

std::optional<std::string> why(StrategyKind kind, ModelKind model) {
    StrategyParams params;
    params.kind = kind;
    return latency_refusal(params, model);
}

TEST(LatencyRefusal, RowsThatAreOnlyPutTogetherAreNotTimed) {
    for (auto const kind : {StrategyKind::recompute, StrategyKind::full, StrategyKind::item_table,
                            StrategyKind::collective, StrategyKind::low_rank, StrategyKind::vq}) {
        for (auto const model : {ModelKind::sim, ModelKind::twin, ModelKind::eta, ModelKind::sdim})
            EXPECT_FALSE(why(kind, model)) << to_string(kind);
        bool const coded = kind == StrategyKind::low_rank || kind == StrategyKind::vq;
        EXPECT_EQ(why(kind, ModelKind::hstu).has_value(), coded) << to_string(kind);
    }
    EXPECT_THAT(why(StrategyKind::low_rank, ModelKind::hstu).value_or(""),
                testing::HasSubstr("would attend to coefficients"));
    EXPECT_THAT(why(StrategyKind::vq, ModelKind::hstu).value_or(""),
                testing::HasSubstr("would attend to codes"));
}

}  // namespace
}  // namespace ckvsim::kv
