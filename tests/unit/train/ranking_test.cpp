#include "train/ranking.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/rng.hpp"

namespace ckvsim::train {
namespace {

TEST(Auc, CountsPairs) {
    CounterRng rng(5, Purpose::test, 0);
    std::vector<float> scores;
    std::vector<std::uint8_t> labels;
    for (int i = 0; i < 200; ++i) {
        scores.push_back(static_cast<float>(rng.below(20)));  // many ties
        labels.push_back(static_cast<std::uint8_t>(rng.below(2)));
    }
    double won = 0, pairs = 0;
    for (std::size_t i = 0; i < 200; ++i) {
        for (std::size_t j = 0; j < 200; ++j) {
            if (labels[i] == 0 || labels[j] == 1) continue;
            won += scores[i] > scores[j] ? 1.0 : scores[i] == scores[j] ? 0.5 : 0.0;
            pairs += 1;
        }
    }
    EXPECT_DOUBLE_EQ(auc(scores, labels), won / pairs);
}

TEST(Auc, IsNotDefinedForOneClass) {
    std::vector<float> const scores = {1, 2};
    std::vector<std::uint8_t> const labels = {1, 1};
    EXPECT_TRUE(std::isnan(auc(scores, labels)));
}

TEST(Logloss, IsStableForLargeLogits) {
    std::vector<float> const logits = {0.0F, 100.0F, -100.0F, 2.0F};
    std::vector<std::uint8_t> const labels = {1, 1, 1, 0};
    double const expected = (std::log(2.0) + 0.0 + 100.0 + std::log1p(std::exp(2.0))) / 4;
    EXPECT_NEAR(logloss(logits, labels), expected, 1e-9);
}

}  // namespace
}  // namespace ckvsim::train
