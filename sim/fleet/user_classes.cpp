#include "fleet/user_classes.hpp"

#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

constexpr double kShortest = 64.0;  ///< end of the first class of histories, events

}  // namespace

std::string to_string(Grouping value) {
    static constexpr std::array kNames = {"history", "activity", "sign_up"};
    static_assert(kNames.size() == kGroupings);
    return kNames.at(static_cast<std::size_t>(value));
}

UserClass user_class(std::size_t index) {
    validate(index < kUserClasses, "fleet::user_class: no such class");
    if (index < kHistoryClasses) {
        bool const last = index + 1 == kHistoryClasses;
        return {Grouping::history, index,
                index == 0 ? 0.0 : std::ldexp(kShortest, static_cast<int>(index) - 1),
                last ? 65536.0 : std::ldexp(kShortest, static_cast<int>(index))};
    }
    if (index >= kHistoryClasses + kActivityClasses) {
        std::size_t const is_new = index - kHistoryClasses - kActivityClasses;
        auto const from = static_cast<double>(is_new);
        return {Grouping::sign_up, is_new, from, from + 1.0};
    }
    std::size_t const at = index - kHistoryClasses;
    return {Grouping::activity, at, at == 0 ? 0.0 : kActivityEdges[at - 1],
            at == kActivityEdges.size() ? 1.0 : kActivityEdges[at]};
}

ActivityGroups::ActivityGroups(std::uint64_t users) {
    firsts_.fill(std::numeric_limits<UserId>::max());
    if (users == 0) return;
    for (std::size_t i = 0; i < kActivityEdges.size(); ++i)
        firsts_[i] = static_cast<UserId>(std::ceil(kActivityEdges[i] * static_cast<double>(users)));
}

}  // namespace ckvsim::fleet
