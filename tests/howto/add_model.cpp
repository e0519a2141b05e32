// Worked example of sim/docs/howto/add_model.md: SASRec in a fleet.
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "fleet/fleet_run.hpp"

namespace ckvsim::fleet {
namespace {

//! [model]
/// SASRec (Kang and McAuley, ICDM 2018): two causal self-attention layers of width 50 over the last
/// 200 items. K and V of a token depend on the tokens before it: class `sequence`.
ServingModel sasrec() {
    ServingModel model;
    model.name = "sasrec";
    model.model_class = ModelClass::sequence;
    model.attention_dim = 50;
    model.embedding_dim = 50;
    model.max_interactions = 200;
    model.sites = {{0, 0, 2}};  // sees all, reads all, two layers
    model.tower = {};           // scored by a dot product
    return model;
}
//! [model]

//! [test]
TEST(AddModel, BytesOfAFullEntryFollowFromTheShape) {
    ServingCosts const costs(sasrec(), {Keeping::full, StoredType::fp16}, 1e6, 100);
    // 200 tokens x 2 layers x (K and V) x 50 values x 2 bytes, in whole cache lines of 64 bytes.
    EXPECT_EQ(costs.entry_bytes(200), (200U * 2 * 2 * 50 * 2 + 63) / 64 * 64);
    EXPECT_EQ(costs.max_interactions(), 200U);
}

TEST(AddModel, StrategiesThatNeedKeysOfItemsAreRefused) {
    EXPECT_TRUE(refusal(sasrec(), {Keeping::item_table}).has_value());
    EXPECT_FALSE(refusal(sasrec(), {Keeping::full}).has_value());
    EXPECT_THROW(ServingCosts(sasrec(), {Keeping::item_table}, 1e6, 100), InternalError);
}

TEST(AddModel, AFleetServesIt) {
    ServingCosts const costs(sasrec(), {Keeping::full, StoredType::fp16}, 1e6, 100);
    node::Platform const platform;
    auto const setup = make_node_setup(platform, {}, {}, {}, costs);
    FleetParams params;
    params.users = 1000;
    params.nodes = 1;
    params.traffic.requests_per_second = 2000.0;
    params.traffic.duration_s = 1.0;
    auto const result = run_fleet(params, setup, costs, {});
    EXPECT_EQ(result.served + result.shed, result.offered);
    EXPECT_GT(result.served, 1500U);
}
//! [test]

}  // namespace
}  // namespace ckvsim::fleet
