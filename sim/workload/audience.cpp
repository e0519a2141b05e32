#include "workload/audience.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::uint32_t kActivityStream = 1;  ///< sub-stream beside the shard's own (sub-id 0)

}  // namespace

Audience::Audience(std::vector<UserId> const& users, ArrivalRate const& rate, double sigma,
                   std::uint64_t seed, std::optional<std::size_t> crowd)
    : zones_(rate.zones()) {
    for (UserId const user : users) {
        if (crowd && !rate.in_crowd(user, *crowd)) continue;
        Zone& zone = zones_[rate.zone_of(user)];
        zone.users.push_back(user);
        if (sigma == 0.0) continue;  // everybody alike: no table
        double const activity = std::exp(
            sigma * CounterRng(seed, Purpose::arrival_user, user, kActivityStream).normal());
        zone.cumulative.push_back((zone.cumulative.empty() ? 0.0 : zone.cumulative.back()) +
                                  activity);
    }
    double const mean_activity = std::exp(0.5 * sigma * sigma);  // of a log-normal with median 1
    for (Zone& zone : zones_) {
        zone.weight = zone.cumulative.empty() ? static_cast<double>(zone.users.size())
                                              : zone.cumulative.back() / mean_activity;
        weight_ += zone.weight;
    }
}

DayCurve Audience::curve(ArrivalRate const& rate) const {
    std::vector<double> weights;
    for (Zone const& zone : zones_) weights.push_back(zone.weight / weight_);
    return rate.mix(weights);
}

std::size_t Audience::draw_zone(double u, double time_s, ArrivalRate const& rate) const {
    if (zones_.size() == 1) return 0;
    double total = 0.0;
    for (std::size_t zone = 0; zone < zones_.size(); ++zone)
        total += zones_[zone].weight * rate.day(time_s, rate.curve(zone));
    double rest = u * total;
    std::size_t chosen = 0;
    for (std::size_t zone = 0; zone < zones_.size(); ++zone) {
        if (zones_[zone].users.empty()) continue;
        chosen = zone;
        rest -= zones_[zone].weight * rate.day(time_s, rate.curve(zone));
        if (rest < 0.0) break;
    }
    return chosen;
}

UserId Audience::draw(double u, std::size_t zone_index) const {
    Zone const& zone = zones_[zone_index];
    validate(!zone.users.empty(), "Audience::draw: the zone is empty");
    std::size_t index = 0;
    if (zone.cumulative.empty()) {
        index = static_cast<std::size_t>(u * static_cast<double>(zone.users.size()));
    } else {
        auto const at = std::upper_bound(zone.cumulative.begin(), zone.cumulative.end(),
                                         u * zone.cumulative.back());
        index = static_cast<std::size_t>(at - zone.cumulative.begin());
    }
    return zone.users[std::min(index, zone.users.size() - 1)];
}

}  // namespace ckvsim::workload
