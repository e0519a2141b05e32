// Users belong to logical shards (DESIGN "Terms"); shards belong to ranks in a round-robin.
#pragma once

#include "core/ids.hpp"
#include "core/rng.hpp"

namespace ckvsim {

inline constexpr std::uint32_t kDefaultShards = 4096;

/// Shard of a user: a pure function of the user and the number of shards.
constexpr ShardId shard_of_user(UserId user, std::uint32_t shards) {
    return ShardId{static_cast<std::uint32_t>(mix64(user ^ 0x5AFEC0DE12345678ULL) % shards)};
}

/// Logical node that serves a shard under hash routing.
constexpr NodeId node_of_shard(ShardId shard, std::uint32_t nodes) {
    return NodeId{static_cast<std::uint32_t>(mix64(to_int(shard) ^ 0xB0B5C0FFEE000000ULL) % nodes)};
}

/// Rank that owns a shard when shards are dealt out (accuracy, residency).
constexpr int rank_of_shard(ShardId shard, int ranks) {
    return static_cast<int>(to_int(shard) % static_cast<std::uint32_t>(ranks));
}

/// Rank that owns a logical node, and with it the node's shards (serving runs).
constexpr int rank_of_node(NodeId node, int ranks) {
    return static_cast<int>(to_int(node) % static_cast<std::uint32_t>(ranks));
}

}  // namespace ckvsim
