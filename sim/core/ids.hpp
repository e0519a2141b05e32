// Identifiers and the fixed limits that every layer shares.
#pragma once

#include <cstdint>

namespace ckvsim {

using UserId = std::uint64_t;     ///< logical user, 0 .. U-1
using ItemId = std::uint32_t;     ///< catalogue item, 1 .. V; 0 is padding
using RequestId = std::uint64_t;  ///< position in the logical request order of its shard

inline constexpr ItemId kPaddingItem = 0;

/// A logical shard of users. Shards come from the spec, never from the number of ranks.
enum class ShardId : std::uint32_t {};
/// A logical GPU server.
enum class NodeId : std::uint32_t {};

constexpr std::uint32_t to_int(ShardId id) { return static_cast<std::uint32_t>(id); }
constexpr std::uint32_t to_int(NodeId id) { return static_cast<std::uint32_t>(id); }

using Nanoseconds = std::int64_t;  ///< virtual or wall-clock time, integer nanoseconds

}  // namespace ckvsim
