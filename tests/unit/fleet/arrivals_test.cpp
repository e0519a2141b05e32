#include "fleet/arrivals.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {
namespace {

constexpr Nanoseconds kSecond = 1'000'000'000;

std::vector<Arrival> all_of(FleetUsers const& users, FleetTraffic const& traffic,
                            std::uint64_t seed, std::uint32_t node, Nanoseconds end = kSecond) {
    std::vector<Arrival> arrivals;
    ArrivalStream(users, traffic, seed, node).next(end, std::size_t{1} << 40, arrivals);
    return arrivals;
}

bool same(std::vector<Arrival> const& a, std::vector<Arrival> const& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](Arrival const& x, Arrival const& y) {
                          return x.time_ns == y.time_ns && x.user == y.user && x.place == y.place &&
                                 x.appended == y.appended && x.returning == y.returning;
                      });
}

TEST(Arrivals, AreAPoissonProcessOfTheNodesShare) {
    FleetUsers const users(100000, 4, {}, {}, 1);
    FleetTraffic const traffic{.requests_per_second = 400000, .revisit_probability = 0.0};
    std::size_t sum = 0;
    for (std::uint32_t node = 0; node < 4; ++node) {
        auto const arrivals = all_of(users, traffic, 5, node);
        double const expected = 400000 * users.share_of(node);
        EXPECT_NEAR(static_cast<double>(arrivals.size()), expected, 4 * std::sqrt(expected));
        sum += arrivals.size();
        // Counts in 1000 parts: variance over mean is 1 with a standard error of 0.045.
        std::vector<double> counts(1000, 0.0);
        Nanoseconds before = 0;
        for (auto const& a : arrivals) {
            ASSERT_TRUE(a.time_ns >= before && a.time_ns < kSecond);
            before = a.time_ns;
            counts[static_cast<std::size_t>(a.time_ns / 1'000'000)] += 1.0;
            ASSERT_EQ(a.user, users.user(node, a.place));
            ASSERT_LT(a.place, users.places(node));
            ASSERT_FALSE(a.returning);
        }
        double const mean = static_cast<double>(arrivals.size()) / 1000.0;
        double variance = 0.0;
        for (double const c : counts) variance += (c - mean) * (c - mean) / 999.0;
        EXPECT_NEAR(variance / mean, 1.0, 0.18) << "node " << node;
    }
    EXPECT_NEAR(static_cast<double>(sum), 400000.0, 4 * std::sqrt(400000.0));
}

TEST(Arrivals, ClassesAndTheirUsersComeAsOftenAsTheyShould) {
    FleetUsers const users(50000, 3, {.sigma = 1.2, .classes = 12}, {}, 1);
    FleetTraffic const traffic{.requests_per_second = 600000, .revisit_probability = 0.0};
    ArrivalStream const stream(users, traffic, 11, 1);
    auto const arrivals = all_of(users, traffic, 11, 1);
    std::vector<double> seen(12, 0.0);
    std::vector<double> halves(2, 0.0);  // of the most active class's places
    for (auto const& a : arrivals) {
        std::size_t k = 0;
        while (users.first_place(1, k + 1) <= a.place) ++k;
        seen[k] += 1.0;
        if (k < 11) continue;
        auto const middle = (users.first_place(1, 11) + users.first_place(1, 12)) / 2;
        halves[a.place < middle ? 0 : 1] += 1.0;
    }
    double chi_square = 0.0;
    auto const n = static_cast<double>(arrivals.size());
    for (std::size_t k = 0; k < 12; ++k) {
        auto const size =
            static_cast<double>(users.first_place(1, k + 1) - users.first_place(1, k));
        double const expected =
            n * size * users.classes()[k].relative_rate / (50000.0 * users.share_of(1));
        chi_square += (seen[k] - expected) * (seen[k] - expected) / expected;
        EXPECT_NEAR(stream.session_rate(k), 600000.0 / 50000.0 * users.classes()[k].relative_rate,
                    1e-9);
    }
    EXPECT_LT(chi_square, 31.26) << "0.999 quantile of chi-square with 11 degrees of freedom";
    auto const size = users.first_place(1, 12) - users.first_place(1, 11);
    double const first = static_cast<double>(size / 2) / static_cast<double>(size);
    double const both = halves[0] + halves[1];
    EXPECT_GT(both, 1000.0);
    EXPECT_NEAR(halves[0], both * first, 4 * std::sqrt(both * first * (1 - first)) + 1);
}

TEST(Arrivals, ClassesOfEveryShapeComeAsOftenAsTheyShould) {
    for (double const sigma : {0.2, 0.8, 1.5, 2.5}) {
        for (std::uint32_t const classes : {2U, 5U, 24U, 60U}) {
            SCOPED_TRACE("sigma " + std::to_string(sigma) + ", " + std::to_string(classes));
            FleetUsers const users(300000, 1, {.sigma = sigma, .classes = classes}, {}, 1);
            FleetTraffic const traffic{.requests_per_second = 200000, .revisit_probability = 0.0};
            auto const arrivals = all_of(users, traffic, 21, 0);
            auto const count = users.classes().size();
            std::vector<double> seen(count, 0.0);
            for (auto const& a : arrivals) {
                std::size_t k = 0;
                while (users.classes()[k].end <= a.user) ++k;
                seen[k] += 1.0;
            }
            double chi_square = 0.0;
            for (std::size_t k = 0; k < count; ++k) {
                auto const& c = users.classes()[k];
                double const expected = static_cast<double>(arrivals.size()) *
                                        static_cast<double>(c.end - c.first) * c.relative_rate /
                                        300000.0;
                chi_square += (seen[k] - expected) * (seen[k] - expected) / expected;
            }
            // 0.9999 quantile of chi-square (Wilson and Hilferty 1931).
            double const d = static_cast<double>(count) - 1.0;
            double const root = 1.0 - 2.0 / (9.0 * d) + 3.72 * std::sqrt(2.0 / (9.0 * d));
            EXPECT_LT(chi_square, d * root * root * root);
        }
    }
}

TEST(Arrivals, BlocksOfAnySizeGiveTheSameStream) {
    FleetUsers const users(1000, 2, {}, {}, 1);
    FleetTraffic const traffic{.requests_per_second = 6000};
    auto const whole = all_of(users, traffic, 3, 1);
    ASSERT_GT(whole.size(), 2000U);
    for (std::size_t const most : {1U, 7U, 64U, 1000U}) {
        for (Nanoseconds const window : {kSecond, kSecond / 7, kSecond / 1000}) {
            ArrivalStream stream(users, traffic, 3, 1);
            std::vector<Arrival> joined;
            std::vector<Arrival> block;
            for (Nanoseconds end = window;; end = std::min(end + window, kSecond)) {
                do {
                    stream.next(end, most, block);
                    ASSERT_LE(block.size(), most);
                    joined.insert(joined.end(), block.begin(), block.end());
                } while (block.size() == most);
                if (end == kSecond) break;
            }
            EXPECT_TRUE(same(joined, whole)) << most << " at once, windows of " << window;
        }
    }
}

TEST(Arrivals, DependOnSeedAndNodeAlone) {
    FleetUsers const users(1000, 2, {}, {}, 1);
    FleetTraffic const traffic{.requests_per_second = 2000};
    auto const stream = all_of(users, traffic, 3, 0);
    EXPECT_TRUE(same(stream, all_of(users, traffic, 3, 0)));
    EXPECT_FALSE(same(stream, all_of(users, traffic, 4, 0)));
    EXPECT_NE(stream[0].time_ns, all_of(users, traffic, 3, 1)[0].time_ns);
    // A longer stream starts with the shorter one.
    auto longer = all_of(users, traffic, 3, 0, 2 * kSecond);
    ASSERT_GT(longer.size(), stream.size());
    longer.resize(stream.size());
    EXPECT_TRUE(same(stream, longer));
}

TEST(Arrivals, SessionsReturnAmongTheLastRequests) {
    FleetUsers const users(200000, 1, {.sigma = 0.0}, {}, 1);
    FleetTraffic const traffic{
        .requests_per_second = 100000, .revisit_probability = 0.3, .revisit_window = 16};
    auto const arrivals = all_of(users, traffic, 9, 0);
    auto const n = static_cast<double>(arrivals.size());
    double returning = 0.0;
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
        if (!arrivals[i].returning) continue;
        returning += 1.0;
        std::size_t back = 1;
        while (back <= std::min<std::size_t>(i, 16) &&
               arrivals[i - back].place != arrivals[i].place)
            ++back;
        ASSERT_LE(back, std::min<std::size_t>(i, 16)) << "request " << i << " returns to nobody";
    }
    EXPECT_NEAR(returning, 0.3 * n, 4 * std::sqrt(0.21 * n));
    ArrivalStream const stream(users, traffic, 9, 0);
    EXPECT_NEAR(stream.session_rate(0), 0.5 * 0.7, 1e-12);
}

TEST(Arrivals, StepsBackAreGeometric) {
    // Few returns, so that a user is twice in a window for no other reason.
    FleetUsers const users(1000000, 1, {.sigma = 0.0}, {}, 1);
    auto const arrivals = all_of(
        users, {.requests_per_second = 400000, .revisit_probability = 0.02, .revisit_window = 16},
        9, 0);
    std::vector<double> steps(16, 0.0);
    double returning = 0.0;
    for (std::size_t i = 16; i < arrivals.size(); ++i) {
        if (!arrivals[i].returning) continue;
        std::size_t back = 1;
        while (back < 16 && arrivals[i - back].place != arrivals[i].place) ++back;
        steps[back - 1] += 1.0;
        returning += 1.0;
    }
    // A quarter of the window on the mean: each step back is taken with probability 3/4.
    EXPECT_GT(returning, 7000.0);
    for (int back = 1; back <= 5; ++back) {
        double const share = 0.25 * std::pow(0.75, back - 1);
        EXPECT_NEAR(steps[static_cast<std::size_t>(back) - 1] / returning, share, 0.02) << back;
    }
    // What reaches beyond the window returns to its oldest request.
    EXPECT_NEAR(steps[15] / returning, std::pow(0.75, 15), 0.006);
}

TEST(Arrivals, HistoriesGrowGeometrically) {
    FleetUsers const users(1000, 1, {}, {}, 1);
    for (double const mean : {0.0, 0.5, 4.0}) {
        auto const arrivals =
            all_of(users, {.requests_per_second = 50000, .events_per_request = mean}, 2, 0);
        double sum = 0.0;
        double none = 0.0;
        for (auto const& a : arrivals) {
            sum += a.appended;
            none += a.appended == 0;
        }
        auto const n = static_cast<double>(arrivals.size());
        EXPECT_NEAR(sum / n, mean, 0.03 * mean);
        EXPECT_NEAR(none / n, 1.0 / (1.0 + mean), 0.01);
    }
}

TEST(Arrivals, RefuseNonsense) {
    FleetUsers const users(10, 1, {}, {}, 1);
    EXPECT_THROW(ArrivalStream(users, {.requests_per_second = 0.0}, 1, 0), InternalError);
    EXPECT_THROW(ArrivalStream(users, {.duration_s = 0.0}, 1, 0), InternalError);
    EXPECT_THROW(ArrivalStream(users, {.revisit_window = 0}, 1, 0), InternalError);
    EXPECT_THROW(ArrivalStream(users, {.events_per_request = -1.0}, 1, 0), InternalError);
}

TEST(ShapedArrivals, RateFollowsTheDay) {
    FleetUsers const users(20000, 2, {}, {}, 1);
    FleetTraffic traffic{.requests_per_second = 200000, .duration_s = 4.0};
    traffic.shape.diurnal = {.amplitude = 0.8, .day_s = 4.0, .zones = {}};
    workload::ArrivalRate const rate(traffic.shape, 3, 4.0);
    auto const arrivals = all_of(users, traffic, 3, 0, 4 * kSecond);
    std::vector<double> seen(8, 0.0);
    for (auto const& a : arrivals) seen[static_cast<std::size_t>(a.time_ns / (kSecond / 2))] += 1.0;
    double lowest = 1e9, highest = 0.0;
    for (std::size_t part = 0; part < 8; ++part) {
        double expected = 0.0;
        for (int i = 0; i < 100; ++i)
            expected += rate.at(0.5 * (static_cast<double>(part) + (i + 0.5) / 100)) / 100;
        expected *= 0.5 * 200000 * users.share_of(0);
        EXPECT_NEAR(seen[part], expected, 4 * std::sqrt(expected)) << part;
        lowest = std::min(lowest, seen[part]);
        highest = std::max(highest, seen[part]);
    }
    EXPECT_GT(highest, 3.0 * lowest);
}

TEST(ShapedArrivals, ZonesAskInTheirOwnHours) {
    FleetUsers const users(20000, 1, {}, {}, 1);
    FleetTraffic traffic{
        .requests_per_second = 400000, .duration_s = 1.0, .revisit_probability = 0.0};
    traffic.shape.diurnal = {.amplitude = 0.9, .day_s = 1.0, .zones = {{0.0, 0.3}, {12.0, 0.7}}};
    workload::ArrivalRate const rate(traffic.shape, 3, 1.0);
    // The share of zone 1 in each quarter of the day.
    std::vector<double> all(4, 0.0), ones(4, 0.0);
    double members = 0.0, weight = 0.0;
    for (UserId user = 0; user < 20000; ++user) {
        auto const& classes = users.classes();
        std::size_t k = 0;
        while (classes[k].end <= user) ++k;
        weight += classes[k].relative_rate;
        members += rate.zone_of(user) == 1 ? classes[k].relative_rate : 0.0;
    }
    for (auto const& a : all_of(users, traffic, 3, 0)) {
        auto const part = static_cast<std::size_t>(a.time_ns / (kSecond / 4));
        all[part] += 1.0;
        ones[part] += rate.zone_of(a.user) == 1 ? 1.0 : 0.0;
    }
    double const p = members / weight;
    for (std::size_t part = 0; part < 4; ++part) {
        double one = 0.0, sum = 0.0;
        for (int i = 0; i < 200; ++i) {
            double const t = 0.25 * (static_cast<double>(part) + (i + 0.5) / 200);
            one += p * rate.at(t, 1);
            sum += p * rate.at(t, 1) + (1.0 - p) * rate.at(t, 0);
        }
        EXPECT_NEAR(ones[part] / all[part], one / sum, 0.01) << part;
    }
    EXPECT_GT(std::abs(ones[0] / all[0] - ones[2] / all[2]), 0.1);
}

TEST(ShapedArrivals, FlashCrowdsComeFromTheirMembers) {
    FleetUsers const users(50000, 1, {}, {}, 1);
    FleetTraffic traffic{
        .requests_per_second = 200000, .duration_s = 1.0, .revisit_probability = 0.0};
    traffic.shape.flash_crowds = {
        {.start_s = 0.5, .duration_s = 0.25, .multiplier = 4.0, .user_share = 0.02}};
    workload::ArrivalRate const rate(traffic.shape, 3, 1.0);
    double before = 0.0, during = 0.0, members = 0.0, after = 0.0;
    for (auto const& a : all_of(users, traffic, 3, 0)) {
        double const t = static_cast<double>(a.time_ns) * 1e-9;
        (t < 0.5 ? before : t < 0.75 ? during : after) += 1.0;
        if (t >= 0.5 && t < 0.75 && rate.in_crowd(a.user, 0)) members += 1.0;
    }
    EXPECT_NEAR(before, 100000, 4 * std::sqrt(100000.0));
    EXPECT_NEAR(during, 200000, 4 * std::sqrt(200000.0));
    EXPECT_NEAR(after, 50000, 4 * std::sqrt(50000.0));
    EXPECT_NEAR(members / during, 0.75 + 0.25 * 0.02, 0.01);
}

TEST(ShapedArrivals, BurstsKeepTheMeanAndCallsMayBeCutAnywhere) {
    FleetUsers const users(1000, 1, {}, {}, 1);
    FleetTraffic traffic{.requests_per_second = 1000, .duration_s = 400.0};
    traffic.shape.bursts = {.multiplier = 5.0, .mean_burst_s = 0.2, .mean_gap_s = 0.8};
    auto const whole = all_of(users, traffic, 3, 0, 400 * kSecond);
    // 400 cycles: the share of burst time has a relative error of about 7 %.
    EXPECT_NEAR(static_cast<double>(whole.size()), 400000.0, 40000.0);
    std::vector<Arrival> pieces, block;
    ArrivalStream stream(users, traffic, 3, 0);
    for (Nanoseconds end = kSecond; end <= 400 * kSecond; end += kSecond) {
        do {
            stream.next(end, 1000, block);
            pieces.insert(pieces.end(), block.begin(), block.end());
        } while (block.size() == 1000);
    }
    ASSERT_EQ(pieces.size(), whole.size());
    EXPECT_TRUE(same(pieces, whole));
}

}  // namespace
}  // namespace ckvsim::fleet
