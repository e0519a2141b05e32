// Who asks: classes of users by the length of their history and by their activity, so that a result
// says whom a strategy serves well. One request is in one class of every grouping.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string>

#include "core/ids.hpp"

namespace ckvsim::fleet {

enum class Grouping : std::uint8_t {
    history,   ///< events of the history that the request is served from, powers of two
    activity,  ///< share of the users who are less active
    sign_up,   ///< there from the start, or signed up during the run
    count_
};
inline constexpr std::size_t kGroupings = static_cast<std::size_t>(Grouping::count_);
std::string to_string(Grouping value);

/// Below 64 events, then one a power of two, the last without an end.
inline constexpr std::size_t kHistoryClasses = 10;
/// Where the classes of activity begin after the first: the users are in order of activity.
inline constexpr std::array kActivityEdges = {0.5, 0.75, 0.9, 0.99};
inline constexpr std::size_t kActivityClasses = kActivityEdges.size() + 1;
inline constexpr std::size_t kSignUpClasses = 2;
/// Of all groupings, one behind the other.
inline constexpr std::size_t kUserClasses = kHistoryClasses + kActivityClasses + kSignUpClasses;

/// What a class of kUserClasses is.
struct UserClass {
    Grouping grouping = Grouping::history;
    std::size_t number = 0;  ///< within its grouping
    double from = 0.0;       ///< events, share of the users, or 1 for who signed up in the run
    double to = 0.0;         ///< excluded; histories are counted up to 65535 events
};
UserClass user_class(std::size_t index);

/// Of a history of so many events, among kUserClasses.
constexpr std::uint8_t history_class(std::uint32_t events) {
    constexpr int kFirst = 6;  // bits of the longest history in the first class
    return static_cast<std::uint8_t>(std::clamp(static_cast<int>(std::bit_width(events)) - kFirst,
                                                0, static_cast<int>(kHistoryClasses) - 1));
}

/// Among kUserClasses.
constexpr std::uint8_t sign_up_class(bool is_new) {
    return kHistoryClasses + kActivityClasses + (is_new ? 1 : 0);
}

/// Activity classes of a fleet: user ids ascend with activity (fleet_users.hpp).
class ActivityGroups {
  public:
    /// 0 users: everybody is in the first class.
    explicit ActivityGroups(std::uint64_t users);
    /// Among kUserClasses.
    [[nodiscard]] std::uint8_t of(UserId user) const {
        std::size_t at = kHistoryClasses;
        for (UserId const first : firsts_) at += user >= first ? 1 : 0;
        return static_cast<std::uint8_t>(at);
    }

  private:
    std::array<UserId, kActivityEdges.size()> firsts_{};
};

}  // namespace ckvsim::fleet
