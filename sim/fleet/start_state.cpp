#include "fleet/start_state.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::uint64_t kAgeSalt = 0xA6E0F1A57B15173DULL;
constexpr std::uint64_t kPhaseSalt = 0x3C6EF372FE94F82BULL;
constexpr double kForever = std::numeric_limits<double>::infinity();
constexpr double kLongestAge_s = 2.0e6;  ///< 23 days: half the range of a tick
constexpr std::size_t kBuckets = 1U << 15U;

/// Smallest T with held(T) >= capacity; infinite when even forever holds less.
template <class Held>
double solve_time(Held&& held, double capacity) {
    if (capacity <= 0.0) return 0.0;
    if (held(1e12) <= capacity) return kForever;
    double low = -12.0;
    double high = 12.0;
    for (int i = 0; i < 100; ++i) {
        double const middle = 0.5 * (low + high);
        (held(std::pow(10.0, middle)) < capacity ? low : high) = middle;
    }
    return std::pow(10.0, 0.5 * (low + high));
}

double uniform_of(std::uint64_t key) {
    return (static_cast<double>(mix64(key) >> 11) + 0.5) * 0x1.0p-53;
}

/// Where a user's entry is and how long it has been in its tier's order.
struct Drawn {
    Residence tier = Residence::none;
    double position = 0.0;  ///< 0 = newest of the tier, 1 = oldest
    double age_s = 0.0;     ///< of the last visit
};

/// LRU: position in one stack.
class LruDraw {
  public:
    LruDraw(std::vector<double> const& counts, std::vector<double> const& rates, double bytes,
            std::array<double, 3> const& capacity)
        : edges_(characteristic_times(counts, rates, bytes, capacity)) {}
    [[nodiscard]] Drawn operator()(double rate, double u, double /*v*/) const {
        Drawn d;
        d.age_s = -std::log(u) / rate;
        double from = 0.0;
        for (std::size_t t = 0; t < 3; ++t) {
            if (d.age_s < edges_[t]) {
                d.tier = static_cast<Residence>(t + 1);
                double const to = std::min(edges_[t], kLongestAge_s * 50);
                d.position = std::min((d.age_s - from) / std::max(to - from, 1e-9), 1.0);
                return d;
            }
            from = edges_[t];
        }
        return d;
    }

  private:
    std::array<double, 3> edges_;
};

/// FIFO with promotion: T1 in GPU memory from the request that brought it, then T2, T3 below unless
/// requested again.
class FifoDraw {
  public:
    FifoDraw(std::vector<double> const& counts, std::vector<double> const& rates, double bytes,
             std::array<double, 3> const& capacity) {
        auto const sum = [&](auto&& share) {
            double total = 0.0;
            for (std::size_t k = 0; k < counts.size(); ++k) total += counts[k] * share(rates[k]);
            return total * bytes;
        };
        stay_[0] = solve_time(
            [&](double t) { return sum([&](double r) { return r * t / (1.0 + r * t); }); },
            capacity[0]);
        for (std::size_t i = 1; i < 3; ++i) {
            double const before = below(i);
            auto const held = [&](double t) {
                return sum([&](double r) {
                    return outside(r) * (std::exp(-r * before) - std::exp(-r * (before + t)));
                });
            };
            stay_[i] = before == kForever ? 0.0 : solve_time(held, capacity[i] - capacity[i - 1]);
        }
    }
    [[nodiscard]] Drawn operator()(double rate, double u, double v) const {
        Drawn d;
        double const inside = 1.0 - outside(rate);
        if (v < inside) {
            d.tier = Residence::hbm;
            d.position = v / inside;
            // Requests while inside do not move it: the last visit is younger than the entry.
            d.age_s = std::min(-std::log(u) / rate, d.position * std::min(stay_[0], kLongestAge_s));
            return d;
        }
        double const since = -std::log(u) / rate;
        d.age_s = since;
        for (std::size_t i = 1; i < 3; ++i) {
            double const from = below(i);
            if (since >= from && since < from + stay_[i]) {
                d.tier = static_cast<Residence>(i + 1);
                d.position = std::min((since - from) / std::min(stay_[i], kLongestAge_s * 50), 1.0);
                return d;
            }
        }
        return d;
    }

  private:
    [[nodiscard]] double outside(double rate) const {
        return stay_[0] == kForever ? 0.0 : 1.0 / (1.0 + rate * stay_[0]);
    }
    /// Time below GPU memory before tier i begins.
    [[nodiscard]] double below(std::size_t i) const { return i == 1 ? 0.0 : stay_[1]; }
    std::array<double, 3> stay_{};
};

/// Orders entries by position without sorting: buckets of singly linked lists through the states.
class Buckets {
  public:
    Buckets(NodeTiers& tiers, std::size_t lists)
        : tiers_(tiers), heads_(lists * kBuckets, kNoPlace) {}
    void add(std::size_t list, double position, std::uint32_t place) {
        auto const b = std::min(static_cast<std::size_t>(position * kBuckets), kBuckets - 1);
        auto& head = heads_[list * kBuckets + b];
        tiers_.state(place).links.older = head;
        head = place;
    }
    template <class Visit>
    void drain(std::size_t list, Visit&& visit) {
        for (std::size_t b = 0; b < kBuckets; ++b) {
            for (std::uint32_t place = heads_[list * kBuckets + b]; place != kNoPlace;) {
                std::uint32_t const next = tiers_.state(place).links.older;
                if (next != kNoPlace) tiers_.prefetch(next);
                tiers_.state(place).links = {};
                visit(place);
                place = next;
            }
        }
    }

  private:
    NodeTiers& tiers_;
    std::vector<std::uint32_t> heads_;
};

/// Gives him the history he has at the start; false: he signs up later.
bool begin_user(UserState& state, FleetUsers const& users, UserId user, SignUps const& sign_ups) {
    state = UserState{};
    if (sign_ups.any() && sign_ups.at_ns(user) != SignUps::kFromStart) return false;
    state.events = static_cast<std::uint16_t>(users.history_events(user));
    return true;
}

template <class Draw>
void fill(NodeTiers& tiers, FleetUsers const& users, std::uint32_t node,
          std::vector<double> const& rates, TierParams const& params, Draw const& draw,
          std::uint64_t seed, SignUps const& sign_ups) {
    Buckets buckets(tiers, 3);
    for (std::size_t k = 0; k < rates.size(); ++k) {
        for (auto p = users.first_place(node, k); p < users.first_place(node, k + 1); ++p) {
            auto const place = static_cast<std::uint32_t>(p);
            UserId const user = users.user(node, p);
            UserState& s = tiers.state(place);
            if (!begin_user(s, users, user, sign_ups)) continue;
            Drawn const d = draw(rates[k], uniform_of(user ^ seed ^ kAgeSalt),
                                 uniform_of(user ^ seed ^ kPhaseSalt));
            s.last_tick = kStartTick - static_cast<std::uint32_t>(std::min(d.age_s, kLongestAge_s) *
                                                                  1e9 / (1 << 20));
            bool const expired = params.ttl_s > 0.0 && d.age_s > params.ttl_s;
            if (d.tier == Residence::none || expired) continue;
            buckets.add(static_cast<std::size_t>(d.tier) - 1, d.position, place);
        }
    }
    // What a tier cannot take after all goes to the newest end of the next one.
    for (std::size_t t = 0; t < 3; ++t) {
        buckets.drain(t, [&](std::uint32_t place) {
            for (std::size_t to = t; to < 3; ++to)
                if (tiers.place_oldest(place, static_cast<Residence>(to + 1))) return;
        });
    }
}

}  // namespace

std::string to_string(StartState value) {
    return value == StartState::stationary ? "stationary" : "cold";
}

std::array<double, 3> characteristic_times(std::vector<double> const& entries,
                                           std::vector<double> const& rates, double mean_bytes,
                                           std::array<double, 3> const& cumulative_capacity) {
    std::array<double, 3> times{};
    for (std::size_t t = 0; t < 3; ++t) {
        times[t] = solve_time(
            [&](double time) {
                double held = 0.0;
                for (std::size_t k = 0; k < entries.size(); ++k)
                    held += entries[k] * -std::expm1(-rates[k] * time);
                return held * mean_bytes;
            },
            cumulative_capacity[t]);
    }
    return times;
}

void start_node(NodeTiers& tiers, FleetUsers const& users, std::uint32_t node,
                std::vector<double> const& session_rates, TierParams const& params,
                StartState start, std::uint64_t seed, SignUps const& sign_ups) {
    if (start == StartState::cold) {
        for (std::uint64_t p = 0; p < users.places(node); ++p)
            begin_user(tiers.state(static_cast<std::uint32_t>(p)), users, users.user(node, p),
                       sign_ups);
        return;
    }
    std::vector<double> counts;
    for (std::size_t k = 0; k < session_rates.size(); ++k)
        counts.push_back(
            sign_ups.from_start() *
            static_cast<double>(users.first_place(node, k + 1) - users.first_place(node, k)));
    double const bytes = tiers.mean_entry_bytes(users);
    double const hbm = static_cast<double>(tiers.capacity_bytes(Residence::hbm));
    double const dram = static_cast<double>(tiers.capacity_bytes(Residence::dram));
    double const nvme = static_cast<double>(tiers.capacity_bytes(Residence::nvme));
    double const host = params.inclusive ? dram : hbm + dram;
    std::array<double, 3> const capacity = {hbm, host, host + nvme};
    if (params.policy == EvictionPolicy::fifo) {
        fill(tiers, users, node, session_rates, params,
             FifoDraw(counts, session_rates, bytes, capacity), seed, sign_ups);
    } else {
        fill(tiers, users, node, session_rates, params,
             LruDraw(counts, session_rates, bytes, capacity), seed, sign_ups);
    }
}

}  // namespace ckvsim::fleet
