// Clusters of vectors by direction: k-means whose centres all have one length. The nearest of such
// centres is the one with the largest product, so that a router without a bias (its row per centre)
// chooses it. Known as spherical k-means (Dhillon and Modha, Machine Learning 42, 2001); here
// points keep their lengths, so that long ones pull more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.hpp"

namespace ckvsim::train {

/// Points with weights. Points of weight or length 0 belong somewhere and pull nothing.
struct WeightedPoints {
    std::span<float const> values;  ///< [points, width]
    std::size_t width = 0;
    std::span<double const> weights;  ///< [points], not negative
    [[nodiscard]] std::size_t size() const { return weights.size(); }
    [[nodiscard]] std::span<float const> point(std::size_t i) const {
        return values.subspan(i * width, width);
    }
};

/// Lloyd's rounds after seeding; further ones move few points.
inline constexpr int kClusterRounds = 15;

/// Centres [clusters, width] of length 1 that make sum_i w_i max_j (c_j . x_i) large, that is, for
/// centres of any common length r, sum_i w_i min_j |x_i - r c_j|^2 small. Seeds as k-means++: each
/// further one is a point's direction, drawn in proportion to what the point loses,
/// w_i (|x_i| - max_j c_j . x_i). Then `rounds` times every centre becomes the direction of its
/// points' weighted sum; one without points, that of the point that loses most. With fewer distinct
/// directions than clusters every direction is a centre and the others are random: no point is
/// theirs. The same for any number of threads.
std::vector<float> cluster_directions(WeightedPoints const& points, std::size_t clusters,
                                      int rounds, CounterRng rng);

/// Per point the centre [., width] with the largest product, of equal ones the first.
std::vector<std::uint32_t> largest_products(WeightedPoints const& points,
                                            std::span<float const> centres);

}  // namespace ckvsim::train
