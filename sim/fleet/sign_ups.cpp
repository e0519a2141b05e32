#include "fleet/sign_ups.hpp"

#include <algorithm>
#include <cmath>

#include "core/rng.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::uint64_t kDrawSalt = 0x51C3A9E2407B6D1FULL;
constexpr std::uint64_t kTimeSalt = 0x9D2E6B8F1357ACE0ULL;

double uniform_of(std::uint64_t hash) { return static_cast<double>(hash >> 11) * 0x1.0p-53; }

}  // namespace

SignUps::SignUps(EventPlan const& plan, std::uint32_t node, std::uint64_t seed) {
    for (std::size_t e = 0; e < plan.events().size(); ++e) {
        auto const& event = plan.events()[e];
        auto const& nodes = plan.nodes(e);
        if (event.kind != EventKind::new_users || event.users_share <= 0.0 ||
            !std::binary_search(nodes.begin(), nodes.end(), node))
            continue;
        Wave wave;
        wave.key = mix64(seed ^ kDrawSalt ^ (static_cast<std::uint64_t>(e) << 56));
        wave.share = event.users_share;
        wave.of_all = from_start_ * event.users_share;
        wave.from_ns = static_cast<Nanoseconds>(std::llround(plan.at_s(e) * 1e9));
        wave.span_ns =
            static_cast<Nanoseconds>(std::llround(plan.seconds(event, event.rolling) * 1e9));
        from_start_ -= wave.of_all;
        waves_.push_back(wave);
    }
}

Nanoseconds SignUps::at_ns(UserId user) const {
    for (auto const& wave : waves_) {
        std::uint64_t const drawn = mix64(wave.key ^ user);
        if (uniform_of(drawn) >= wave.share) continue;
        return wave.from_ns + static_cast<Nanoseconds>(uniform_of(mix64(drawn ^ kTimeSalt)) *
                                                       static_cast<double>(wave.span_ns));
    }
    return kFromStart;
}

double SignUps::present(Nanoseconds at_ns) const {
    double share = from_start_;
    for (auto const& wave : waves_) {
        if (at_ns < wave.from_ns) continue;
        bool const all = at_ns >= wave.from_ns + wave.span_ns;
        share += wave.of_all * (all ? 1.0
                                    : static_cast<double>(at_ns - wave.from_ns) /
                                          static_cast<double>(wave.span_ns));
    }
    return share;
}

double SignUps::mean_present(Nanoseconds duration_ns) const {
    double share = 1.0;
    for (auto const& wave : waves_) {
        double const middle =
            static_cast<double>(wave.from_ns) + 0.5 * static_cast<double>(wave.span_ns);
        share -= wave.of_all * std::min(middle / static_cast<double>(duration_ns), 1.0);
    }
    return share;
}

}  // namespace ckvsim::fleet
