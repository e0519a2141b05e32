#include "router/hash_router.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.hpp"

namespace ckvsim::router {
namespace {

TEST(HashRouter, EveryShardBelongsToOneNodeAndUsersFollowTheirShard) {
    HashRouter const router(256, 5, 8);
    auto const shards = router.shards_by_node();
    ASSERT_EQ(shards.size(), 5U);
    std::vector<std::uint32_t> owner(256, 99);
    for (std::uint32_t node = 0; node < 5; ++node) {
        for (auto const shard : shards[node]) {
            EXPECT_EQ(owner[shard], 99U) << "shard " << shard << " has two nodes";
            owner[shard] = node;
        }
    }
    for (UserId user = 0; user < 1000; ++user) {
        EXPECT_EQ(to_int(router.node_of_user(user)), owner[to_int(shard_of_user(user, 256))]);
    }
}

TEST(HashRouter, LanesShareTheUsersOfANodeEvenly) {
    constexpr std::uint32_t kLanes = 8;
    HashRouter const router(4096, 4, kLanes);
    std::vector<int> users(kLanes, 0);
    int of_node = 0;
    for (UserId user = 0; user < 100000; ++user) {
        if (to_int(router.node_of_user(user)) != 0) continue;
        ++users[router.lane_of_user(user)];
        ++of_node;
    }
    // Binomial: 5 standard deviations around an eighth.
    double const expected = of_node / 8.0;
    for (int const count : users) EXPECT_NEAR(count, expected, 5 * std::sqrt(expected));
}

TEST(HashRouter, RefusesNothingToRouteTo) {
    EXPECT_THROW(HashRouter(0, 1, 1), InternalError);
    EXPECT_THROW(HashRouter(1, 0, 1), InternalError);
    EXPECT_THROW(HashRouter(1, 1, 0), InternalError);
}

}  // namespace
}  // namespace ckvsim::router
