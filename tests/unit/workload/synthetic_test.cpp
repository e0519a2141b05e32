#include "workload/synthetic.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.hpp"
#include "workload/item_world.hpp"

namespace ckvsim::workload {
namespace {

SyntheticParams small_params() {
    SyntheticParams params;
    params.users = 4000;
    return params;
}

double auc(std::vector<std::pair<double, int>> scored) {
    std::sort(scored.begin(), scored.end());
    double wins = 0.0;
    double positives = 0.0;
    double negatives = 0.0;
    for (std::size_t begin = 0; begin < scored.size();) {
        std::size_t end = begin;
        double tied_positives = 0.0;
        while (end < scored.size() && scored[end].first == scored[begin].first)
            tied_positives += scored[end++].second;
        double const tied_negatives = static_cast<double>(end - begin) - tied_positives;
        wins += tied_positives * (negatives + 0.5 * tied_negatives);
        positives += tied_positives;
        negatives += tied_negatives;
        begin = end;
    }
    return wins / (positives * negatives);
}

TEST(Synthetic, HistoryDoesNotDependOnCallOrder) {
    auto const a = make_synthetic(small_params());
    auto const b = make_synthetic(small_params());
    std::vector<std::vector<ItemId>> forward(200);
    for (UserId user = 0; user < 200; ++user) a->load_history(user, forward[user]);
    std::vector<ItemId> history;
    for (UserId user = 200; user-- > 0;) {
        b->load_history(user, history);
        ASSERT_EQ(history, forward[user]) << "user " << user;
    }
    EXPECT_EQ(a->digest(), b->digest());
}

TEST(Synthetic, LoadExtendsLoadHistory) {
    auto const population = make_synthetic(small_params());
    UserRecord record;
    std::vector<ItemId> history;
    for (UserId user = 0; user < 300; ++user) {
        population->load(user, record);
        population->load_history(user, history);
        ASSERT_EQ(record.timeline, history);
        ASSERT_EQ(record.base_length, population->history_length(user));
        ASSERT_EQ(record.base_length, history.size());
        ASSERT_EQ(record.impressions.size(), 10U);
        ASSERT_EQ(record.true_logits.size(), 10U);
        std::int64_t time_ms = 0;
        for (auto const& impression : record.impressions) {
            ASSERT_GE(impression.time_ms, time_ms);
            time_ms = impression.time_ms;
            ASSERT_EQ(impression.history_end, record.base_length);
            ASSERT_EQ(impression.split, record.impressions.front().split);
            ASSERT_GE(impression.item, 1U);
            ASSERT_LE(impression.item, population->catalogue().items);
        }
        for (ItemId const item : history) {
            ASSERT_GE(item, 1U);
            ASSERT_LE(item, population->catalogue().items);
        }
    }
}

TEST(Synthetic, SeedAndParametersChangeTheData) {
    auto params = small_params();
    auto const base = make_synthetic(params);
    params.seed += 1;
    auto const other = make_synthetic(params);
    EXPECT_NE(base->digest(), other->digest());
    std::vector<ItemId> x;
    std::vector<ItemId> y;
    base->load_history(7, x);
    other->load_history(7, y);
    EXPECT_NE(x, y);
    params = small_params();
    params.long_gap_s += 1.0;
    EXPECT_NE(make_synthetic(params)->digest(), base->digest());
}

TEST(Synthetic, CatalogueIsConsistent) {
    auto const population = make_synthetic(small_params());
    Catalogue const& catalogue = population->catalogue();
    ASSERT_EQ(catalogue.features.size(), 2U);
    EXPECT_EQ(catalogue.features[0].size(), catalogue.items + 1U);
    EXPECT_EQ(catalogue.features[0][123], 123U);
    EXPECT_EQ(catalogue.features[1][0], 0U);
    for (ItemId item = 1; item <= catalogue.items; ++item) {
        ASSERT_GE(catalogue.features[1][item], 1U);
        ASSERT_LT(catalogue.features[1][item], catalogue.feature_vocabularies[1]);
    }
}

TEST(Synthetic, LengthsFollowTheClippedLogNormal) {
    auto params = small_params();
    params.users = 20000;
    auto const population = make_synthetic(params);
    std::vector<std::uint32_t> lengths;
    for (UserId user = 0; user < params.users; ++user)
        lengths.push_back(population->history_length(user));
    std::sort(lengths.begin(), lengths.end());
    EXPECT_EQ(lengths.back(), params.history_cap);
    EXPECT_GE(lengths.front(), params.history_min);
    // Kolmogorov-Smirnov distance below the cap; 1.63 / sqrt(n) is its 1 % critical value.
    double distance = 0.0;
    for (std::uint32_t length = 1; length < params.history_cap; ++length) {
        auto const below =
            std::upper_bound(lengths.begin(), lengths.end(), length) - lengths.begin();
        double const z = std::log((length + 0.5) / params.history_median) / params.history_sigma;
        double const expected = 0.5 * std::erfc(-z / std::sqrt(2.0));
        distance =
            std::max(distance, std::abs(static_cast<double>(below) / lengths.size() - expected));
    }
    EXPECT_LT(distance, 1.63 / std::sqrt(static_cast<double>(lengths.size())));
}

TEST(Synthetic, SplitsFollowTheShares) {
    auto const population = make_synthetic(small_params());
    UserRecord record;
    std::array<double, 3> counts{};
    for (UserId user = 0; user < 4000; ++user) {
        population->load(user, record);
        counts[static_cast<std::size_t>(record.impressions.front().split)] += 1.0 / 4000.0;
    }
    EXPECT_NEAR(counts[0], 0.7, 0.03);
    EXPECT_NEAR(counts[1], 0.1, 0.02);
    EXPECT_NEAR(counts[2], 0.2, 0.03);
}

TEST(Synthetic, PureNoiseFollowsPopularity) {
    auto params = small_params();
    params.noise_probability = 1.0;
    params.repeat_probability = 0.0;
    params.items = 200;
    params.clusters = 5;
    params.interests_max = 4;
    auto const population = make_synthetic(params);
    ItemWorld const world(params.seed, params.items, params.clusters, params.styles,
                          params.popularity_exponent);
    std::vector<double> counts(params.items + 1U, 0.0);
    double total = 0.0;
    std::vector<ItemId> history;
    for (UserId user = 0; user < 1000; ++user) {
        population->load_history(user, history);
        for (ItemId const item : history) ++counts[item];
        total += static_cast<double>(history.size());
    }
    IntegratedZipf const clusters(params.clusters, params.popularity_exponent);
    double cumulative = 0.0;
    double expected = 0.0;
    double distance = 0.0;
    std::map<std::uint32_t, std::uint32_t> rank;
    for (ItemId item = 1; item <= params.items; ++item) {
        std::uint32_t const cluster = world.cluster_of(item);
        IntegratedZipf const inside(world.cluster_size(cluster), params.popularity_exponent);
        expected += clusters.probability(cluster) * inside.probability(rank[cluster]++);
        cumulative += counts[item] / total;
        distance = std::max(distance, std::abs(cumulative - expected));
    }
    EXPECT_NEAR(expected, 1.0, 1e-9);
    EXPECT_LT(distance, 1.63 / std::sqrt(total));
}

// The signal that attention can find and pooling cannot: the style of the history items in the
// candidate's own cluster. The same statistic over the whole history (a pooled view) must carry
// much less.
TEST(Synthetic, OnlyTheCandidatesOwnInterestMatters) {
    auto const params = small_params();
    auto const population = make_synthetic(params);
    ItemWorld const world(params.seed, params.items, params.clusters, params.styles,
                          params.popularity_exponent);
    std::vector<std::pair<double, int>> oracle;
    std::vector<std::pair<double, int>> matching;
    std::vector<std::pair<double, int>> pooled;
    UserRecord record;
    double clicks = 0.0;
    for (UserId user = 0; user < params.users; ++user) {
        population->load(user, record);
        for (std::size_t i = 0; i < record.impressions.size(); ++i) {
            auto const& impression = record.impressions[i];
            double same = 0.0;
            double own = 0.0;
            double same_anywhere = 0.0;
            for (ItemId const item : record.timeline) {
                bool const style = world.style_of(item) == world.style_of(impression.item);
                same_anywhere += style;
                if (world.cluster_of(item) != world.cluster_of(impression.item)) continue;
                own += 1.0;
                same += style;
            }
            clicks += impression.label;
            oracle.emplace_back(record.true_logits[i], impression.label);
            matching.emplace_back((same + 0.4) / (own + 1.0), impression.label);
            pooled.emplace_back(same_anywhere / static_cast<double>(record.timeline.size()),
                                impression.label);
        }
    }
    double const rate = clicks / static_cast<double>(oracle.size());
    EXPECT_GT(rate, 0.25);
    EXPECT_LT(rate, 0.5);
    EXPECT_GT(auc(oracle), 0.8);
    EXPECT_LT(auc(oracle), 0.9);
    EXPECT_GT(auc(matching), 0.68);
    EXPECT_GT(auc(matching), auc(pooled) + 0.05);
    RecordProperty("oracle_auc", std::to_string(auc(oracle)));
    RecordProperty("matching_auc", std::to_string(auc(matching)));
    RecordProperty("pooled_auc", std::to_string(auc(pooled)));
}

// Personal taste: with every other weight at zero, how often the user met the exact item must
// predict the label, and the same count in another user's history must not.
TEST(Synthetic, TasteIsPersonal) {
    auto params = small_params();
    params.style_weight = 0.0;
    params.popularity_weight = 0.0;
    params.personal_weight = 2.0;
    auto const population = make_synthetic(params);
    std::vector<std::pair<double, int>> own;
    std::vector<std::pair<double, int>> stranger;
    UserRecord record;
    std::vector<ItemId> other;
    for (UserId user = 0; user < params.users; ++user) {
        population->load(user, record);
        population->load_history((user + 1) % params.users, other);
        for (auto const& impression : record.impressions) {
            auto const count = [&](std::vector<ItemId> const& items) {
                return static_cast<double>(std::count(items.begin(), items.end(), impression.item));
            };
            own.emplace_back(count(record.timeline), impression.label);
            stranger.emplace_back(count(other), impression.label);
        }
    }
    EXPECT_GT(auc(own), 0.58);
    EXPECT_NEAR(auc(stranger), 0.5, 0.03);
    RecordProperty("own_auc", std::to_string(auc(own)));
}

TEST(Synthetic, ImpossibleParametersAreRefused) {
    auto const refused = [](auto change) {
        auto params = small_params();
        change(params);
        EXPECT_THROW(make_synthetic(params), InternalError);
    };
    refused([](SyntheticParams& p) { p.clusters = 0; });
    refused([](SyntheticParams& p) { p.clusters = p.items + 1; });
    refused([](SyntheticParams& p) { p.interests_min = 7; });
    refused([](SyntheticParams& p) { p.interests_max = 51; });
    refused([](SyntheticParams& p) { p.history_min = 300; });
    refused([](SyntheticParams& p) { p.repeat_probability = 0.95; });
    refused([](SyntheticParams& p) { p.train_share = 0.95; });
    refused([](SyntheticParams& p) { p.long_gap_s = 0.0; });
}

TEST(ItemWorldTest, DrawsHonourClusterAndStyle) {
    for (auto const& [items, clusters, styles] :
         {std::array{100U, 7U, 4U}, std::array{9U, 9U, 4U}, std::array{50U, 3U, 1U}}) {
        ItemWorld const world(3, items, clusters, styles, 1.0);
        std::uint32_t total = 0;
        for (std::uint32_t c = 0; c < clusters; ++c) {
            total += world.cluster_size(c);
            ASSERT_GE(world.cluster_size(c), 1U);
            for (std::uint32_t s = 0; s < styles; ++s) {
                for (double u = 0.0; u < 1.0; u += 0.0625) {
                    ItemId const item = world.draw_item(c, s, u);
                    ASSERT_EQ(world.cluster_of(item), c);
                    if (world.cluster_size(c) >= styles) {
                        ASSERT_EQ(world.style_of(item), s);
                    }
                }
            }
        }
        EXPECT_EQ(total, items);
    }
}

TEST(IntegratedZipfTest, QuantilesMatchProbabilities) {
    for (double const exponent : {0.0, 0.6, 1.0, 1.3}) {
        IntegratedZipf const zipf(40, exponent);
        double sum = 0.0;
        for (std::uint32_t rank = 0; rank < 40; ++rank) {
            EXPECT_EQ(zipf.rank(sum + 1e-9), rank) << exponent;
            sum += zipf.probability(rank);
        }
        EXPECT_NEAR(sum, 1.0, 1e-12);
        EXPECT_EQ(zipf.rank(1.0 - 1e-15), 39U);
    }
}

}  // namespace
}  // namespace ckvsim::workload
