// Users who are not there from the start: who signs up when is a pure function of (events, node,
// seed, user). Before, he asks for nothing and has neither a history nor an entry anywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "fleet/events.hpp"

namespace ckvsim::fleet {

/// Who signs up among the users of one node.
class SignUps {
  public:
    static constexpr Nanoseconds kFromStart = -1;

    SignUps() = default;  ///< everybody is there from the start
    SignUps(EventPlan const& plan, std::uint32_t node, std::uint64_t seed);

    [[nodiscard]] bool any() const { return !waves_.empty(); }
    /// When he signs up; kFromStart when he is there from the start. The first event that draws him
    /// counts.
    [[nodiscard]] Nanoseconds at_ns(UserId user) const;
    /// Expected share of the users who are there from the start.
    [[nodiscard]] double from_start() const { return from_start_; }
    /// Expected share of the users who are there.
    [[nodiscard]] double present(Nanoseconds at_ns) const;
    /// Its mean over the run.
    [[nodiscard]] double mean_present(Nanoseconds duration_ns) const;

  private:
    /// Of one event.
    struct Wave {
        std::uint64_t key = 0;
        double share = 0.0;  ///< of those whom no earlier event drew
        double of_all = 0.0;
        Nanoseconds from_ns = 0;
        Nanoseconds span_ns = 0;
    };
    std::vector<Wave> waves_;
    double from_start_ = 1.0;
};

}  // namespace ckvsim::fleet
