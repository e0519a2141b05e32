// Where a request goes. Hash routing: a user's shard decides its logical node (core/shards.hpp),
// its own hash decides the GPU inside the node. Both are pure functions, so that a user's entry is
// always looked for where it was left. Policies that watch load belong beside this one.
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "core/shards.hpp"

namespace ckvsim::router {

class HashRouter {
  public:
    /// `shards`, `nodes` and `lanes` >= 1. A lane is one GPU of a node with its share of the
    /// caches.
    HashRouter(std::uint32_t shards, std::uint32_t nodes, std::uint32_t lanes);

    [[nodiscard]] NodeId node_of_user(UserId user) const {
        return node_of_shard(shard_of_user(user, shards_), nodes_);
    }
    [[nodiscard]] std::uint32_t lane_of_user(UserId user) const { return lane_of(user, lanes_); }
    /// Shards of every node, ascending.
    [[nodiscard]] std::vector<std::vector<std::uint32_t>> shards_by_node() const;

    static constexpr std::uint32_t lane_of(UserId user, std::uint32_t lanes) {
        return static_cast<std::uint32_t>(mix64(user ^ 0x1A9E0FA6D00B5EEDULL) % lanes);
    }

  private:
    std::uint32_t shards_;
    std::uint32_t nodes_;
    std::uint32_t lanes_;
};

}  // namespace ckvsim::router
