// How the rate of arrivals varies in time: time of day over time zones, bursts, flash crowds. Pure
// and deterministic; formulas and the sources of the constants: sim/docs/traffic.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "core/rng.hpp"

namespace ckvsim::workload {

struct TimeZoneShare {
    double utc_offset_h = 0.0;
    double share = 1.0;  ///< of all users; the shares of a list add up to 1

    bool operator==(TimeZoneShare const&) const = default;
};

/// Time of day. The mean over a day is 1.
struct DiurnalParams {
    double amplitude = 0.0;            ///< 0 = off; the quietest hour has the rate 1 - amplitude
    double start_hour = 0.0;           ///< UTC hour of day at second 0
    double day_s = 86400.0;            ///< virtual seconds of a day; fewer compress it
    std::vector<TimeZoneShare> zones;  ///< empty: everybody lives at UTC

    bool operator==(DiurnalParams const&) const = default;
};

/// Bursts common to all users: exponential lengths and gaps. The long-run mean is 1.
struct BurstParams {
    double multiplier = 1.0;  ///< rate in a burst over the rate in a gap; 1 = off
    double mean_burst_s = 1.0;
    double mean_gap_s = 9.0;

    bool operator==(BurstParams const&) const = default;
};

/// Extra requests of a hashed share of the users, on top of what everybody does.
struct FlashCrowd {
    double start_s = 0.0;
    double duration_s = 1.0;
    double multiplier = 2.0;   ///< all requests over those without the crowd, while it lasts
    double user_share = 0.01;  ///< the users that the extra requests come from

    bool operator==(FlashCrowd const&) const = default;
};

/// How the rate of requests changes over time.
struct ArrivalShape {
    DiurnalParams diurnal;
    BurstParams bursts;
    std::vector<FlashCrowd> flash_crowds;

    bool operator==(ArrivalShape const&) const = default;
};

/// Upper bound of the switches between bursts and gaps that a run of `duration_s` may hold.
inline constexpr double kMostBurstPhases = 1e6;

/// The time-of-day rate of a mixture of zones, minus 1, as two harmonics of the day.
struct DayCurve {
    double cos1 = 0.0;
    double sin1 = 0.0;
    double cos2 = 0.0;
    double sin2 = 0.0;
};

/// Rate of arrivals relative to the mean: a user of activity a (mean 1 over users) makes
/// a * base_rate * r(t) requests/s, where r = at(t, zone), and for members of an active flash crowd
/// crowd_boost(crowd) times that in addition. Copyable, read-only after construction.
class ArrivalRate {
  public:
    /// Bursts are drawn from `seed` for [0, duration_s); later times continue the last phase.
    /// Throws InternalError for parameters outside their ranges and for more than about
    /// kMostBurstPhases bursts.
    ArrivalRate(ArrivalShape const& shape, std::uint64_t seed, double duration_s);

    /// All users together, flash crowds included. O(log bursts + crowds).
    [[nodiscard]] double at(double t_s) const;
    /// A user of the zone, without flash crowds. O(log bursts).
    [[nodiscard]] double at(double t_s, std::size_t zone) const;
    /// Upper bound of at(t) over all times, for thinning.
    [[nodiscard]] double max() const;

    [[nodiscard]] std::size_t zones() const { return curves_.size(); }
    /// Zone of a user: a pure function of the user and the shares.
    [[nodiscard]] std::size_t zone_of(UserId user) const;
    [[nodiscard]] std::vector<FlashCrowd> const& crowds() const { return crowds_; }
    [[nodiscard]] bool in_crowd(UserId user, std::size_t crowd) const;
    /// (multiplier - 1) / user_share.
    [[nodiscard]] double crowd_boost(std::size_t crowd) const;

    // For samplers (ArrivalTimes below): the factors one by one.
    /// Curve of a group of users; weights[zone] add up to 1.
    [[nodiscard]] DayCurve mix(std::vector<double> const& weights) const;
    [[nodiscard]] double day(double t_s, DayCurve const& curve) const;
    [[nodiscard]] static double day_max(DayCurve const& curve);
    [[nodiscard]] DayCurve const& curve(std::size_t zone) const { return curves_[zone]; }
    [[nodiscard]] bool is_diurnal() const { return diurnal_; }
    /// Index of the burst or gap at a time; its level; its end (infinity for the last one).
    [[nodiscard]] std::size_t phase_at(double t_s) const;
    [[nodiscard]] double phase_level(std::size_t phase) const;
    [[nodiscard]] double phase_end_s(std::size_t phase) const;

  private:
    void draw_phases(BurstParams const& bursts, std::uint64_t seed, double duration_s);

    bool diurnal_ = false;
    double start_angle_ = 0.0;
    double angle_per_s_ = 0.0;
    std::vector<double> zone_limits_;  ///< cumulative shares
    std::vector<DayCurve> curves_;     ///< by zone
    DayCurve everybody_;
    double gap_level_ = 1.0;
    double burst_level_ = 1.0;
    bool starts_in_burst_ = false;
    std::vector<double> switches_s_;  ///< ascending ends of phases
    std::vector<FlashCrowd> crowds_;
    std::vector<std::uint64_t> crowd_keys_;
};

/// Arrival times of one group of users in [start_s, end_s): an exact nonhomogeneous Poisson process
/// by thinning under a majorant that is constant within a burst or gap. A flat rate draws one
/// exponential per arrival from `steps` and nothing else.
class ArrivalTimes {
  public:
    struct Group {
        double requests_per_second = 1.0;  ///< of the group, where the relative rate is 1
        DayCurve curve;
        double start_s = 0.0;
        double end_s = 0.0;
    };
    /// `rate` must outlive the sampler.
    ArrivalTimes(ArrivalRate const& rate, Group const& group, CounterRng const& steps,
                 CounterRng const& thinning);
    /// The next arrival, infinity when there is none.
    double next();

  private:
    void enter(std::size_t phase);

    ArrivalRate const* rate_;
    Group group_;
    CounterRng steps_;
    CounterRng thinning_;
    double time_s_;
    double day_max_;
    std::size_t phase_ = 0;
    double phase_end_s_ = 0.0;
    double mean_step_s_ = 0.0;
};

}  // namespace ckvsim::workload
