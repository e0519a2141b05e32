// What must not change the simulated twin's results: how nodes are split over calls (ranks), and
// threads. What must: seeds, capacities, a single request.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

#include "engine/serving.hpp"
#include "router/hash_router.hpp"
#include "serving_fixtures.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::constant_platform;
using testing_support::PlainPopulation;
using testing_support::poisson_requests;
using testing_support::serving_arm;

constexpr std::uint32_t kNodes = 5;

std::vector<std::vector<workload::Request>> streams(PlainPopulation const& population) {
    router::HashRouter const router(64, kNodes, 1);
    std::vector<std::vector<workload::Request>> by_node(kNodes);
    for (auto const& request : poisson_requests(population, 8000, 400.0, 31))
        by_node[to_int(router.node_of_user(request.user))].push_back(request);
    return by_node;
}

struct Twin {
    PlainPopulation population{400};
    ServingArm arm = serving_arm(population);
    node::Platform platform = constant_platform(arm, 700.0, {0.5, 1.0, 1.5});
    ServingRunParams params;
    std::vector<std::vector<workload::Request>> requests = streams(population);
    Twin() {
        params.node = {120'000, 60'000, 4, 2.0};
        params.nodes = kNodes;
        params.warmup_s = 1e-4;
    }
    [[nodiscard]] ServingResult run(std::vector<std::uint32_t> const& nodes) const {
        std::vector<std::vector<workload::Request>> mine;
        for (auto const node : nodes) mine.push_back(requests[node]);
        return run_simulated(arm, platform, params, nodes, mine);
    }
};

void expect_same(ServingResult const& a, ServingResult const& b) {
    EXPECT_EQ(sum_part(a), sum_part(b));
    EXPECT_EQ(max_part(a), max_part(b));
}

TEST(Invariance, AnySplitOfTheNodesGivesTheSameResult) {
    for (std::uint32_t const gpus : {1U, 3U}) {
        Twin twin;
        twin.platform.gpus = gpus;
        auto const whole = twin.run({0, 1, 2, 3, 4});
        ASSERT_GT(whole.dram_hits, 0U);
        for (auto const& split : {std::vector<std::vector<std::uint32_t>>{{4, 2}, {0}, {1, 3}},
                                  std::vector<std::vector<std::uint32_t>>{{0, 1, 2, 3}, {4}, {}}}) {
            ServingResult merged;
            for (auto const& nodes : split) merge(merged, twin.run(nodes));
            expect_same(merged, whole);
        }
    }
}

TEST(Invariance, AnyNumberOfThreadsGivesTheSameResult) {
    Twin twin;
    twin.platform.gpus = 2;
    int const before = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const one = twin.run({0, 1, 2, 3, 4});
    for (int const threads : {2, 3, 8}) {
        omp_set_num_threads(threads);
        expect_same(twin.run({0, 1, 2, 3, 4}), one);
    }
    omp_set_num_threads(before);
}

TEST(Sensitivity, TheHashSeesSeedsCapacitiesAndSingleRequests) {
    Twin twin;
    std::vector<std::uint32_t> const all = {0, 1, 2, 3, 4};
    auto const hash = twin.run(all).decision_hash;
    twin.params.seed += 1;
    EXPECT_NE(twin.run(all).decision_hash, hash) << "another noise";
    twin.params.seed -= 1;
    twin.params.node.hbm_cache_bytes -= 20'000;
    EXPECT_NE(twin.run(all).decision_hash, hash);
    twin.params.node.hbm_cache_bytes += 20'000;
    // A user who comes twice in a row: with another history length the second is no hit.
    auto& stream = twin.requests[2];
    auto const returned =
        std::adjacent_find(stream.begin(), stream.end(),
                           [](auto const& a, auto const& b) { return a.user == b.user; });
    ASSERT_NE(returned, stream.end());
    std::next(returned)->tokens += 1;
    EXPECT_NE(twin.run(all).decision_hash, hash);
    std::next(returned)->tokens -= 1;
    EXPECT_EQ(twin.run(all).decision_hash, hash);
}

}  // namespace
}  // namespace ckvsim::engine
