// Who signs up when, what that does to arrivals and to the start, against counts over all users.
#include "fleet/sign_ups.hpp"

#include <gtest/gtest.h>

#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::busy_fleet;
using testing_support::busy_setup;
using testing_support::plain_costs;
using testing_support::plain_setup;

constexpr double kSecond = 1e9;
constexpr std::uint64_t kSeed = 1;

/// 10 s without a warm-up, node 0 of one.
EventPlan plan_of(std::vector<FleetEvent> events) { return {std::move(events), {0}, 0.0, 10.0, 1}; }

FleetEvent signs_up(double at, double rolling, double users_share) {
    return {.kind = EventKind::new_users, .at = at, .rolling = rolling, .users_share = users_share};
}

TEST(SignUps, TheFirstEventThatDrawsAUserCounts) {
    SignUps const both(plan_of({signs_up(0.2, 0.0, 0.4), signs_up(0.5, 0.2, 0.5)}), 0, kSeed);
    SignUps const first(plan_of({signs_up(0.2, 0.0, 0.4)}), 0, kSeed);
    constexpr UserId kUsers = 100000;
    std::uint64_t at_once = 0;
    std::uint64_t later = 0;
    for (UserId user = 0; user < kUsers; ++user) {
        auto const at = both.at_ns(user);
        if (first.at_ns(user) != SignUps::kFromStart) {
            ASSERT_EQ(at, static_cast<Nanoseconds>(2 * kSecond));
            ++at_once;
        } else if (at != SignUps::kFromStart) {
            ASSERT_GE(at, static_cast<Nanoseconds>(5 * kSecond));
            ASSERT_LT(at, static_cast<Nanoseconds>(7 * kSecond));
            ++later;
        }
    }
    constexpr double kFiveSigma = 5.0 * 158.0;  // of a binomial with p near one half
    EXPECT_NEAR(static_cast<double>(at_once), 0.4 * kUsers, kFiveSigma);
    EXPECT_NEAR(static_cast<double>(later), 0.3 * kUsers, kFiveSigma);
}

TEST(SignUps, TheExpectedShareIsThatOfTheUsers) {
    SignUps const sign_ups(plan_of({signs_up(0.2, 0.3, 0.4), signs_up(0.4, 0.0, 0.5)}), 0, kSeed);
    constexpr UserId kUsers = 20000;
    double mean = 0.0;
    for (int tenth = 0; tenth < 100; ++tenth) {
        auto const now = static_cast<Nanoseconds>((0.1 * tenth + 0.05) * kSecond);
        double there = 0.0;
        for (UserId user = 0; user < kUsers; ++user) there += sign_ups.at_ns(user) <= now ? 1 : 0;
        EXPECT_NEAR(sign_ups.present(now), there / kUsers, 0.02) << tenth;
        mean += there / kUsers / 100.0;
    }
    EXPECT_NEAR(sign_ups.mean_present(static_cast<Nanoseconds>(10 * kSecond)), mean, 0.02);
    EXPECT_DOUBLE_EQ(sign_ups.from_start(), 0.6 * 0.5);
}

TEST(SignUps, NobodyDoesWithoutAnEventForTheNode) {
    auto elsewhere = signs_up(0.2, 0.0, 0.4);
    elsewhere.nodes = {3};
    EXPECT_FALSE(SignUps(plan_of({elsewhere}), 0, kSeed).any());
    EXPECT_FALSE(SignUps(plan_of({signs_up(0.2, 0.0, 0.0)}), 0, kSeed).any());
    EXPECT_FALSE(SignUps(plan_of({{.kind = EventKind::refresh}}), 0, kSeed).any());
    EXPECT_EQ(SignUps().at_ns(7), SignUps::kFromStart);
    EXPECT_EQ(SignUps().present(0), 1.0);
    EXPECT_TRUE(SignUps(plan_of({signs_up(0.2, 0.0, 0.4)}), 0, kSeed).any());
}

TEST(SignUps, NobodyAsksBeforeHeIsThereAndTheOthersAskAsBefore) {
    FleetUsers const users(5000, 1, {.sigma = 1.0, .classes = 8}, {.median = 20.0}, kSeed);
    FleetTraffic traffic{.requests_per_second = 20000.0, .duration_s = 10.0};
    SignUps const sign_ups(plan_of({signs_up(0.4, 0.2, 0.5)}), 0, kSeed);
    for (bool const shaped : {false, true}) {
        traffic.shape.diurnal.amplitude = shaped ? 0.5 : 0.0;
        traffic.shape.diurnal.day_s = shaped ? 2.0 : 86400.0;
        std::vector<Arrival> arrivals;
        ArrivalStream(users, traffic, kSeed, 0, sign_ups)
            .next(static_cast<Nanoseconds>(10 * kSecond), 1U << 20, arrivals);
        struct Part {
            double all = 0, returning = 0, fresh = 0;
        };
        Part before, after;
        for (auto const& a : arrivals) {
            ASSERT_LE(sign_ups.at_ns(a.user), a.time_ns);
            ASSERT_EQ(a.is_new, sign_ups.at_ns(a.user) != SignUps::kFromStart);
            bool const late = static_cast<double>(a.time_ns) >= 6 * kSecond;
            if (!late && static_cast<double>(a.time_ns) >= 4 * kSecond) continue;
            auto& part = late ? after : before;
            part.all += 1;
            part.returning += a.returning ? 1 : 0;
            part.fresh += a.is_new ? 1 : 0;
        }
        EXPECT_EQ(before.fresh, 0.0);
        EXPECT_NEAR(after.fresh / after.all, 0.5, 0.05);
        EXPECT_NEAR(before.returning / before.all, traffic.revisit_probability, 0.02);
        EXPECT_NEAR(after.returning / after.all, traffic.revisit_probability, 0.02);
        if (shaped) continue;
        EXPECT_NEAR(before.all / 4.0, 0.5 * traffic.requests_per_second, 600.0);
        EXPECT_NEAR(after.all / 4.0, traffic.requests_per_second, 600.0);
    }
}

TEST(SignUps, WhoSignsUpLaterStartsWithoutHistoryAndEntry) {
    FleetUsers const users(5000, 1, {.sigma = 1.0, .classes = 8}, {.median = 20.0}, kSeed);
    SignUps const sign_ups(plan_of({signs_up(0.4, 0.2, 0.5)}), 0, kSeed);
    auto setup = busy_setup();
    auto const costs = plain_costs();
    for (auto const start : {StartState::stationary, StartState::cold}) {
        NodeTiers tiers(users.places(0), setup.gpus, setup.tiers, costs);
        std::vector<double> const rates(users.classes().size(), 8.0);
        start_node(tiers, users, 0, rates, setup.tiers, start, kSeed, sign_ups);
        tiers.check();
        std::uint64_t kept = 0;
        for (std::uint32_t place = 0; place < users.places(0); ++place) {
            auto const& state = tiers.state(place);
            bool const later = sign_ups.at_ns(place) != SignUps::kFromStart;
            EXPECT_EQ(state.events, later ? 0U : users.history_events(place));
            EXPECT_TRUE(!later || state.residence == 0U);
            kept += state.residence != 0 ? 1 : 0;
        }
        EXPECT_EQ(kept > 0, start == StartState::stationary);
        if (start == StartState::cold) continue;
        // Half of the users share the room that all of them had.
        double const room = static_cast<double>(tiers.capacity_bytes(Residence::hbm));
        EXPECT_GT(static_cast<double>(tiers.used_bytes(Residence::hbm)), 0.9 * room);
    }
}

/// New users miss first and are short: one of them by hand.
TEST(SignUps, AFirstRequestMissesWithWhatItBrings) {
    FleetUsers const users(200, 1, {.sigma = 0.0, .classes = 1}, {.median = 20.0, .sigma = 0.0},
                           kSeed);
    FleetEvent const event{
        .kind = EventKind::new_users, .clock = EventClock::seconds, .at = 1e-6, .users_share = 0.5};
    EventPlan const plan({event}, {0}, 0.0, 10.0, kSeed);
    SignUps const sign_ups(plan, 0, kSeed);
    UserId fresh = 0;
    while (sign_ups.at_ns(fresh) == SignUps::kFromStart) ++fresh;
    auto const setup = plain_setup(1000.0);
    auto const costs = plain_costs();
    NodeSim sim(setup, costs, {.duration_ns = 10'000'000}, 0, users.places(0));
    start_node(sim.tiers(), users, 0, {1.0}, setup.tiers, StartState::stationary, kSeed, sign_ups);
    sim.schedule(plan.events(), plan.actions(0));
    std::vector<Arrival> arrivals;
    for (Nanoseconds i = 0; i < 3; ++i)
        arrivals.push_back({.time_ns = 2000 + i * 100'000,
                            .user = fresh,
                            .place = static_cast<std::uint32_t>(fresh),
                            .appended = static_cast<std::uint16_t>(3 * i),
                            .is_new = true});
    sim.serve(arrivals);
    auto const r = sim.finish();
    EXPECT_EQ(r.prefilled_interactions, 0U) << "no history at all at the first visit";
    EXPECT_EQ(r.appended_events, 3U + 6U);
    auto const& part = r.classes[sign_up_class(true)];
    EXPECT_EQ(part.requests, 3U);
    EXPECT_EQ(part.hits, 2U);
    EXPECT_EQ(r.classes[history_class(0)].requests, 3U) << "the shortest histories";
    EXPECT_EQ(r.events[0].times, 1U);
}

/// Requests of new users over a whole run, counted from the streams.
TEST(SignUps, ARunCountsTheRequestsOfNewUsers) {
    auto params = busy_fleet();
    params.events = {signs_up(0.3, 0.3, 0.25)};
    auto const r = run_fleet(params, busy_setup(), plain_costs(), {});
    FleetUsers const users(params.users, params.nodes, params.activity, params.history,
                           params.seed);
    auto const plan = plan_of_events(params);
    auto const end = static_cast<Nanoseconds>(params.traffic.duration_s * kSecond + 0.5);
    std::uint64_t fresh = 0;
    std::uint64_t all = 0;
    for (std::uint32_t node = 0; node < params.nodes; ++node) {
        SignUps const sign_ups(plan, node, params.seed);
        std::vector<Arrival> arrivals;
        ArrivalStream(users, params.traffic, params.seed, node, sign_ups)
            .next(end, 1U << 20, arrivals);
        for (auto const& a : arrivals) {
            if (static_cast<double>(a.time_ns) < params.warmup_s * kSecond) continue;
            ++all;
            fresh += sign_ups.at_ns(a.user) != SignUps::kFromStart ? 1 : 0;
        }
    }
    EXPECT_EQ(r.offered, all);
    EXPECT_EQ(r.classes[sign_up_class(true)].requests, fresh);
    EXPECT_GT(fresh, all / 20);
}

}  // namespace
}  // namespace ckvsim::fleet
