#include "fleet/fleet_users.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {
namespace {

double mean_relative_rate(FleetUsers const& users) {
    double sum = 0.0;
    for (auto const& c : users.classes())
        sum += static_cast<double>(c.end - c.first) * c.relative_rate;
    return sum / static_cast<double>(users.users());
}

TEST(FleetUsers, ClassesPartitionTheUsersOfEveryNode) {
    for (std::uint64_t const count : {7ULL, 100ULL, 1003ULL, 20000ULL}) {
        for (std::uint32_t const nodes : {1U, 3U, 7U}) {
            SCOPED_TRACE(std::to_string(count) + " users, " + std::to_string(nodes) + " nodes");
            FleetUsers const users(count, nodes, {}, {}, 1);
            auto const& classes = users.classes();
            UserId next = 0;
            for (auto const& c : classes) {
                ASSERT_EQ(c.first, next);
                ASSERT_GT(c.end, c.first) << "an empty class";
                next = c.end;
            }
            ASSERT_EQ(next, count);
            std::uint64_t all = 0;
            double share = 0.0;
            for (std::uint32_t node = 0; node < nodes; ++node) {
                all += users.places(node);
                share += users.share_of(node);
                ASSERT_EQ(users.first_place(node, 0), 0U);
                ASSERT_EQ(users.first_place(node, classes.size()), users.places(node));
                for (std::size_t k = 0; k < classes.size(); ++k) {
                    for (auto p = users.first_place(node, k); p < users.first_place(node, k + 1);
                         ++p) {
                        UserId const user = users.user(node, p);
                        ASSERT_EQ(user % nodes, node);
                        ASSERT_TRUE(user >= classes[k].first && user < classes[k].end)
                            << "user " << user << " is not of class " << k;
                    }
                }
            }
            EXPECT_EQ(all, count);
            EXPECT_NEAR(share, 1.0, 1e-12);
        }
    }
}

TEST(FleetUsers, TheMeanRelativeRateIsOne) {
    for (std::uint64_t const count : {3ULL, 10ULL, 100ULL, 1000ULL, 1000000ULL, 1000000000ULL}) {
        for (double const sigma : {0.0, 0.5, 1.0, 2.0}) {
            for (std::uint32_t const classes : {1U, 2U, 24U, 200U}) {
                EXPECT_NEAR(mean_relative_rate(
                                FleetUsers(count, 1, {.sigma = sigma, .classes = classes}, {}, 1)),
                            1.0, 1e-9)
                    << count << " users, sigma " << sigma << ", " << classes << " classes";
            }
        }
    }
}

TEST(FleetUsers, ActivityIsLogNormal) {
    FleetUsers const users(1000000, 1, {.sigma = 1.0, .classes = 24}, {}, 1);
    EXPECT_EQ(users.classes().size(), 24U);
    double upper_half = 0.0;
    double before = 0.0;
    for (auto const& c : users.classes()) {
        EXPECT_GT(c.relative_rate, before) << "classes come least active first";
        before = c.relative_rate;
        if (c.first >= 500000)
            upper_half += static_cast<double>(c.end - c.first) * c.relative_rate / 1e6;
    }
    // Share of a log-normal's mean above its median: Phi(sigma).
    EXPECT_NEAR(upper_half, 0.841345, 1e-4);
    auto const alike = FleetUsers(1000, 1, {.sigma = 0.0}, {}, 1);
    ASSERT_EQ(alike.classes().size(), 1U);
    EXPECT_EQ(alike.classes()[0].relative_rate, 1.0);
}

TEST(FleetUsers, HistoriesAreLogNormal) {
    HistoryParams const history{.median = 400, .sigma = 0.8, .shortest = 1, .longest = 60000};
    FleetUsers const users(60000, 1, {}, history, 3);
    std::vector<double> lengths;
    double sum = 0.0;
    for (UserId u = 0; u < users.users(); ++u) {
        lengths.push_back(users.history_events(u));
        sum += lengths.back();
    }
    std::sort(lengths.begin(), lengths.end());
    // 60 000 draws: the standard error of these quantiles is below 1 %.
    for (auto const& [share, z] : {std::pair{0.05, -1.64485},
                                   {0.1, -1.28155},
                                   {0.25, -0.67449},
                                   {0.5, 0.0},
                                   {0.75, 0.67449},
                                   {0.9, 1.28155},
                                   {0.95, 1.64485}}) {
        double const expected = 400.0 * std::exp(0.8 * z);
        EXPECT_NEAR(lengths[static_cast<std::size_t>(share * 60000.0)] / expected, 1.0, 0.03)
            << share;
    }
    double const mean = 400.0 * std::exp(0.32);
    EXPECT_NEAR(sum / 60000.0 / mean, 1.0, 0.02);
    EXPECT_NEAR(users.mean_over_lengths([](double length) { return length; }) / mean, 1.0, 0.01);
}

TEST(FleetUsers, HistoriesAreCutAndDependOnTheSeedAlone) {
    HistoryParams const history{.median = 100, .sigma = 2.0, .shortest = 20, .longest = 300};
    FleetUsers const users(2000, 1, {}, history, 3);
    FleetUsers const other_nodes(2000, 5, {.sigma = 2.0}, history, 3);
    FleetUsers const other_seed(2000, 1, {}, history, 4);
    std::uint32_t least = 1000;
    std::uint32_t most = 0;
    int differ = 0;
    for (UserId u = 0; u < 2000; ++u) {
        least = std::min(least, users.history_events(u));
        most = std::max(most, users.history_events(u));
        ASSERT_EQ(users.history_events(u), other_nodes.history_events(u));
        differ += users.history_events(u) != other_seed.history_events(u);
    }
    EXPECT_EQ(least, 20U);
    EXPECT_EQ(most, 300U);
    EXPECT_GT(differ, 1000);
}

TEST(FleetUsers, RefusesNonsense) {
    EXPECT_THROW(FleetUsers(3, 4, {}, {}, 1), InternalError);
    EXPECT_THROW(FleetUsers(3, 0, {}, {}, 1), InternalError);
    EXPECT_THROW(FleetUsers(3, 1, {.sigma = -1.0}, {}, 1), InternalError);
    EXPECT_THROW(FleetUsers(3, 1, {.classes = 0}, {}, 1), InternalError);
    EXPECT_NO_THROW(FleetUsers(4, 4, {}, {}, 1));
}

}  // namespace
}  // namespace ckvsim::fleet
