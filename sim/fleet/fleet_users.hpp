// Who the users of a fleet are, without storing them: activity, history length and home node are
// pure functions of (seed, user), so that a billion users cost nothing but their cache state.
//
// Users are numbered by activity class: class k owns one contiguous range of ids. User u's home is
// node u mod N, his place there u / N, so a class is a contiguous range of places on every node.
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.hpp"

namespace ckvsim::fleet {

/// Log-normal activity cut into classes of users that are equally active.
struct ActivityParams {
    double sigma = 1.0;          ///< of the log of a user's request rate; 0 = all alike
    std::uint32_t classes = 24;  ///< halves of halves towards the active end

    bool operator==(ActivityParams const&) const = default;
};

/// Log-normal number of recorded events of a user at the start.
struct HistoryParams {
    double median = 1300.0;  ///< FACTS section 4: derived from SDIM's two bounds
    double sigma = 1.05;
    std::uint32_t shortest = 1;
    std::uint32_t longest = 60000;

    bool operator==(HistoryParams const&) const = default;
};

/// Users who are equally active; ids first .. end - 1.
struct ActivityClass {
    UserId first = 0;
    UserId end = 0;
    double relative_rate = 1.0;  ///< request rate of one of its users over the mean of all
};

class FleetUsers {
  public:
    /// users >= nodes >= 1.
    FleetUsers(std::uint64_t users, std::uint32_t nodes, ActivityParams const& activity,
               HistoryParams const& history, std::uint64_t seed);

    [[nodiscard]] std::uint64_t users() const { return users_; }
    [[nodiscard]] std::uint32_t nodes() const { return nodes_; }
    [[nodiscard]] std::vector<ActivityClass> const& classes() const { return classes_; }

    /// Users whose home is the node.
    [[nodiscard]] std::uint64_t places(std::uint32_t node) const {
        return (users_ - node + nodes_ - 1) / nodes_;
    }
    [[nodiscard]] UserId user(std::uint32_t node, std::uint64_t place) const {
        return place * nodes_ + node;
    }
    /// First place of a class on a node; class classes().size() gives places(node).
    [[nodiscard]] std::uint64_t first_place(std::uint32_t node, std::size_t index) const;
    /// Expected requests of the node over those of the fleet.
    [[nodiscard]] double share_of(std::uint32_t node) const;
    /// Events recorded before the run.
    [[nodiscard]] std::uint32_t history_events(UserId user) const;
    /// Mean over users of f(min(events, cap)), for the sizes of entries.
    template <class F>
    [[nodiscard]] double mean_over_lengths(F&& f) const {
        double sum = 0.0;
        for (auto const length : lengths_) sum += f(length);
        return sum / static_cast<double>(lengths_.size());
    }

  private:
    std::uint64_t users_;
    std::uint32_t nodes_;
    std::uint64_t seed_;
    std::vector<ActivityClass> classes_;
    std::vector<std::uint16_t> lengths_;  ///< equally likely quantiles of the history length
};

}  // namespace ckvsim::fleet
