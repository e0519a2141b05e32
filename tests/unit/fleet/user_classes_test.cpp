// Classes of users: their bounds, and their counts against a count by hand and against the totals.
#include "fleet/user_classes.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"
#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::busy_fleet;
using testing_support::busy_setup;
using testing_support::kRoutingKinds;
using testing_support::plain_costs;
using testing_support::plain_setup;

TEST(UserClasses, EveryHistoryIsWithinTheBoundsOfItsClass) {
    for (std::uint32_t events = 0; events < 65536; ++events) {
        auto const of = user_class(history_class(events));
        ASSERT_EQ(of.grouping, Grouping::history);
        ASSERT_GE(events, of.from);
        ASSERT_LT(events, of.to);
    }
    EXPECT_EQ(history_class(100000), history_class(65535)) << "grown beyond what is counted";
}

TEST(UserClasses, ActivityFollowsTheOrderOfUsers) {
    for (std::uint64_t const users : {1U, 7U, 100U, 12345U}) {
        ActivityGroups const groups(users);
        for (UserId user = 0; user < users; ++user) {
            auto const of = user_class(groups.of(user));
            double const share = static_cast<double>(user) / static_cast<double>(users);
            ASSERT_EQ(of.grouping, Grouping::activity);
            ASSERT_GE(share, of.from);
            ASSERT_LT(share, of.to);
        }
    }
    EXPECT_EQ(user_class(ActivityGroups(0).of(77)).number, 0U);
}

TEST(UserClasses, ClassesOfAGroupingFollowEachOther) {
    for (std::size_t c = 1; c < kUserClasses; ++c) {
        auto const before = user_class(c - 1);
        auto const here = user_class(c);
        EXPECT_LT(here.from, here.to);
        if (here.grouping != before.grouping) {
            EXPECT_EQ(here.number, 0U);
            continue;
        }
        EXPECT_EQ(here.from, before.to);
        EXPECT_EQ(here.number, before.number + 1);
    }
    EXPECT_THROW(user_class(kUserClasses), InternalError);
    EXPECT_EQ(to_string(Grouping::activity), "activity");
}

/// Requests, hits and the sum of latencies of each class.
struct ByHand {
    std::array<std::uint64_t, kUserClasses> requests{}, hits{}, latency_ns{};
};

/// Requests so far apart that none waits, of users whose histories grow past the classes' bounds;
/// a stage takes 1 us, and an append is a stage.
TEST(UserClasses, CountsAreThoseByHand) {
    constexpr std::uint64_t kUsers = 40;
    FleetUsers const users(kUsers, 1, {.sigma = 1.0, .classes = 4}, {.median = 60.0, .sigma = 1.5},
                           1);
    NodeRun const run{
        .warmup_ns = 500'000'000, .duration_ns = 4'000'000'000, .fleet_users = kUsers};
    auto const setup = plain_setup(1000.0);
    auto const costs = plain_costs(4096);
    NodeSim sim(setup, costs, run, 0, kUsers);
    start_node(sim.tiers(), users, 0, std::vector<double>(users.classes().size(), 1.0), setup.tiers,
               StartState::cold, 1);
    std::vector<std::uint32_t> events(kUsers);
    for (UserId u = 0; u < kUsers; ++u) events[u] = users.history_events(u);
    std::vector<bool> seen(kUsers, false);
    std::vector<Arrival> arrivals;
    ByHand hand;
    for (std::uint64_t i = 0; i < 4000; ++i) {
        Arrival a;
        a.time_ns = static_cast<Nanoseconds>(i) * 1'000'000;
        a.user = mix64(i) % kUsers;
        a.place = static_cast<std::uint32_t>(a.user);
        a.appended = static_cast<std::uint16_t>(mix64(i ^ 77U) % 6);
        arrivals.push_back(a);
        events[a.user] += a.appended;
        bool const hit = seen[a.user];
        seen[a.user] = true;
        if (a.time_ns < run.warmup_ns) continue;
        double const share = static_cast<double>(a.user) / kUsers;
        for (std::size_t c = 0; c < kUserClasses; ++c) {
            auto const of = user_class(c);
            if (of.grouping == Grouping::sign_up) continue;  // nobody can
            double const x = of.grouping == Grouping::history ? events[a.user] : share;
            if (x < of.from || x >= of.to) continue;
            ++hand.requests[c];
            hand.hits[c] += hit ? 1 : 0;
            hand.latency_ns[c] += hit && a.appended == 0 ? 2000 : 3000;
        }
    }
    sim.serve(arrivals);
    auto const r = sim.finish();
    std::size_t used = 0;
    for (std::size_t c = 0; c < kUserClasses; ++c) {
        EXPECT_EQ(r.classes[c].requests, hand.requests[c]) << c;
        EXPECT_EQ(r.classes[c].hits, hand.hits[c]) << c;
        EXPECT_EQ(r.classes[c].hbm_hits, hand.hits[c]) << c;
        EXPECT_EQ(r.classes[c].latency_ns, hand.latency_ns[c]) << c;
        EXPECT_EQ(r.classes[c].latency.count(), hand.requests[c]) << c;
        used += hand.requests[c] > 0 ? 1 : 0;
    }
    EXPECT_GT(used, 9U) << "too few classes to compare";
}

/// Counts of one grouping's classes together.
PartCounts sum_of(FleetResult const& r, Grouping grouping) {
    PartCounts sum;
    for (std::size_t c = 0; c < kUserClasses; ++c) {
        if (user_class(c).grouping != grouping) continue;
        auto const& part = r.classes[c];
        sum.requests += part.requests;
        sum.hbm_hits += part.hbm_hits;
        sum.hits += part.hits;
        sum.shed += part.shed;
        sum.lost += part.lost;
        sum.good += part.good;
        sum.latency_ns += part.latency_ns;
        sum.made_bytes += part.made_bytes;
        sum.latency.merge(part.latency);
    }
    return sum;
}

TEST(UserClasses, ClassesSumToTheTotalsWhateverHappens) {
    auto const costs = plain_costs();
    for (auto const kind : kRoutingKinds) {
        auto params = busy_fleet();
        params.traffic.duration_s = 0.2;
        params.routing = {.kind = kind, .window_ms = 2.0};
        params.events = {{.kind = EventKind::crash, .at = 0.4, .duration = 0.2, .nodes = {1}},
                         {.kind = EventKind::new_users, .at = 0.2, .users_share = 0.2}};
        auto const r = run_fleet(params, busy_setup(), costs, {});
        ASSERT_GT(r.shed, 0U);
        ASSERT_GT(r.lost, 0U);
        for (std::size_t g = 0; g < kGroupings; ++g) {
            auto const sum = sum_of(r, static_cast<Grouping>(g));
            EXPECT_EQ(sum.requests, r.offered) << to_string(kind);
            EXPECT_EQ(sum.shed, r.shed) << to_string(kind);
            EXPECT_EQ(sum.lost, r.lost) << to_string(kind);
            EXPECT_EQ(sum.good, r.good) << to_string(kind);
            EXPECT_EQ(sum.hbm_hits, r.found[static_cast<std::size_t>(Residence::hbm)]);
            EXPECT_EQ(sum.hits, r.served - r.found[0]);
            EXPECT_EQ(sum.latency.count(), r.served);
            EXPECT_GT(sum.made_bytes, 0U);
        }
    }
}

TEST(UserClasses, ActiveUsersHitMoreOften) {
    auto params = busy_fleet();
    auto const r = run_fleet(params, busy_setup(), plain_costs(), {});
    auto const hit_ratio = [&](std::size_t activity) {
        auto const& part = r.classes[kHistoryClasses + activity];
        return static_cast<double>(part.hits) / static_cast<double>(part.requests - part.shed);
    };
    EXPECT_GT(hit_ratio(kActivityClasses - 1), hit_ratio(0) + 0.05);
}

}  // namespace
}  // namespace ckvsim::fleet
