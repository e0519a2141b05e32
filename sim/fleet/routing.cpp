#include "fleet/routing.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::fleet {

namespace {
constexpr std::uint64_t kRingSalt = 0x9216D5D98979FB1BULL;
constexpr std::uint64_t kRandomSalt = 0xD1310BA698DFB5ACULL;
}  // namespace

std::string to_string(RoutingKind value) {
    switch (value) {
        case RoutingKind::home:
            return "home";
        case RoutingKind::bounded_loads:
            return "bounded_loads";
        case RoutingKind::spill_over:
            return "spill_over";
        case RoutingKind::two_choices:
            return "two_choices";
        case RoutingKind::random:
            return "random";
    }
    throw InternalError("fleet::to_string: unknown routing");
}

Router::Router(RoutingParams const& params, std::uint32_t nodes, std::uint32_t gpus,
               std::uint64_t seed)
    : params_(params),
      nodes_(nodes),
      seed_(seed),
      spill_ns_(static_cast<std::int64_t>(params.spill_ms * 1e6 * gpus)),
      load_(nodes, 0) {}

void Router::see(std::vector<std::int64_t> const& backlog_ns) {
    validate(backlog_ns.size() == nodes_, "Router: one load per node");
    load_ = backlog_ns;
    double sum = 0.0;
    std::uint32_t up = 0;
    for (auto const load : load_) {
        if (load == kNodeDown) continue;
        sum += static_cast<double>(load);
        ++up;
    }
    // A millisecond of work is no imbalance: below it everybody stays at home.
    bound_ = std::max((1.0 + params_.slack) * sum / std::max(up, 1U), 1e6);
    all_up_ = up == nodes_;
}

/// The user's node number `key` on his ring, never home.
std::uint32_t Router::other(std::uint64_t key, std::uint32_t home) const {
    if (nodes_ == 1) return home;
    auto const step = 1 + static_cast<std::uint32_t>(mix64(key ^ seed_ ^ kRingSalt) % (nodes_ - 1));
    return (home + step) % nodes_;
}

/// Along the user's ring from a node that is gone to one that is there.
std::uint32_t Router::alive(UserId user, std::uint32_t node) const {
    if (all_up_ || load_[node] != kNodeDown) return node;
    std::uint32_t at = other(user, node);
    for (std::uint32_t i = 1; i < nodes_ && load_[at] == kNodeDown; ++i) at = (at + 1) % nodes_;
    return at;
}

std::uint32_t Router::route(UserId user, std::uint32_t home, Nanoseconds time_ns) const {
    return params_.kind == RoutingKind::home ? home : alive(user, choose(user, home, time_ns));
}

std::uint32_t Router::choose(UserId user, std::uint32_t home, Nanoseconds time_ns) const {
    switch (params_.kind) {
        case RoutingKind::home:
            return home;
        case RoutingKind::random:
            return static_cast<std::uint32_t>(
                mix64(user ^ seed_ ^ kRandomSalt ^ (static_cast<std::uint64_t>(time_ns) << 24)) %
                nodes_);
        case RoutingKind::two_choices: {
            std::uint32_t const second = other(user, home);
            return load_[second] < load_[home] ? second : home;
        }
        case RoutingKind::spill_over: {
            if (load_[home] <= spill_ns_) return home;
            std::uint32_t const second = other(user, home);
            return load_[second] < load_[home] ? second : home;
        }
        case RoutingKind::bounded_loads:
            break;
    }
    // Along the user's ring to the first node within the bound.
    std::uint32_t const first = other(user, home);
    std::uint32_t const step = (first + nodes_ - home) % nodes_;
    std::uint32_t node = home;
    for (std::uint32_t i = 0; i < std::min(nodes_, 8U); ++i) {
        if (static_cast<double>(load_[node]) <= bound_) return node;
        node = (node + step) % nodes_;
    }
    return home;
}

}  // namespace ckvsim::fleet
