#include "train/clusters.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::train {

namespace {

// A point that loses less than this share of its length lies on its centre: what is left is
// rounding.
constexpr double kNothing = 1e-9;

double product(std::span<float const> x, double const* centre) {
    double sum = 0;
    for (std::size_t k = 0; k < x.size(); ++k) sum += x[k] * centre[k];
    return sum;
}

double length(std::span<float const> x) {
    double sum = 0;
    for (float const value : x) sum += double{value} * value;
    return std::sqrt(sum);
}

/// Centres on their way.
class Directions {
  public:
    Directions(WeightedPoints const& points, std::size_t clusters)
        : points_(points),
          clusters_(clusters),
          lengths_(points.size()),
          centres_(clusters * points.width) {
        for (std::size_t i = 0; i < points.size(); ++i) lengths_[i] = length(points.point(i));
    }

    void seed(CounterRng& rng) {
        std::vector<double> best(points_.size(), 0.0);  // of the first centre: |x_i| is lost
        std::size_t taken = 0;
        for (; taken < clusters_; ++taken) {
            auto const chosen = draw(losses(best), rng);
            if (chosen == points_.size()) break;
            point_at(taken, chosen);
            for_each_point([&](std::size_t i) {
                double const own = product(points_.point(i), centre(taken));
                best[i] = taken == 0 ? own : std::max(best[i], own);
            });
        }
        for (; taken < clusters_; ++taken) {
            for (std::size_t k = 0; k < points_.width; ++k) centre(taken)[k] = rng.normal();
            normalise(taken);
        }
    }

    void move() {
        auto const nearest = largest_products(points_, rounded());
        std::vector<double> sums(centres_.size(), 0.0);
        for (std::size_t i = 0; i < points_.size(); ++i) {
            auto const x = points_.point(i);
            double* const sum = sums.data() + nearest[i] * points_.width;
            for (std::size_t k = 0; k < x.size(); ++k) sum[k] += points_.weights[i] * x[k];
        }
        std::vector<std::size_t> empty;
        for (std::size_t j = 0; j < clusters_; ++j) {
            auto const sum = sums.begin() + static_cast<std::ptrdiff_t>(j * points_.width);
            auto const end = sum + static_cast<std::ptrdiff_t>(points_.width);
            if (std::all_of(sum, end, [](double value) { return value == 0.0; })) {
                empty.push_back(j);
            } else {
                std::copy(sum, end, centre(j));
                normalise(j);
            }
        }
        if (!empty.empty()) seed_again(empty, nearest);
    }

    /// As the router has them.
    [[nodiscard]] std::vector<float> rounded() const { return {centres_.begin(), centres_.end()}; }

  private:
    double* centre(std::size_t j) { return centres_.data() + j * points_.width; }

    template <class Action>
    void for_each_point(Action const& action) const {
        auto const count = static_cast<std::int64_t>(points_.size());
#pragma omp parallel for schedule(static)
        for (std::int64_t i = 0; i < count; ++i) action(static_cast<std::size_t>(i));
    }

    void normalise(std::size_t j) {
        double squares = 0;
        for (std::size_t k = 0; k < points_.width; ++k) squares += centre(j)[k] * centre(j)[k];
        double const scale = 1.0 / std::sqrt(squares);
        for (std::size_t k = 0; k < points_.width; ++k) centre(j)[k] *= scale;
    }

    void point_at(std::size_t j, std::size_t i) {
        auto const x = points_.point(i);
        std::copy(x.begin(), x.end(), centre(j));
        normalise(j);
    }

    /// Of points whose best centres have these products.
    [[nodiscard]] std::vector<double> losses(std::vector<double> const& best) const {
        std::vector<double> lost(points_.size());
        for (std::size_t i = 0; i < lost.size(); ++i) {
            double const left = lengths_[i] - best[i];
            lost[i] = left > kNothing * lengths_[i] ? points_.weights[i] * left : 0.0;
        }
        return lost;
    }

    /// A point in proportion to what it loses; the number of points when none loses anything.
    [[nodiscard]] static std::size_t draw(std::vector<double> const& lost, CounterRng& rng) {
        double total = 0;
        for (double const one : lost) total += one;
        double wanted = rng.uniform() * total;
        std::size_t last = lost.size();
        for (std::size_t i = 0; i < lost.size(); ++i) {
            if (lost[i] <= 0.0) continue;
            if (wanted < lost[i]) return i;
            wanted -= lost[i];
            last = i;
        }
        return last;
    }

    void seed_again(std::vector<std::size_t> const& empty,
                    std::vector<std::uint32_t> const& nearest) {
        std::vector<double> best(points_.size());
        for_each_point(
            [&](std::size_t i) { best[i] = product(points_.point(i), centre(nearest[i])); });
        auto lost = losses(best);
        for (auto const j : empty) {
            auto const most = std::max_element(lost.begin(), lost.end());
            if (most == lost.end() || *most <= 0.0) return;  // those left stay where they are
            point_at(j, static_cast<std::size_t>(most - lost.begin()));
            *most = 0.0;
        }
    }

    WeightedPoints const& points_;
    std::size_t clusters_;
    std::vector<double> lengths_;
    std::vector<double> centres_;  ///< [clusters, width]
};

}  // namespace

std::vector<float> cluster_directions(WeightedPoints const& points, std::size_t clusters,
                                      int rounds, CounterRng rng) {
    validate(
        points.width > 0 && clusters > 0 && points.values.size() == points.size() * points.width,
        "train: clusters need points of one width");
    Directions directions(points, clusters);
    directions.seed(rng);
    for (int round = 0; round < rounds; ++round) directions.move();
    return directions.rounded();
}

std::vector<std::uint32_t> largest_products(WeightedPoints const& points,
                                            std::span<float const> centres) {
    std::size_t const count = centres.size() / points.width;
    // [width, centres]: the innermost loop runs over centres.
    std::vector<float> turned(centres.size());
    for (std::size_t j = 0; j < count; ++j) {
        for (std::size_t k = 0; k < points.width; ++k)
            turned[k * count + j] = centres[j * points.width + k];
    }
    std::vector<std::uint32_t> chosen(points.size());
    auto const size = static_cast<std::int64_t>(points.size());
#pragma omp parallel
    {
        std::vector<float> products(count);
#pragma omp for schedule(static)
        for (std::int64_t i = 0; i < size; ++i) {
            auto const x = points.point(static_cast<std::size_t>(i));
            std::fill(products.begin(), products.end(), 0.0F);
            for (std::size_t k = 0; k < points.width; ++k) {
                float const* const row = turned.data() + k * count;
                for (std::size_t j = 0; j < count; ++j) products[j] += x[k] * row[j];
            }
            auto const largest = std::max_element(products.begin(), products.end());
            chosen[static_cast<std::size_t>(i)] =
                static_cast<std::uint32_t>(largest - products.begin());
        }
    }
    return chosen;
}

}  // namespace ckvsim::train
