// Users of one shard, drawn in proportion to their activity, by time zone. Internal to this folder.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/ids.hpp"
#include "workload/arrival_rate.hpp"

namespace ckvsim::workload {

class Audience {
  public:
    /// Users of `users` (ascending), or only the members of a flash crowd. Activity is log-normal
    /// with the given sigma, a pure function of (seed, user).
    Audience(std::vector<UserId> const& users, ArrivalRate const& rate, double sigma,
             std::uint64_t seed, std::optional<std::size_t> crowd = std::nullopt);

    [[nodiscard]] bool empty() const { return weight_ == 0.0; }
    /// Activity of all, counted in users of mean activity.
    [[nodiscard]] double weight() const { return weight_; }
    /// Curve of the audience's zones, weighted by activity; not for an empty audience.
    [[nodiscard]] DayCurve curve(ArrivalRate const& rate) const;
    /// Zone of a request at a time: in proportion to activity and the zone's time of day.
    [[nodiscard]] std::size_t draw_zone(double u, double time_s, ArrivalRate const& rate) const;
    /// A user of a zone that is not empty; u in [0, 1).
    [[nodiscard]] UserId draw(double u, std::size_t zone) const;
    [[nodiscard]] std::size_t zones() const { return zones_.size(); }

  private:
    struct Zone {
        std::vector<UserId> users;
        std::vector<double> cumulative;  ///< of activity; empty where everybody is alike
        double weight = 0.0;
    };
    std::vector<Zone> zones_;
    double weight_ = 0.0;
};

}  // namespace ckvsim::workload
