// The step from trained full KV to the pools' first values, against plain definitions.
#include "train/warm_start.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "core/rng.hpp"
#include "network_fixtures.hpp"
#include "train/batch.hpp"
#include "train/ranking.hpp"

namespace ckvsim::train {
namespace {

using test::planted_samples;
using test::warm_up;

double silu(double x) { return x / (1 + std::exp(-x)); }

VariantSpec warm_variant(Start start, Scope scope, std::uint32_t d_u, std::uint32_t m,
                         Sides sides = Sides::both) {
    auto variant = test::variant_of(Kind::collective, scope, d_u, m, sides);
    variant.start = start;
    return variant;
}

std::vector<float> tune_logits(SimNetwork const& network, Samples const& samples) {
    std::vector<std::uint32_t> rows(samples.tune.size());
    std::iota(rows.begin(), rows.end(), 0U);
    BatchBuilder builder(samples);
    Batch batch;
    builder.build(samples.tune, rows, batch);
    return network.predict(batch);
}

TEST(PoolValue, IsTheUpperInverseOfSilu) {
    for (double served = -0.268; served < 20; served += 0.05) {
        double const x = pool_value(served);
        EXPECT_NEAR(silu(x), served, 1e-12 * std::max(1.0, served)) << served;
        EXPECT_GE(x, -1.0);
    }
    EXPECT_NEAR(pool_value(0.0), 0.0, 1e-15);
    for (double const served : {silu(-1.0), -0.27, -0.2785, -5.0})
        EXPECT_EQ(pool_value(served), -1.0) << served;
}

TEST(Occurrences, AreTheTokensOfTheTrainingHistories) {
    auto const samples = planted_samples();
    std::vector<std::uint32_t> rows(samples.train.size());
    std::iota(rows.begin(), rows.end(), 0U);
    Batch batch;
    BatchBuilder(samples).build(samples.train, rows, batch);
    for (bool const recent : {true, false}) {
        auto const counts =
            occurrences(samples, recent ? samples.shape.short_tokens : samples.shape.max_tokens);
        ASSERT_EQ(counts.size(), samples.items + std::size_t{1});
        std::vector<double> expected(counts.size(), 0.0);
        auto const& seen = recent ? batch.short_counts : batch.long_counts;
        for (std::size_t row = 0; row < seen.size(); ++row) expected[batch.items[row]] += seen[row];
        EXPECT_EQ(counts, expected);
    }
}

/// A map, embeddings and counts of 40 items, some of which do not occur.
class Fitted : public testing::TestWithParam<std::tuple<bool, std::uint32_t>> {
  protected:
    static constexpr std::size_t kItems = 40;
    static constexpr std::size_t kWidth = 6;
    static constexpr std::size_t kRow = 10;
    Fitted() {
        CounterRng rng(11, Purpose::test, 3);
        for (std::size_t i = 0; i < kRow * kWidth; ++i)
            map_.push_back(static_cast<float>(rng.normal()));
        for (std::size_t i = 0; i < kItems * kWidth; ++i)
            embeddings_.push_back(static_cast<float>(0.3 * rng.normal()));
        for (std::size_t i = 0; i < kItems; ++i)
            counts_.push_back(i % 7 == 0 ? 0.0 : 1.0 + rng.below(20));
        variant_ = warm_variant(silu_ ? Start::full_silu : Start::full, Scope::all, d_u_, 9);
        fitted_ = fit_side({map_, silu_}, embeddings_, counts_, variant_,
                           CounterRng(1, Purpose::training, 4));
    }
    [[nodiscard]] std::span<float const> embedding(std::size_t item) const {
        return std::span(embeddings_).subspan(item * kWidth, kWidth);
    }
    static double product(std::span<float const> a, std::span<float const> b) {
        double sum = 0;
        for (std::size_t k = 0; k < a.size(); ++k) sum += double{a[k]} * b[k];
        return sum;
    }
    [[nodiscard]] std::span<float const> router(std::size_t j) const {
        return std::span(fitted_.router).subspan(j * kWidth, kWidth);
    }
    /// The largest logit, as serving chooses.
    [[nodiscard]] std::size_t routed(std::size_t item) const {
        std::size_t best = 0;
        for (std::size_t j = 1; j < variant_.m; ++j) {
            if (product(router(j), embedding(item)) > product(router(best), embedding(item)))
                best = j;
        }
        return best;
    }

    bool silu_ = std::get<0>(GetParam());
    std::uint32_t d_u_ = std::get<1>(GetParam());
    std::vector<float> map_;
    std::vector<float> embeddings_;
    std::vector<double> counts_;
    VariantSpec variant_;
    FittedSide fitted_;
};
INSTANTIATE_TEST_SUITE_P(Starts, Fitted,
                         testing::Combine(testing::Bool(), testing::Values(0U, 1U, 3U)),
                         [](auto const& of) {
                             return std::string(std::get<0>(of.param) ? "full_silu" : "full") +
                                    "_du" + std::to_string(std::get<1>(of.param));
                         });

TEST_P(Fitted, HasTheShapesOfAPool) {
    EXPECT_EQ(fitted_.router.size(), 9 * kWidth);
    EXPECT_EQ(fitted_.user.size(), d_u_ * kWidth);
    EXPECT_EQ(fitted_.pool.size(), 9 * (kRow - d_u_));
    EXPECT_TRUE(std::equal(fitted_.user.begin(), fitted_.user.end(),
                           map_.begin() + static_cast<std::ptrdiff_t>((kRow - d_u_) * kWidth)));
}

// Rows of one length: the largest product is the smallest distance.
TEST_P(Fitted, RouterChoosesTheNearestCentreOfEveryItem) {
    double const length = std::sqrt(product(router(0), router(0)));
    for (std::size_t j = 0; j < variant_.m; ++j)
        EXPECT_NEAR(std::sqrt(product(router(j), router(j))), length, 1e-6 * length);
    for (std::size_t item = 0; item < kItems; ++item) {
        std::size_t nearest = 0;
        double least = 1e300;
        for (std::size_t j = 0; j < variant_.m; ++j) {
            double distance = 0;
            for (std::size_t k = 0; k < kWidth; ++k) {
                double const difference = double{embedding(item)[k]} - router(j)[k];
                distance += difference * difference;
            }
            if (distance < least) nearest = j;
            least = std::min(least, distance);
        }
        EXPECT_EQ(routed(item), nearest) << item;
    }
}

TEST_P(Fitted, ServedRowsAreTheMembersWeightedMeans) {
    std::vector<std::vector<double>> sums(variant_.m, std::vector<double>(kRow, 0.0));
    std::vector<double> weight(variant_.m, 0.0);
    for (std::size_t item = 0; item < kItems; ++item) {
        weight[routed(item)] += counts_[item];
        for (std::size_t c = 0; c < kRow; ++c) {
            double const row =
                product(std::span(map_).subspan(c * kWidth, kWidth), embedding(item));
            sums[routed(item)][c] += counts_[item] * (silu_ ? silu(row) : row);
        }
    }
    std::size_t reached = 0;
    for (std::size_t j = 0; j < variant_.m; ++j) {
        ASSERT_GT(weight[j], 0.0);
        for (std::size_t c = 0; c < kRow - d_u_; ++c) {
            double const mean = sums[j][c] / weight[j];
            double const served = silu(fitted_.pool[j * (kRow - d_u_) + c]);
            EXPECT_NEAR(served, std::max(mean, silu(-1.0)), 1e-6) << j << ", " << c;
            reached += mean > silu(-1.0) ? 1 : 0;
        }
    }
    // SiLU never goes below what a pool reaches; plain rows do.
    if (silu_) {
        EXPECT_GE(reached, variant_.m * (kRow - d_u_) - 2);
    } else {
        EXPECT_LT(reached, variant_.m * (kRow - d_u_));
    }
}

TEST_P(Fitted, MeanTokenOnItsCentreHasALogitOfFour) {
    double lengths = 0;
    double all = 0;
    for (std::size_t item = 0; item < kItems; ++item) {
        lengths += counts_[item] * std::sqrt(product(embedding(item), embedding(item)));
        all += counts_[item];
    }
    EXPECT_NEAR(std::sqrt(product(router(0), router(0))) * lengths / all, 4.0, 1e-5);
}

TEST(FitSide, WithoutATokenThereIsNothingToFit) {
    std::vector<float> const map(20, 0.5F);
    auto const variant = warm_variant(Start::full, Scope::all, 1, 4);
    CounterRng const rng(1, Purpose::training, 4);
    std::vector<float> const embeddings(15, 0.5F);
    EXPECT_TRUE(fit_side({map, false}, embeddings, std::vector<double>(3, 0.0), variant, rng)
                    .router.empty());
    EXPECT_TRUE(fit_side({map, false}, std::vector<float>(15, 0.0F), std::vector<double>(3, 1.0),
                         variant, rng)
                    .router.empty());
}

struct WarmCase {
    Model model;
    VariantSpec variant;
};

std::vector<WarmCase> warm_cases() {
    std::vector<WarmCase> cases;
    for (Model const model : {Model::sim, Model::twin, Model::eta, Model::sdim}) {
        // SDIM has pools in its short branch alone.
        auto const widest = model == Model::sdim ? Scope::released : Scope::all;
        cases.push_back({model, warm_variant(Start::full, widest, 2, 7)});
        cases.push_back({model, warm_variant(Start::full_silu, widest, 0, 7)});
        cases.push_back({model, warm_variant(Start::full_silu, widest, 1, 90, Sides::k)});
        cases.push_back({model, warm_variant(Start::full, Scope::released, 1, 7, Sides::v)});
        cases.push_back({model, warm_variant(Start::full_silu, Scope::released, 1, 1)});
    }
    return cases;
}

class StartsWarm : public testing::TestWithParam<WarmCase> {};
INSTANTIATE_TEST_SUITE_P(Models, StartsWarm, testing::ValuesIn(warm_cases()), [](auto const& of) {
    auto const& variant = of.param.variant;
    return to_string(of.param.model) + "_" + to_string(variant.start) + "_" +
           to_string(variant.scope) + "_" + to_string(variant.sides) + "_m" +
           std::to_string(variant.m);
});

TEST_P(StartsWarm, FromAllThatBothNetworksHave) {
    auto const& [model, variant] = GetParam();
    auto const samples = planted_samples(false, model);
    auto const first = start_of(variant);
    EXPECT_EQ(to_string(first.kind), to_string(variant.start));
    SimNetwork full(samples, first, 1);
    warm_up(full, samples);
    SimNetwork pools(samples, variant, 1);
    auto const random = pools.values();
    start_warm(full, samples, variant, 1, pools);
    auto const before = full.values();
    std::set<std::string> own;
    for (auto const& [name, values] : pools.values()) {
        if (before.contains(name)) {
            EXPECT_EQ(values, before.at(name)) << name;
            continue;
        }
        own.insert(name);
        EXPECT_NE(values, random.at(name)) << name;
        EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float x) {
            return std::isfinite(x);
        })) << name;
    }
    std::set<std::string> expected;
    for (std::string const site : {"short", "long"}) {
        if (site == "long" && !variant.collective_long()) continue;
        for (std::string const side : {"k", "v"}) {
            if (!variant.pools(side)) continue;
            expected.insert({site + "." + side + ".wr", site + "." + side + ".pool"});
            if (variant.d_u > 0) expected.insert(site + "." + side + ".wu");
        }
    }
    EXPECT_EQ(own, expected);
    // A function of weights, samples, seed and name.
    SimNetwork again(samples, variant, 1);
    start_warm(full, samples, variant, 1, again);
    EXPECT_EQ(again.snapshot(), pools.snapshot());
}

TEST(StartWarm, PoolsOfEverySideAndSeedHaveClustersOfTheirOwn) {
    auto const samples = planted_samples();
    auto const variant = warm_variant(Start::full, Scope::all, 1, 7);
    SimNetwork full(samples, start_of(variant), 1);
    warm_up(full, samples);
    std::set<std::vector<float>> routers;
    for (std::uint64_t const seed : {1U, 2U}) {
        SimNetwork pools(samples, variant, seed);
        start_warm(full, samples, variant, seed, pools);
        for (auto const& [name, values] : pools.values()) {
            if (name.ends_with(".wr")) routers.insert(values);
        }
    }
    EXPECT_EQ(routers.size(), 8U);
}

// A row for every item, and the activations of full_silu: the pools' network is the one that it
// started from.
TEST(StartWarm, WithARowForEveryItemIsFullSiluItself) {
    for (Model const model : {Model::sim, Model::twin, Model::eta, Model::sdim}) {
        auto const samples = planted_samples(false, model);
        auto const scope = model == Model::sdim ? Scope::released : Scope::all;
        for (Sides const sides : {Sides::both, Sides::k, Sides::v}) {
            auto const variant = warm_variant(Start::full_silu, scope, 1, 80, sides);
            SimNetwork full(samples, start_of(variant), 1);
            warm_up(full, samples);
            SimNetwork pools(samples, variant, 1);
            start_warm(full, samples, variant, 1, pools);
            auto const expected = tune_logits(full, samples);
            auto const served = tune_logits(pools, samples);
            double largest = 0;
            for (std::size_t i = 0; i < expected.size(); ++i)
                largest = std::max(largest, std::abs(double{served[i]} - expected[i]));
            EXPECT_LT(largest, 1e-3) << to_string(model) << ", sides " << to_string(sides);
        }
    }
}

TEST(StartWarm, IsBetterThanARandomStartBeforeAnyTraining) {
    for (Model const model : {Model::sim, Model::twin, Model::eta}) {
        auto const samples = planted_samples(false, model);
        for (Start const start : {Start::full, Start::full_silu}) {
            auto const variant = warm_variant(start, Scope::all, 1, 12);
            SimNetwork full(samples, start_of(variant), 1);
            for (int epoch = 0; epoch < 8; ++epoch) warm_up(full, samples);
            SimNetwork pools(samples, variant, 1);
            auto const& label = samples.tune.label;
            auto const random = tune_logits(pools, samples);
            start_warm(full, samples, variant, 1, pools);
            auto const warm = tune_logits(pools, samples);
            auto const what = to_string(model) + " from " + to_string(start);
            // Two rows a category; seen: 0.86 to 0.88 after 0.53 to 0.56, and 0.44 to 0.49 after
            // 0.69.
            EXPECT_GT(auc(warm, label), auc(random, label) + 0.2) << what;
            EXPECT_GT(auc(warm, label), auc(tune_logits(full, samples), label) - 0.02) << what;
            EXPECT_LT(logloss(warm, label), logloss(random, label) - 0.1) << what;
        }
    }
}

}  // namespace
}  // namespace ckvsim::train
