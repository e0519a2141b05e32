// The users of one rank, in logical order: ascending shard, then ascending user. The concatenation
// over ranks, sorted by shard, is the same for any number of ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "core/shards.hpp"

namespace ckvsim::engine {

struct ShardUsers {
    std::uint32_t shard = 0;
    std::vector<UserId> users;
};

/// Local. Users of the shards that `rank` of `ranks` owns (core/shards.hpp). Memory: 8 bytes per
/// owned user.
std::vector<ShardUsers> owned_users(std::uint64_t users, std::uint32_t shards, int rank, int ranks);

/// All users of the owned shards, flattened in logical order.
std::vector<UserId> flatten(std::vector<ShardUsers> const& owned);

}  // namespace ckvsim::engine
