#include "workload/arrival_rate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/error.hpp"

namespace ckvsim::workload {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kHoursPerDay = 24.0;

/// First two harmonics of the impressions per local hour of KuaiRand-Pure (228,329 impressions of
/// 15 days; they explain 96 % of the variance over hours), scaled so that the minimum (4:39) is -1;
/// the maximum is at 20:40. Unscaled, the data's amplitude is 0.824. sim/docs/traffic.md shows how
/// to compute them.
constexpr DayCurve kDay = {-0.15406, -0.65182, 0.22921, -0.24764};

// Streams of random numbers; shards are below 2^20, so this identity is free.
constexpr std::uint64_t kBurstIdentity = ~std::uint64_t{0};

constexpr std::uint64_t kZoneSalt = 0x7A6F6E6573000001ULL;
constexpr std::uint64_t kCrowdSalt = 0x63726F7764000001ULL;

/// Hash -> uniform in [0, 1), 53 bits.
double unit(std::uint64_t hash) { return static_cast<double>(hash >> 11) * 0x1.0p-53; }

/// kDay as seen from UTC by users `offset_h` east of it, times the amplitude.
DayCurve shifted(double amplitude, double offset_h) {
    double const phi = 2.0 * std::numbers::pi * offset_h / kHoursPerDay;
    double const c1 = std::cos(phi);
    double const s1 = std::sin(phi);
    double const c2 = std::cos(2.0 * phi);
    double const s2 = std::sin(2.0 * phi);
    return {amplitude * (kDay.cos1 * c1 + kDay.sin1 * s1),
            amplitude * (kDay.sin1 * c1 - kDay.cos1 * s1),
            amplitude * (kDay.cos2 * c2 + kDay.sin2 * s2),
            amplitude * (kDay.sin2 * c2 - kDay.cos2 * s2)};
}

double value_at(DayCurve const& curve, double angle) {
    double const c = std::cos(angle);
    double const s = std::sin(angle);
    return 1.0 + curve.cos1 * c + curve.sin1 * s + curve.cos2 * (c * c - s * s) +
           curve.sin2 * 2.0 * c * s;
}

void check_shape(ArrivalShape const& shape, double duration_s) {
    auto const& day = shape.diurnal;
    validate(day.amplitude >= 0.0 && day.amplitude <= 1.0 && day.day_s > 0.0 &&
                 std::isfinite(day.start_hour),
             "ArrivalRate: diurnal amplitude in [0, 1] and a day above 0 s");
    double shares = 0.0;
    for (auto const& zone : day.zones) {
        validate(zone.share > 0.0 && std::isfinite(zone.utc_offset_h),
                 "ArrivalRate: shares of zones must be positive");
        shares += zone.share;
    }
    validate(day.zones.empty() || std::abs(shares - 1.0) < 1e-6,
             "ArrivalRate: the shares of the zones must add up to 1");
    auto const& bursts = shape.bursts;
    validate(bursts.multiplier >= 1.0 && bursts.mean_burst_s > 0.0 && bursts.mean_gap_s > 0.0,
             "ArrivalRate: burst multiplier at least 1, mean lengths above 0");
    validate(bursts.multiplier == 1.0 ||
                 2.0 * duration_s <= kMostBurstPhases * (bursts.mean_burst_s + bursts.mean_gap_s),
             "ArrivalRate: too many bursts");
    for (auto const& crowd : shape.flash_crowds) {
        validate(crowd.start_s >= 0.0 && crowd.duration_s > 0.0 && crowd.multiplier >= 1.0 &&
                     crowd.user_share > 0.0 && crowd.user_share <= 1.0,
                 "ArrivalRate: flash crowd out of range");
    }
}

}  // namespace

ArrivalRate::ArrivalRate(ArrivalShape const& shape, std::uint64_t seed, double duration_s)
    : diurnal_(shape.diurnal.amplitude > 0.0), crowds_(shape.flash_crowds) {
    check_shape(shape, duration_s);
    auto const& day = shape.diurnal;
    start_angle_ = 2.0 * std::numbers::pi * day.start_hour / kHoursPerDay;
    angle_per_s_ = 2.0 * std::numbers::pi / day.day_s;
    auto zones = day.zones;
    if (zones.empty() || !diurnal_) zones = {TimeZoneShare{}};
    std::vector<double> weights;
    double sum = 0.0;
    for (auto const& zone : zones) {
        curves_.push_back(shifted(day.amplitude, zone.utc_offset_h));
        weights.push_back(zone.share);
        zone_limits_.push_back(sum += zone.share);
    }
    everybody_ = mix(weights);
    draw_phases(shape.bursts, seed, duration_s);
    for (std::size_t crowd = 0; crowd < crowds_.size(); ++crowd)
        crowd_keys_.push_back(mix64(seed ^ mix64(kCrowdSalt + crowd)));
}

void ArrivalRate::draw_phases(BurstParams const& bursts, std::uint64_t seed, double duration_s) {
    if (bursts.multiplier == 1.0) return;
    double const burst_share = bursts.mean_burst_s / (bursts.mean_burst_s + bursts.mean_gap_s);
    gap_level_ = 1.0 / (1.0 + burst_share * (bursts.multiplier - 1.0));
    burst_level_ = bursts.multiplier * gap_level_;
    CounterRng rng(seed, Purpose::arrivals, kBurstIdentity);
    // Exponential phases have no memory: this start is the process's long-run state.
    starts_in_burst_ = rng.uniform() < burst_share;
    bool burst = starts_in_burst_;
    for (double time_s = 0.0; time_s < duration_s; burst = !burst) {
        time_s += rng.exponential(burst ? bursts.mean_burst_s : bursts.mean_gap_s);
        if (time_s < duration_s) switches_s_.push_back(time_s);
    }
}

double ArrivalRate::at(double t_s) const {
    double crowds = 1.0;
    for (auto const& crowd : crowds_) {
        if (t_s >= crowd.start_s && t_s < crowd.start_s + crowd.duration_s)
            crowds += crowd.multiplier - 1.0;
    }
    return day(t_s, everybody_) * phase_level(phase_at(t_s)) * crowds;
}

double ArrivalRate::at(double t_s, std::size_t zone) const {
    return day(t_s, curves_[zone]) * phase_level(phase_at(t_s));
}

double ArrivalRate::max() const {
    double crowds = 1.0;
    for (auto const& crowd : crowds_) crowds += crowd.multiplier - 1.0;
    return day_max(everybody_) * std::max(gap_level_, burst_level_) * crowds;
}

std::size_t ArrivalRate::zone_of(UserId user) const {
    if (zones() == 1) return 0;
    double const u = unit(mix64(user ^ kZoneSalt));
    auto const at = std::upper_bound(zone_limits_.begin(), zone_limits_.end(), u);
    return std::min<std::size_t>(static_cast<std::size_t>(at - zone_limits_.begin()), zones() - 1);
}

bool ArrivalRate::in_crowd(UserId user, std::size_t crowd) const {
    return unit(mix64(user ^ crowd_keys_[crowd])) < crowds_[crowd].user_share;
}

double ArrivalRate::crowd_boost(std::size_t crowd) const {
    return (crowds_[crowd].multiplier - 1.0) / crowds_[crowd].user_share;
}

DayCurve ArrivalRate::mix(std::vector<double> const& weights) const {
    validate(weights.size() == zones(), "ArrivalRate::mix: one weight per zone");
    DayCurve sum;
    for (std::size_t zone = 0; zone < weights.size(); ++zone) {
        sum.cos1 += weights[zone] * curves_[zone].cos1;
        sum.sin1 += weights[zone] * curves_[zone].sin1;
        sum.cos2 += weights[zone] * curves_[zone].cos2;
        sum.sin2 += weights[zone] * curves_[zone].sin2;
    }
    return sum;
}

double ArrivalRate::day(double t_s, DayCurve const& curve) const {
    if (!diurnal_) return 1.0;
    return value_at(curve, start_angle_ + angle_per_s_ * t_s);
}

double ArrivalRate::day_max(DayCurve const& curve) {
    // Between two points of a grid of step d a function is at most d^2 / 8 * max |f''| above them.
    constexpr int kPoints = 96;
    constexpr double kStep = 2.0 * std::numbers::pi / kPoints;
    double highest = 0.0;
    for (int point = 0; point < kPoints; ++point)
        highest = std::max(highest, value_at(curve, kStep * point));
    double const curvature =
        std::hypot(curve.cos1, curve.sin1) + 4.0 * std::hypot(curve.cos2, curve.sin2);
    return highest + kStep * kStep / 8.0 * curvature;
}

std::size_t ArrivalRate::phase_at(double t_s) const {
    auto const at = std::upper_bound(switches_s_.begin(), switches_s_.end(), t_s);
    return static_cast<std::size_t>(at - switches_s_.begin());
}

double ArrivalRate::phase_level(std::size_t phase) const {
    return starts_in_burst_ == (phase % 2 == 0) ? burst_level_ : gap_level_;
}

double ArrivalRate::phase_end_s(std::size_t phase) const {
    return phase < switches_s_.size() ? switches_s_[phase] : kInfinity;
}

ArrivalTimes::ArrivalTimes(ArrivalRate const& rate, Group const& group, CounterRng const& steps,
                           CounterRng const& thinning)
    : rate_(&rate),
      group_(group),
      steps_(steps),
      thinning_(thinning),
      time_s_(group.start_s),
      day_max_(rate.is_diurnal() ? ArrivalRate::day_max(group.curve) : 1.0) {
    enter(rate.phase_at(time_s_));
}

void ArrivalTimes::enter(std::size_t phase) {
    phase_ = phase;
    phase_end_s_ = rate_->phase_end_s(phase);
    mean_step_s_ = 1.0 / (group_.requests_per_second * (rate_->phase_level(phase) * day_max_));
}

double ArrivalTimes::next() {
    if (!(group_.requests_per_second > 0.0)) return kInfinity;
    while (true) {
        time_s_ += steps_.exponential(mean_step_s_);
        if (time_s_ >= phase_end_s_ && phase_end_s_ < group_.end_s) {
            // What was drawn reaches into another phase: draw again from its start (no memory).
            time_s_ = phase_end_s_;
            enter(phase_ + 1);
            continue;
        }
        if (time_s_ >= group_.end_s) {
            time_s_ = kInfinity;
            return kInfinity;
        }
        if (!rate_->is_diurnal()) return time_s_;
        if (thinning_.uniform() * day_max_ < rate_->day(time_s_, group_.curve)) return time_s_;
    }
}

}  // namespace ckvsim::workload
