#include "fleet/arrivals.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

constexpr double kMeanRevisitShare = 0.25;  ///< of the window, as in workload/requests
constexpr std::size_t kGrowthQuantiles = 1024;
constexpr double kTwo32 = 4294967296.0;

/// Splits weights into equal boxes of two classes each.
void make_alias(std::vector<double> weights, std::vector<std::uint32_t>& threshold,
                std::vector<std::uint8_t>& alias) {
    std::size_t const n = weights.size();
    double sum = 0.0;
    for (double const w : weights) sum += w;
    for (double& w : weights) w *= static_cast<double>(n) / sum;
    threshold.assign(n, 0xFFFFFFFFU);
    alias.resize(n);
    for (std::size_t i = 0; i < n; ++i) alias[i] = static_cast<std::uint8_t>(i);
    std::vector<std::size_t> small, large;
    for (std::size_t i = 0; i < n; ++i) (weights[i] < 1.0 ? small : large).push_back(i);
    while (!small.empty() && !large.empty()) {
        std::size_t const s = small.back();
        std::size_t const l = large.back();
        small.pop_back();
        threshold[s] = static_cast<std::uint32_t>(weights[s] * (kTwo32 - 1.0));
        alias[s] = static_cast<std::uint8_t>(l);
        weights[l] -= 1.0 - weights[s];
        if (weights[l] < 1.0) {
            large.pop_back();
            small.push_back(l);
        }
    }
}

}  // namespace

ArrivalStream::ArrivalStream(FleetUsers const& users, FleetTraffic const& traffic,
                             std::uint64_t seed, std::uint32_t node, SignUps sign_ups)
    : users_(users),
      traffic_(traffic),
      node_(node),
      rng_(seed, Purpose::arrivals, node, 7),
      mean_gap_ns_(1e9 / (traffic.requests_per_second * users.share_of(node))),
      revisit_threshold_(
          static_cast<std::uint32_t>(std::min(traffic.revisit_probability * kTwo32, kTwo32 - 1.0))),
      log_stay_(std::log1p(-1.0 / std::max(kMeanRevisitShare * traffic.revisit_window, 1.000001))),
      recent_(traffic.revisit_window),
      thinning_(seed, Purpose::arrivals, node, 8),
      sign_ups_(std::move(sign_ups)) {
    validate(traffic.requests_per_second > 0.0 && traffic.duration_s > 0.0 &&
                 traffic.revisit_window >= 1 && traffic.events_per_request >= 0.0,
             "ArrivalStream: traffic out of range");
    validate(users.places(node) < 0xFFFFFFF0ULL, "ArrivalStream: more than 2^32 users on a node");
    double const per_user = traffic.requests_per_second * (1.0 - traffic.revisit_probability) /
                            static_cast<double>(users.users());
    std::vector<double> weights;
    for (std::size_t k = 0; k < users.classes().size(); ++k) {
        auto const first = users.first_place(node, k);
        auto const size = users.first_place(node, k + 1) - first;
        class_first_.push_back(static_cast<std::uint32_t>(first));
        class_size_.push_back(static_cast<std::uint32_t>(size));
        weights.push_back(static_cast<double>(size) * users.classes()[k].relative_rate);
        session_rates_.push_back(per_user * users.classes()[k].relative_rate);
    }
    make_alias(std::move(weights), alias_threshold_, alias_);
    // Geometric with the given mean: what a page of results leaves behind.
    double const mean = traffic.events_per_request;
    for (std::size_t i = 0; i < kGrowthQuantiles; ++i) {
        double const u = (static_cast<double>(i) + 0.5) / kGrowthQuantiles;
        double const events =
            mean == 0.0 ? 0.0 : std::floor(std::log1p(-u) / std::log(mean / (1.0 + mean)));
        growth_.push_back(static_cast<std::uint16_t>(std::min(events, 60000.0)));
    }
    if (traffic.shape != workload::ArrivalShape{}) {
        rate_.emplace(traffic.shape, seed, traffic.duration_s);
        mean_gap_ns_ /= rate_->max();
        if (rate_->is_diurnal()) {
            for (std::size_t zone = 0; zone < rate_->zones(); ++zone)
                zone_max_ = std::max(zone_max_, workload::ArrivalRate::day_max(rate_->curve(zone)));
        }
    }
    make_head();
}

/// Advances to the next request; `u` is the step's random number.
void ArrivalStream::step_time(std::uint32_t u) {
    time_ns_ -= mean_gap_ns_ * std::log((static_cast<double>(u) + 0.5) / kTwo32);
    if (!rate_) return;
    while (thinning_.uniform() * rate_->max() >= rate_->at(time_ns_ * 1e-9) &&
           time_ns_ < traffic_.duration_s * 1e9)
        time_ns_ += thinning_.exponential(mean_gap_ns_);
}

/// A user in proportion to his own rate at that time: activity, time zone, flash crowds.
std::uint32_t ArrivalStream::draw_user_at(double t_s, std::uint32_t a, std::uint32_t b) {
    constexpr int kMostTries = 100000;  // a node without a member of the crowd asks anybody
    double const all = rate_->at(t_s);
    double above = thinning_.uniform() * all;
    auto const& crowds = rate_->crowds();
    double together = 1.0;
    for (auto const& crowd : crowds)
        if (t_s >= crowd.start_s && t_s < crowd.start_s + crowd.duration_s)
            together += crowd.multiplier - 1.0;
    double const base = all / together;
    std::size_t member_of = crowds.size();
    above -= base;
    for (std::size_t c = 0; c < crowds.size() && above >= 0.0; ++c) {
        if (t_s < crowds[c].start_s || t_s >= crowds[c].start_s + crowds[c].duration_s) continue;
        member_of = c;
        above -= base * (crowds[c].multiplier - 1.0);
    }
    std::uint32_t place = draw_place(a, b);
    for (int tries = 0; tries < kMostTries; ++tries) {
        UserId const user = users_.user(node_, place);
        bool const in_crowd = member_of == crowds.size() || rate_->in_crowd(user, member_of);
        if (in_crowd &&
            (rate_->zones() == 1 ||
             thinning_.uniform() * zone_max_ < rate_->day(t_s, rate_->curve(rate_->zone_of(user)))))
            return place;
        std::uint32_t const x = thinning_.next_u32();
        place = draw_place(x, thinning_.next_u32());
    }
    return place;
}

std::uint32_t ArrivalStream::draw_place(std::uint32_t u, std::uint32_t v) const {
    std::uint64_t const wide = static_cast<std::uint64_t>(u) * alias_.size();
    auto const box = static_cast<std::size_t>(wide >> 32);
    std::size_t const k =
        static_cast<std::uint32_t>(wide) < alias_threshold_[box] ? box : alias_[box];
    return class_first_[k] +
           static_cast<std::uint32_t>((static_cast<std::uint64_t>(v) * class_size_[k]) >> 32);
}

/// Whether who was drawn has not signed up yet; as many returns fall away as sessions.
bool ArrivalStream::is_absent() {
    if (!sign_ups_.any()) return false;
    Nanoseconds const signs_up_ns = sign_ups_.at_ns(head_.user);
    head_.is_new = signs_up_ns != SignUps::kFromStart;
    if (time_ns_ >= traffic_.duration_s * 1e9 + 1.0) return false;  // the end: nobody will ask
    if (head_.returning) return thinning_.uniform() >= sign_ups_.present(head_.time_ns);
    return signs_up_ns > head_.time_ns;
}

bool ArrivalStream::is_head_whole() const {
    // As bytes: a bool must not be read before it is known to be one.
    auto const returning = std::bit_cast<std::uint8_t>(head_.returning);
    auto const is_new = std::bit_cast<std::uint8_t>(head_.is_new);
    if (head_.place >= users_.places(node_) || head_.user != users_.user(node_, head_.place))
        return false;
    bool const signs_up = sign_ups_.any() && sign_ups_.at_ns(head_.user) != SignUps::kFromStart;
    return returning <= 1 && is_new == (signs_up ? 1 : 0);
}

void ArrivalStream::make_head() {
    do {
        draw_head();
    } while (is_absent());
    recent_[made_ % traffic_.revisit_window] = head_.place;
    ++made_;
}

void ArrivalStream::draw_head() {
    step_time(rng_.next_u32());
    std::uint32_t const a = rng_.next_u32();
    std::uint32_t const b = rng_.next_u32();
    std::uint32_t const c = rng_.next_u32();
    head_.returning = made_ > 0 && c < revisit_threshold_;
    if (head_.returning) {
        // Steps back, geometric, cut at the window.
        double const stay = (static_cast<double>(a) + 0.5) / kTwo32;
        auto const reach = std::min<std::uint64_t>(made_, traffic_.revisit_window);
        auto const step = static_cast<std::uint64_t>(std::log(stay) / log_stay_);
        head_.place = recent_[(made_ - 1 - std::min(step, reach - 1)) % traffic_.revisit_window];
    } else {
        head_.place = rate_ ? draw_user_at(time_ns_ * 1e-9, a, b) : draw_place(a, b);
    }
    head_.time_ns = static_cast<Nanoseconds>(time_ns_);
    head_.user = users_.user(node_, head_.place);
    head_.appended = growth_[(b ^ (c >> 7)) % kGrowthQuantiles];
}

void ArrivalStream::next(Nanoseconds end_ns, std::size_t most, std::vector<Arrival>& out) {
    out.clear();
    while (out.size() < most && head_.time_ns < end_ns) {
        out.push_back(head_);
        make_head();
    }
}

}  // namespace ckvsim::fleet
