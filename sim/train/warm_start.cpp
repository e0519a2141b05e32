#include "train/warm_start.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"
#include "train/clusters.hpp"
#include "train/streams.hpp"

namespace ckvsim::train {

namespace {

// Logit of a token of mean length in its centre's direction; its pool row is trained as 0.98 of it.
constexpr double kWinningLogit = 4.0;
// SiLU has its minimum at -1.278; from here on it has a slope of at least 0.07.
constexpr double kLowestPoolValue = -1.0;

double silu(double x) { return x / (1.0 + std::exp(-x)); }

/// Items that occur.
struct Tokens {
    std::vector<float> embeddings;  ///< [items, width]
    std::vector<double> counts;
    std::size_t width = 0;
    [[nodiscard]] WeightedPoints points() const { return {embeddings, width, counts}; }
};

Tokens tokens_of(std::span<float const> embeddings, std::span<double const> counts) {
    Tokens tokens;
    tokens.width = embeddings.size() / counts.size();
    for (std::size_t item = 0; item < counts.size(); ++item) {
        if (counts[item] <= 0.0) continue;
        auto const row = embeddings.subspan(item * tokens.width, tokens.width);
        tokens.embeddings.insert(tokens.embeddings.end(), row.begin(), row.end());
        tokens.counts.push_back(counts[item]);
    }
    return tokens;
}

/// What makes `kWinningLogit` of a token of mean length; 0 where all embeddings are 0.
double router_scale(WeightedPoints const& points) {
    double lengths = 0;
    double all = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
        double squares = 0;
        for (float const value : points.point(i)) squares += double{value} * value;
        lengths += points.weights[i] * std::sqrt(squares);
        all += points.weights[i];
    }
    return lengths > 0.0 ? kWinningLogit * all / lengths : 0.0;
}

/// [m, values]: what serving is to make of each pool row.
std::vector<double> mean_rows(FullSide const& full, WeightedPoints const& points,
                              std::span<std::uint32_t const> cluster, std::size_t m,
                              std::size_t values) {
    std::vector<double> means(m * values, 0.0);
    std::vector<double> everybody(values, 0.0);
    std::vector<double> weight(m, 0.0);
    double all = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
        auto const x = points.point(i);
        double const own = points.weights[i];
        for (std::size_t c = 0; c < values; ++c) {
            double sum = 0;
            for (std::size_t k = 0; k < x.size(); ++k)
                sum += double{full.map[c * x.size() + k]} * x[k];
            double const row = own * (full.silu ? silu(sum) : sum);
            means[cluster[i] * values + c] += row;
            everybody[c] += row;
        }
        weight[cluster[i]] += own;
        all += own;
    }
    for (std::size_t j = 0; j < m; ++j) {
        for (std::size_t c = 0; c < values; ++c) {
            double& mean = means[j * values + c];
            mean = weight[j] > 0.0 ? mean / weight[j] : everybody[c] / all;
        }
    }
    return means;
}

}  // namespace

VariantSpec start_of(VariantSpec const& variant) {
    VariantSpec start;
    start.kind = variant.start == Start::full_silu ? Kind::full_silu : Kind::full;
    start.stem = variant.stem + " (its start, " + to_string(start.kind) + ")";
    return start;
}

std::vector<double> occurrences(Samples const& samples, std::uint32_t most_tokens) {
    // How many more histories hold an event of a timeline than hold the one before.
    std::vector<std::int64_t> change(samples.timeline_items.size() + 1, 0);
    Split const& split = samples.train;
    for (std::size_t s = 0; s < split.size(); ++s) {
        std::uint64_t const first = samples.timeline_offsets[split.user[s]];
        std::uint32_t const tokens = std::min(split.history_end[s], most_tokens);
        ++change[first + split.history_end[s] - tokens];
        --change[first + split.history_end[s]];
    }
    std::vector<double> counts(std::size_t{samples.items} + 1, 0.0);
    std::int64_t histories = 0;
    for (std::size_t event = 0; event < samples.timeline_items.size(); ++event) {
        histories += change[event];
        counts[samples.timeline_items[event]] += static_cast<double>(histories);
    }
    return counts;
}

double pool_value(double served) {
    double low = kLowestPoolValue;
    if (served <= silu(low)) return low;
    double high = std::max(served, 0.0) + 0.3;  // x - SiLU(x) stays below 0.2785 for x > 0
    for (int halving = 0; halving < 60; ++halving) {
        double const middle = 0.5 * (low + high);
        (silu(middle) < served ? low : high) = middle;
    }
    return 0.5 * (low + high);
}

FittedSide fit_side(FullSide const& full, std::span<float const> embeddings,
                    std::span<double const> counts, VariantSpec const& variant, CounterRng rng) {
    Tokens const tokens = tokens_of(embeddings, counts);
    auto const points = tokens.points();
    double const scale = router_scale(points);
    if (scale == 0.0) return {};
    FittedSide fitted;
    fitted.router = cluster_directions(points, variant.m, kClusterRounds, rng);
    for (float& value : fitted.router) value = static_cast<float>(scale * value);
    std::size_t const d = full.map.size() / points.width;
    std::size_t const values = d - variant.d_u;
    auto const user = full.map.subspan(values * points.width);
    fitted.user.assign(user.begin(), user.end());
    auto const cluster = largest_products(points, fitted.router);
    for (double const mean : mean_rows(full, points, cluster, variant.m, values))
        fitted.pool.push_back(static_cast<float>(pool_value(mean)));
    return fitted;
}

void start_warm(SimNetwork const& full, Samples const& samples, VariantSpec const& variant,
                std::uint64_t seed, SimNetwork& network) {
    validate(variant.starts_warm() && samples.shape.model != Model::hstu,
             "train: a warm start of a variant that has none");
    auto values = full.values();
    network.set_values(values);
    auto const embeddings = full.item_embeddings();
    for (std::string const site : {"short", "long"}) {
        bool const recent = site == "short";
        if (!(recent ? variant.collective_short() : variant.collective_long())) continue;
        auto const most = samples.shape.max_tokens;
        auto const counts =
            occurrences(samples, recent ? std::min(samples.shape.short_tokens, most) : most);
        for (std::string const side : {"k", "v"}) {
            if (!variant.pools(side)) continue;
            std::string const prefix = site + "." + side + ".";
            std::string const router = prefix + "wr";
            FullSide const map{values.at(site + ".w" + side), variant.start == Start::full_silu};
            auto fitted =
                fit_side(map, embeddings, counts, variant,
                         CounterRng(seed, Purpose::training,
                                    hash_bytes(router.data(), router.size()), streams::kClusters));
            if (fitted.router.empty()) continue;
            std::map<std::string, std::vector<float>> pools;
            pools[router] = std::move(fitted.router);
            pools[prefix + "pool"] = std::move(fitted.pool);
            if (variant.d_u > 0) pools[prefix + "wu"] = std::move(fitted.user);
            network.set_values(pools);
        }
    }
}

}  // namespace ckvsim::train
