// The requests of one node's users, in time order, made on the fly. A pure function of (seed,
// node): every strategy, every number of ranks and every routing sees the same requests.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/rng.hpp"
#include "fleet/fleet_users.hpp"
#include "fleet/sign_ups.hpp"
#include "workload/arrival_rate.hpp"

namespace ckvsim::fleet {

struct FleetTraffic {
    double requests_per_second = 1000.0;  ///< of the whole fleet, mean
    double duration_s = 10.0;             ///< virtual
    double revisit_probability = 0.3;     ///< a user of a recent request of the node returns
    std::uint32_t revisit_window = 64;    ///< ... among the node's last so many, geometric
    double events_per_request = 4.0;      ///< mean of the events added to a history by a visit
    workload::ArrivalShape shape = {};    ///< time of day, bursts, flash crowds

    bool operator==(FleetTraffic const&) const = default;
};

/// One request of a user at his home node.
struct Arrival {
    Nanoseconds time_ns = 0;
    std::uint64_t user = 0;
    std::uint32_t place = 0;     ///< at home
    std::uint16_t appended = 0;  ///< events recorded since his last visit
    bool returning = false;      ///< within a session
    bool is_new = false;         ///< of a user who signed up during the run
};

/// One node's requests, made on the fly; not shared between threads.
class ArrivalStream {
  public:
    /// Nobody asks before he has signed up, so the rate is that of the users who are there.
    ArrivalStream(FleetUsers const& users, FleetTraffic const& traffic, std::uint64_t seed,
                  std::uint32_t node, SignUps sign_ups = {});

    /// Fills `out` with the next requests before `end_ns`, at most `most`; fewer than `most` means
    /// that no more start before `end_ns`.
    void next(Nanoseconds end_ns, std::size_t most, std::vector<Arrival>& out);

    /// Request rate of one user of class k, 1/s, returns left out: sessions start as a Poisson
    /// process.
    [[nodiscard]] double session_rate(std::size_t index) const { return session_rates_[index]; }

    /// How far the stream is, see core/archive.hpp; the rest follows from the constructor.
    template <class Archive>
    void archive(Archive& ar) {
        ar.fixed(recent_);
        ar(rng_, thinning_, time_ns_, made_, head_);
        if constexpr (Archive::kLoads) {
            bool inside = is_head_whole();
            for (auto const place : recent_) inside = inside && place < users_.places(node_);
            ar.require(inside && rng_.is_valid() && thinning_.is_valid(),
                       "requests of users whom the node does not have");
        }
    }

  private:
    [[nodiscard]] std::uint32_t draw_place(std::uint32_t u, std::uint32_t v) const;
    void make_head();
    void draw_head();
    bool is_absent();
    /// Whether a loaded next request is of a user of this node and says truly who he is.
    [[nodiscard]] bool is_head_whole() const;
    void step_time(std::uint32_t u);
    std::uint32_t draw_user_at(double t_s, std::uint32_t a, std::uint32_t b);

    FleetUsers const& users_;
    FleetTraffic traffic_;
    std::uint32_t node_;
    CounterRng rng_;
    double mean_gap_ns_;
    double time_ns_ = 0.0;
    std::uint64_t made_ = 0;
    std::uint32_t revisit_threshold_;
    double log_stay_;
    std::vector<std::uint32_t> recent_;  ///< ring of places
    // Alias table over classes (Walker 1977; Vose 1991).
    std::vector<std::uint32_t> alias_threshold_;
    std::vector<std::uint8_t> alias_;
    std::vector<std::uint32_t> class_first_;
    std::vector<std::uint32_t> class_size_;
    std::vector<double> session_rates_;
    std::vector<std::uint16_t> growth_;  ///< quantiles of the appended events
    Arrival head_;                       ///< the next request, already drawn
    // Only where the rate varies: thinning under its maximum, then who asks, by rejection.
    std::optional<workload::ArrivalRate> rate_;
    CounterRng thinning_;
    double zone_max_ = 1.0;
    SignUps sign_ups_;
};

}  // namespace ckvsim::fleet
