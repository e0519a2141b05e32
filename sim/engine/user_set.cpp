#include "engine/user_set.hpp"

namespace ckvsim::engine {

std::vector<ShardUsers> owned_users(std::uint64_t users, std::uint32_t shards, int rank,
                                    int ranks) {
    std::vector<ShardUsers> owned;
    std::vector<std::uint32_t> slot(shards, UINT32_MAX);
    for (std::uint32_t shard = 0; shard < shards; ++shard) {
        if (rank_of_shard(ShardId{shard}, ranks) != rank) continue;
        slot[shard] = static_cast<std::uint32_t>(owned.size());
        owned.push_back({shard, {}});
        owned.back().users.reserve(users / shards + 16);
    }
    for (UserId user = 0; user < users; ++user) {
        auto const place = slot[to_int(shard_of_user(user, shards))];
        if (place != UINT32_MAX) owned[place].users.push_back(user);
    }
    return owned;
}

std::vector<UserId> flatten(std::vector<ShardUsers> const& owned) {
    std::vector<UserId> all;
    for (auto const& shard : owned) all.insert(all.end(), shard.users.begin(), shard.users.end());
    return all;
}

}  // namespace ckvsim::engine
