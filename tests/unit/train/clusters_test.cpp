#include "train/clusters.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace ckvsim::train {
namespace {

/// Owner of the points.
struct Cloud {
    std::size_t width = 0;
    std::vector<float> values;
    std::vector<double> weights;
    [[nodiscard]] WeightedPoints points() const { return {values, width, weights}; }
    void add(std::vector<float> const& point, double weight = 1.0) {
        width = point.size();
        values.insert(values.end(), point.begin(), point.end());
        weights.push_back(weight);
    }
};

CounterRng rng_of(std::uint64_t seed) { return {seed, Purpose::training, 5}; }

Cloud random_cloud(std::size_t count, std::size_t width, std::uint64_t seed) {
    CounterRng rng(seed, Purpose::test, 1);
    Cloud cloud;
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<float> point(width);
        for (float& value : point) value = static_cast<float>(rng.normal());
        cloud.add(point, 1.0 + rng.below(9));
    }
    return cloud;
}

double product(std::span<float const> a, std::span<float const> b) {
    double sum = 0;
    for (std::size_t k = 0; k < a.size(); ++k) sum += double{a[k]} * b[k];
    return sum;
}

/// sum_i w_i max_j c_j . x_i, and which j.
double gain(WeightedPoints const& points, std::span<float const> centres,
            std::vector<std::size_t>* chosen = nullptr) {
    double total = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
        double best = -1e300;
        std::size_t which = 0;
        for (std::size_t j = 0; j * points.width < centres.size(); ++j) {
            double const one =
                product(points.point(i), centres.subspan(j * points.width, points.width));
            if (one > best) which = j;
            best = std::max(best, one);
        }
        total += points.weights[i] * best;
        if (chosen != nullptr) chosen->push_back(which);
    }
    return total;
}

/// Of all ways to put the points into so many clusters: a cluster gains the length of its sum.
double best_gain(WeightedPoints const& points, std::size_t clusters) {
    std::size_t ways = 1;
    for (std::size_t i = 0; i < points.size(); ++i) ways *= clusters;
    double best = 0;
    for (std::size_t way = 0; way < ways; ++way) {
        std::vector<double> sums(clusters * points.width, 0.0);
        std::size_t rest = way;
        for (std::size_t i = 0; i < points.size(); ++i, rest /= clusters) {
            for (std::size_t k = 0; k < points.width; ++k)
                sums[rest % clusters * points.width + k] += points.weights[i] * points.point(i)[k];
        }
        double total = 0;
        for (std::size_t j = 0; j < clusters; ++j) {
            double squares = 0;
            for (std::size_t k = 0; k < points.width; ++k)
                squares += sums[j * points.width + k] * sums[j * points.width + k];
            total += std::sqrt(squares);
        }
        best = std::max(best, total);
    }
    return best;
}

TEST(Clusters, BestOfSomeSeedsIsTheBestOfAllPartitions) {
    for (std::uint64_t seed : {1U, 2U, 3U, 4U}) {
        auto const cloud = random_cloud(8, 3, seed);
        for (std::size_t const clusters : {1U, 2U, 3U}) {
            double const optimum = best_gain(cloud.points(), clusters);
            double best = 0;
            for (std::uint64_t start = 0; start < 20; ++start) {
                auto const centres =
                    cluster_directions(cloud.points(), clusters, kClusterRounds, rng_of(start));
                double const own = gain(cloud.points(), centres);
                EXPECT_LE(own, optimum * (1 + 1e-6));
                best = std::max(best, own);
            }
            EXPECT_NEAR(best, optimum, 1e-6 * optimum) << clusters << " clusters, cloud " << seed;
        }
    }
}

TEST(Clusters, WellSeparatedOnesAreFoundFromAnySeed) {
    Cloud cloud;
    std::vector<std::vector<float>> const axes = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {-1, -1, 0}};
    CounterRng noise(3, Purpose::test, 2);
    for (std::size_t i = 0; i < 40; ++i) {
        auto point = axes[i % 4];
        float const stretch = 0.5F + noise.uniform_float();
        for (float& value : point)
            value = stretch * (value + 0.05F * static_cast<float>(noise.normal()));
        cloud.add(point, 1.0 + noise.below(3));
    }
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        auto const centres = cluster_directions(cloud.points(), 4, kClusterRounds, rng_of(seed));
        auto const chosen = largest_products(cloud.points(), centres);
        for (std::size_t i = 4; i < 40; ++i) EXPECT_EQ(chosen[i], chosen[i % 4]) << seed;
        EXPECT_EQ(std::set<std::uint32_t>(chosen.begin(), chosen.end()).size(), 4U) << seed;
    }
}

// Lloyd has come to rest: every centre is the direction of its points' weighted sum. And no cluster
// is empty while there are directions enough, whatever the seeds.
TEST(Clusters, CentresAreDirectionsOfTheirPointsSums) {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        auto const cloud = random_cloud(60, 4, seed);
        auto const points = cloud.points();
        std::size_t const clusters = 12;
        auto const centres = cluster_directions(points, clusters, 100, rng_of(seed));
        std::vector<std::size_t> chosen;
        gain(points, centres, &chosen);
        std::vector<std::vector<float>> sums(clusters, std::vector<float>(4, 0.0F));
        for (std::size_t i = 0; i < points.size(); ++i) {
            for (std::size_t k = 0; k < 4; ++k)
                sums[chosen[i]][k] += static_cast<float>(cloud.weights[i]) * points.point(i)[k];
        }
        for (std::size_t j = 0; j < clusters; ++j) {
            auto const centre = std::span<float const>(centres).subspan(j * 4, 4);
            EXPECT_NEAR(product(centre, centre), 1.0, 1e-6);
            double const size = std::sqrt(product(sums[j], sums[j]));
            ASSERT_GT(size, 0.0) << "cluster " << j << " of seed " << seed << " is empty";
            EXPECT_NEAR(product(sums[j], centre), size, 1e-5 * size) << j << " of seed " << seed;
        }
    }
}

// Of 24,000 clouds of few points with very unequal weights in a plane, one in which a centre loses
// all its points on the way: it gets others.
TEST(Clusters, ACentreThatLosesItsPointsGetsOthers) {
    CounterRng rng(1009, Purpose::test, 1);
    Cloud cloud;
    for (int i = 0; i < 12; ++i) {
        double const length = std::exp(2 * rng.normal());
        std::vector<float> point(2);
        for (float& value : point) value = static_cast<float>(length * rng.normal());
        cloud.add(point, std::exp(2 * rng.normal()));
    }
    auto const centres = cluster_directions(cloud.points(), 3, 100, rng_of(1009));
    auto const chosen = largest_products(cloud.points(), centres);
    EXPECT_EQ(std::set<std::uint32_t>(chosen.begin(), chosen.end()).size(), 3U);
}

// Rounds only ever gain.
TEST(Clusters, EveryRoundGains) {
    auto const cloud = random_cloud(200, 6, 9);
    double before = 0;
    for (int rounds = 0; rounds < 12; ++rounds) {
        double const own =
            gain(cloud.points(), cluster_directions(cloud.points(), 9, rounds, rng_of(4)));
        EXPECT_GE(own, before * (1 - 1e-6)) << rounds;
        before = own;
    }
    EXPECT_GT(before, gain(cloud.points(), cluster_directions(cloud.points(), 9, 0, rng_of(4))));
}

TEST(Clusters, AWeightIsAPointThatManyTimes) {
    Cloud weighted;
    Cloud repeated;
    auto const cloud = random_cloud(7, 3, 5);
    for (std::size_t i = 0; i < 7; ++i) {
        auto const point = cloud.points().point(i);
        std::vector<float> const own(point.begin(), point.end());
        weighted.add(own, static_cast<double>(1 + i % 3));
        for (std::size_t time = 0; time < 1 + i % 3; ++time) repeated.add(own);
    }
    auto const best = [](Cloud const& of) {
        double most = 0;
        for (std::uint64_t seed = 0; seed < 20; ++seed)
            most = std::max(most,
                            gain(of.points(),
                                 cluster_directions(of.points(), 2, kClusterRounds, rng_of(seed))));
        return most;
    };
    EXPECT_NEAR(best(weighted), best(repeated), 1e-6 * best(weighted));
}

TEST(Clusters, FewerDirectionsThanClustersAreAllCentres) {
    Cloud cloud;
    for (float const stretch : {0.5F, 1.0F, 3.0F}) {
        cloud.add({stretch, 0, 0}, 2.0);
        cloud.add({0, stretch, stretch});
        cloud.add({0, -stretch, 0}, 5.0);
    }
    cloud.add({0, 0, 0}, 4.0);  // no direction
    cloud.add({1, 1, 1}, 0.0);  // no weight
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        auto const centres = cluster_directions(cloud.points(), 20, kClusterRounds, rng_of(seed));
        ASSERT_EQ(centres.size(), 60U);
        double lengths = 0;
        for (std::size_t i = 0; i < 9; ++i) {
            auto const x = cloud.points().point(i);
            lengths += cloud.weights[i] * std::sqrt(product(x, x));
        }
        EXPECT_NEAR(gain(cloud.points(), centres), lengths, 1e-6 * lengths);
        for (std::size_t j = 0; j < 20; ++j) {
            auto const centre = std::span<float const>(centres).subspan(j * 3, 3);
            EXPECT_NEAR(product(centre, centre), 1.0, 1e-6);
        }
        auto const chosen = largest_products(cloud.points(), centres);
        EXPECT_EQ(chosen[0], chosen[3]);
        EXPECT_EQ(chosen[1], chosen[7]);
        EXPECT_NE(chosen[1], chosen[2]);
    }
}

TEST(Clusters, WithoutAPointCentresAreRandomDirections) {
    Cloud none;
    none.width = 5;
    auto const centres = cluster_directions(none.points(), 3, kClusterRounds, rng_of(1));
    ASSERT_EQ(centres.size(), 15U);
    for (float const value : centres) EXPECT_TRUE(std::isfinite(value));
    EXPECT_TRUE(largest_products(none.points(), centres).empty());
}

TEST(Clusters, DependOnTheStreamAndNotOnTheThreads) {
    auto const cloud = random_cloud(500, 8, 2);
    auto const of = [&](std::uint64_t seed) {
        return cluster_directions(cloud.points(), 40, kClusterRounds, rng_of(seed));
    };
    int const before = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const one = of(1);
    omp_set_num_threads(4);
    auto const four = of(1);
    omp_set_num_threads(before);
    EXPECT_EQ(one, four);
    EXPECT_EQ(one, of(1));
    EXPECT_NE(one, of(2));
}

TEST(LargestProducts, AreThoseInDoublePrecision) {
    auto const cloud = random_cloud(300, 7, 6);
    auto const centres = random_cloud(33, 7, 7).values;
    auto const chosen = largest_products(cloud.points(), centres);
    std::vector<std::size_t> exact;
    gain(cloud.points(), centres, &exact);
    for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_EQ(chosen[i], exact[i]) << i;
    // Of equal ones the first.
    std::vector<float> twice(centres);
    twice.insert(twice.end(), centres.begin(), centres.end());
    EXPECT_EQ(largest_products(cloud.points(), twice), chosen);
}

}  // namespace
}  // namespace ckvsim::train
