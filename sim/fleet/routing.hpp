// Which node serves a request. Routers see load only at window edges: a snapshot that is part of
// the model, not an accident of the simulation, and equal for any number of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.hpp"

namespace ckvsim::fleet {

enum class RoutingKind : std::uint8_t {
    home,           ///< consistent hashing: every user has one node
    bounded_loads,  ///< ... and goes on to the next when that has more than (1 + slack) mean load
    spill_over,     ///< affinity: leaves home only when home's backlog is above a threshold
    two_choices,    ///< the less loaded of two nodes hashed from the user
    random          ///< any node
};
std::string to_string(RoutingKind value);

struct RoutingParams {
    RoutingKind kind = RoutingKind::home;
    double window_ms = 10.0;  ///< load snapshots are so old at most
    double slack = 0.25;      ///< bounded_loads (Mirrokni, Thorup, Zadimoghaddam 2018: epsilon)
    double spill_ms = 10.0;   ///< spill_over: backlog of home per GPU

    bool operator==(RoutingParams const&) const = default;
};

/// The backlog of a node that is gone: nobody is routed there from the next window edge on, unless
/// all are gone.
inline constexpr std::int64_t kNodeDown = std::int64_t{1} << 62;

/// Load of every node at the last window edge.
class Router {
  public:
    Router(RoutingParams const& params, std::uint32_t nodes, std::uint32_t gpus,
           std::uint64_t seed);
    /// `backlog_ns` by node, summed over its GPUs.
    void see(std::vector<std::int64_t> const& backlog_ns);
    /// Node for a request; a pure function of the snapshot and its arguments.
    [[nodiscard]] std::uint32_t route(UserId user, std::uint32_t home, Nanoseconds time_ns) const;

  private:
    [[nodiscard]] std::uint32_t choose(UserId user, std::uint32_t home, Nanoseconds time_ns) const;
    [[nodiscard]] std::uint32_t alive(UserId user, std::uint32_t node) const;
    [[nodiscard]] std::uint32_t other(std::uint64_t key, std::uint32_t home) const;
    RoutingParams params_;
    std::uint32_t nodes_;
    std::uint64_t seed_;
    std::int64_t spill_ns_;
    std::vector<std::int64_t> load_;
    double bound_ = 0.0;
    bool all_up_ = true;
};

}  // namespace ckvsim::fleet
