#include "router/hash_router.hpp"

#include "core/error.hpp"

namespace ckvsim::router {

HashRouter::HashRouter(std::uint32_t shards, std::uint32_t nodes, std::uint32_t lanes)
    : shards_(shards), nodes_(nodes), lanes_(lanes) {
    validate(shards >= 1 && nodes >= 1 && lanes >= 1,
             "router::HashRouter: needs at least one shard, one node and one lane");
}

std::vector<std::vector<std::uint32_t>> HashRouter::shards_by_node() const {
    std::vector<std::vector<std::uint32_t>> shards(nodes_);
    for (std::uint32_t shard = 0; shard < shards_; ++shard)
        shards[to_int(node_of_shard(ShardId{shard}, nodes_))].push_back(shard);
    return shards;
}

}  // namespace ckvsim::router
