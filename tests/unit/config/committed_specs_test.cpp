// What the committed specs promise in their descriptions: how the cache tiers compare with what
// the traffic touches, and enough requests for the percentiles.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <unordered_set>

#include "config/spec.hpp"
#include "core/shards.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::config {
namespace {

/// One node's requests of a traffic.
struct NodeTraffic {
    std::unordered_set<UserId> users;
    std::uint64_t measured = 0;  ///< requests after the warm-up
};

NodeTraffic traffic_of_node(Spec const& spec, workload::Population const& population,
                            workload::TrafficParams const& traffic, double warmup_s,
                            std::uint32_t node) {
    std::vector<std::uint32_t> shards;
    for (std::uint32_t shard = 0; shard < spec.shards; ++shard) {
        if (to_int(node_of_shard(ShardId{shard}, spec.fleet.nodes)) == node)
            shards.push_back(shard);
    }
    NodeTraffic result;
    for (auto const& request : workload::make_requests(
             population, traffic, spec.seed, shards,
             workload::users_by_shard(population.users(), spec.shards), spec.model.max_tokens)) {
        result.users.insert(request.user);
        if (static_cast<double>(request.intended_start_ns) >= warmup_s * 1e9) ++result.measured;
    }
    return result;
}

std::uint64_t entry_bytes(Spec const& spec, ArmSpec const& arm,
                          workload::Population const& population,
                          std::unordered_set<UserId> const& users) {
    kv::EntryLayout const layout(
        spec.model, arm.weights, arm.strategy,
        static_cast<std::uint32_t>(population.catalogue().features.size()));
    std::uint64_t bytes = 0;
    for (UserId const user : users) {
        bytes +=
            layout.entry_bytes(std::min(population.history_length(user), spec.model.max_tokens));
    }
    return bytes;
}

std::uint64_t shared_bytes(Spec const& spec, ArmSpec const& arm,
                           workload::Population const& population) {
    std::uint64_t bytes = 0;
    for (auto const& part :
         kv::shared_bytes(spec.model, arm.weights, arm.strategy, population.catalogue(),
                          population.context_vocabulary()))
        bytes += part.bytes;
    return bytes;
}

class TieredSpecTest : public testing::TestWithParam<char const*> {
  protected:
    TieredSpecTest()
        : spec_(load_spec(std::string(CKVSIM_SOURCE_DIR) + "/workloads/specs/" + GetParam() +
                          ".json")),
          population_(workload::make_synthetic(spec_.workload.synthetic)) {}

    /// full_fp32 overflows both tiers, everything that is not full KV fits into the first beside
    /// its shared tables (one copy per accelerator).
    void expect_shape(workload::TrafficParams const& traffic, double warmup_s,
                      node::NodeParams const& tiers, std::uint32_t accelerators) {
        auto const touched = traffic_of_node(spec_, *population_, traffic, warmup_s, 0).users;
        for (auto const& arm : spec_.arms) {
            if (!arm.latency) continue;
            auto const need = entry_bytes(spec_, arm, *population_, touched);
            auto const shared = shared_bytes(spec_, arm, *population_) * accelerators;
            ASSERT_LT(shared, tiers.hbm_cache_bytes) << arm.name;
            auto const room = tiers.hbm_cache_bytes - shared;
            if (arm.name == "full_fp32") {
                EXPECT_GT(need, room + tiers.dram_cache_bytes);
            } else if (arm.strategy.kind != kv::StrategyKind::full) {
                EXPECT_LE(need, room) << arm.name;
            }
        }
    }

    Spec const spec_;
    std::unique_ptr<workload::Population> const population_;
};

TEST_P(TieredSpecTest, ExecutedTiersSeparateFullKvFromTheRest) {
    expect_shape(spec_.executed.traffic, spec_.executed.warmup_s, spec_.fleet.node, 1);
}

TEST_P(TieredSpecTest, PlatformTiersSeparateFullKvFromTheRest) {
    auto const platform = load_platform(std::string(CKVSIM_SOURCE_DIR) + "/" + spec_.platform_path);
    expect_shape(spec_.simulated.traffic, spec_.simulated.warmup_s, spec_.fleet.platform_node,
                 platform.gpus);
}

INSTANTIATE_TEST_SUITE_P(Specs, TieredSpecTest, testing::Values("quickstart", "ci"),
                         [](auto const& tested) { return std::string(tested.param); });

TEST(Quickstart, HasEnoughExecutedRequestsForP99AndLittleWallClock) {
    auto const spec =
        load_spec(std::string(CKVSIM_SOURCE_DIR) + "/workloads/specs/quickstart.json");
    auto const population = workload::make_synthetic(spec.workload.synthetic);
    std::uint64_t measured = 0;
    for (std::uint32_t node = 0; node < spec.fleet.nodes; ++node) {
        measured +=
            traffic_of_node(spec, *population, spec.executed.traffic, spec.executed.warmup_s, node)
                .measured;
    }
    EXPECT_GE(measured, 1000U);  // ten samples beyond the 99th percentile
    auto const arms = std::count_if(spec.arms.begin(), spec.arms.end(),
                                    [](ArmSpec const& arm) { return arm.latency; });
    double const passes = spec.executed.repeat ? 2.0 : 1.0;
    EXPECT_LE(static_cast<double>(arms) * passes * spec.executed.traffic.duration_s, 25.0);
    EXPECT_EQ(spec.executed.traffic.candidates, 128U);
    EXPECT_EQ(spec.simulated.traffic.candidates, 128U);
}

}  // namespace
}  // namespace ckvsim::config
