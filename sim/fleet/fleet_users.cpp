#include "fleet/fleet_users.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::size_t kLengthQuantiles = 4096;  ///< 8 kB: stays in the first-level cache
constexpr std::uint64_t kLengthSalt = 0x1E46A7B5C3D20F81ULL;

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

/// Inverse of the normal distribution by bisection on erfc; used for tables only.
double normal_quantile(double p) {
    double low = -9.0;
    double high = 9.0;
    for (int i = 0; i < 80; ++i) {
        double const middle = 0.5 * (low + high);
        (normal_cdf(middle) < p ? low : high) = middle;
    }
    return 0.5 * (low + high);
}

/// Normal quantiles of the lengths: the same for every population, and slow to find.
std::vector<double> const& length_quantiles() {
    static std::vector<double> const kQuantiles = [] {
        std::vector<double> quantiles(kLengthQuantiles);
        for (std::size_t i = 0; i < kLengthQuantiles; ++i)
            quantiles[i] = normal_quantile((static_cast<double>(i) + 0.5) / kLengthQuantiles);
        return quantiles;
    }();
    return kQuantiles;
}

/// Upper edges of the classes as shares of the users, least active first: an eighth steps through
/// the lower half, then every class holds half of what is left.
std::vector<double> class_edges(std::uint32_t classes) {
    if (classes == 1) return {1.0};
    std::vector<double> edges;
    std::uint32_t const low = std::max(classes / 4, 1U);
    for (std::uint32_t k = 1; k <= low; ++k) edges.push_back(0.5 * k / low);
    double rest = 0.5;
    while (edges.size() + 1 < classes) {
        rest *= 0.75;  // finer than halving: the active tail carries the load
        edges.push_back(1.0 - rest);
    }
    edges.push_back(1.0);
    return edges;
}

}  // namespace

FleetUsers::FleetUsers(std::uint64_t users, std::uint32_t nodes, ActivityParams const& activity,
                       HistoryParams const& history, std::uint64_t seed)
    : users_(users), nodes_(nodes), seed_(seed) {
    validate(nodes >= 1 && users >= nodes, "FleetUsers: at least one user per node");
    validate(activity.sigma >= 0.0 && activity.classes >= 1, "FleetUsers: activity");
    double const sigma = activity.sigma;
    double below = 0.0;
    double below_activity = 0.0;
    for (double const edge : class_edges(sigma == 0.0 ? 1 : activity.classes)) {
        // Share of all activity below a quantile of a log-normal: Phi(z - sigma).
        double const activity_share =
            edge >= 1.0 || sigma == 0.0 ? edge : normal_cdf(normal_quantile(edge) - sigma);
        ActivityClass next;
        next.first = classes_.empty() ? 0 : classes_.back().end;
        next.end = edge >= 1.0
                       ? users
                       : static_cast<UserId>(std::llround(edge * static_cast<double>(users)));
        // A class of a small fleet that rounds to nobody joins the next one.
        if (next.end <= next.first) continue;
        next.relative_rate = (activity_share - below_activity) / (edge - below);
        below = edge;
        below_activity = activity_share;
        classes_.push_back(next);
    }
    // Rounding moved users between classes: the mean over users stays 1.
    double sum = 0.0;
    for (auto const& c : classes_) sum += static_cast<double>(c.end - c.first) * c.relative_rate;
    for (auto& c : classes_) c.relative_rate *= static_cast<double>(users) / sum;
    lengths_.resize(kLengthQuantiles);
    for (std::size_t i = 0; i < kLengthQuantiles; ++i) {
        double const length = history.median * std::exp(history.sigma * length_quantiles()[i]);
        lengths_[i] = static_cast<std::uint16_t>(
            std::clamp(std::round(length), static_cast<double>(history.shortest),
                       static_cast<double>(std::min<std::uint32_t>(history.longest, 65535))));
    }
}

std::uint64_t FleetUsers::first_place(std::uint32_t node, std::size_t index) const {
    if (index == classes_.size()) return places(node);
    // Places p with p * N + node >= first.
    UserId const first = classes_[index].first;
    return first <= node ? 0 : (first - node + nodes_ - 1) / nodes_;
}

double FleetUsers::share_of(std::uint32_t node) const {
    double mine = 0.0;
    double all = 0.0;
    for (std::size_t k = 0; k < classes_.size(); ++k) {
        mine += static_cast<double>(first_place(node, k + 1) - first_place(node, k)) *
                classes_[k].relative_rate;
        all += static_cast<double>(classes_[k].end - classes_[k].first) * classes_[k].relative_rate;
    }
    return mine / all;
}

std::uint32_t FleetUsers::history_events(UserId user) const {
    return lengths_[mix64(user ^ seed_ ^ kLengthSalt) % kLengthQuantiles];
}

}  // namespace ckvsim::fleet
