#include "metrics/accuracy.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::metrics {
namespace {

/// Users with 1..6 impressions; `strength` = how much the logit says about the label. Few distinct
/// logits make ties.
Predictions random_predictions(std::uint64_t id, std::uint32_t users, double strength,
                               double levels = 8) {
    CounterRng rng(11, Purpose::test, id);
    Predictions predictions;
    predictions.users = users;
    for (std::uint32_t user = 0; user < users; ++user) {
        for (std::uint32_t i = 0, count = 1 + rng.below(6); i < count; ++i) {
            double const truth = rng.normal();
            bool const label = rng.uniform() < 1.0 / (1.0 + std::exp(-truth));
            double const noisy = strength * truth + (1.0 - strength) * rng.normal();
            predictions.logits.push_back(static_cast<float>(std::round(noisy * levels) / levels));
            predictions.labels.push_back(label ? 1 : 0);
            predictions.user.push_back(user);
        }
    }
    return predictions;
}

/// Share of (positive, negative) pairs in the right order, ties one half; pairs of one user only
/// when `within`.
double count_pairs(Predictions const& p, std::size_t begin, std::size_t end) {
    double right = 0;
    double pairs = 0;
    for (std::size_t i = begin; i < end; ++i) {
        for (std::size_t j = begin; j < end; ++j) {
            if (p.labels[i] != 1 || p.labels[j] != 0) continue;
            pairs += 1;
            right += p.logits[i] > p.logits[j] ? 1.0 : p.logits[i] == p.logits[j] ? 0.5 : 0.0;
        }
    }
    return right / pairs;
}

TEST(Accuracy, AucEqualsPairCountingIncludingTies) {
    for (std::uint64_t id = 0; id < 20; ++id) {
        auto const p = random_predictions(id, 60, 0.7, id % 2 == 0 ? 1.0 : 1000.0);
        EXPECT_NEAR(evaluate(p).auc, count_pairs(p, 0, p.logits.size()), 1e-12) << id;
    }
}

TEST(Accuracy, GroupedAucEqualsPairCountingWithinUsers) {
    auto const p = random_predictions(100, 80, 0.7, 1.0);
    double sum = 0;
    double weight = 0;
    std::uint64_t users = 0;
    for (std::size_t begin = 0; begin < p.user.size();) {
        std::size_t end = begin;
        while (end < p.user.size() && p.user[end] == p.user[begin]) ++end;
        double const auc = count_pairs(p, begin, end);
        if (!std::isnan(auc)) {
            sum += auc * static_cast<double>(end - begin);
            weight += static_cast<double>(end - begin);
            ++users;
        }
        begin = end;
    }
    auto const point = evaluate(p);
    EXPECT_NEAR(point.gauc, sum / weight, 1e-12);
    EXPECT_EQ(point.users_with_both, users);
}

TEST(Accuracy, HandComputedPoint) {
    // Positives at 2 and 0, negatives at 0 and -1: pairs 1, 1, 1/2, 1.
    Predictions const p{{2.0F, 0.0F, -0.0F, -1.0F}, {1, 0, 1, 0}, {0, 0, 1, 2}, 4};
    auto const point = evaluate(p);
    EXPECT_DOUBLE_EQ(point.auc, 3.5 / 4.0);
    EXPECT_DOUBLE_EQ(point.gauc, 1.0);  // only user 0 has both labels
    EXPECT_EQ(point.users_with_both, 1U);
    EXPECT_EQ(point.impressions, 4U);
    EXPECT_EQ(point.positives, 2U);
    double const expected =
        (std::log1p(std::exp(-2.0)) + 2.0 * std::log(2.0) + std::log1p(std::exp(-1.0))) / 4.0;
    EXPECT_NEAR(point.logloss, expected, 1e-12);
}

TEST(Accuracy, ExtremeLogitsStayFinite) {
    Predictions const p{{500.0F, -500.0F}, {0, 1}, {0, 0}, 1};
    EXPECT_DOUBLE_EQ(evaluate(p).logloss, 500.0);
    EXPECT_DOUBLE_EQ(evaluate(p).auc, 0.0);
}

TEST(Accuracy, OneClassHasNoAuc) {
    Predictions const p{{1.0F, 2.0F}, {1, 1}, {0, 1}, 2};
    EXPECT_TRUE(std::isnan(evaluate(p).auc));
    EXPECT_TRUE(std::isnan(evaluate(p).gauc));
    EXPECT_TRUE(std::isnan(evaluate(Predictions{}).logloss));
}

TEST(Accuracy, RefusesBrokenInput) {
    EXPECT_THROW(evaluate({{1.0F}, {1, 0}, {0}, 1}), InternalError);
    EXPECT_THROW(evaluate({{1.0F, 1.0F}, {1, 0}, {1, 0}, 2}), InternalError);
    EXPECT_THROW(evaluate({{1.0F}, {1}, {3}, 2}), InternalError);
    EXPECT_THROW(evaluate({{std::nanf("")}, {1}, {0}, 1}), InternalError);
}

TEST(Bootstrap, ReplicateEqualsEvaluatingRepeatedUsers) {
    // Oracle: write every user out as often as the replicate's weights say. The weights are
    // Poisson(1) by inversion.
    auto const p = random_predictions(200, 50, 0.7);
    std::uint64_t const seed = 5;
    auto const replicates = bootstrap_users(p, seed, 10);
    for (std::uint32_t b = 0; b < 10; ++b) {
        Predictions repeated;
        for (std::uint32_t user = 0; user < p.users; ++user) {
            double const u =
                CounterRng(seed, Purpose::bootstrap_users, user, b).next_u32() * 0x1.0p-32;
            std::uint32_t weight = 0;
            double term = std::exp(-1.0);
            for (double cumulative = term; u >= cumulative; cumulative += term) term /= ++weight;
            for (std::uint32_t copy = 0; copy < weight; ++copy, ++repeated.users) {
                for (std::size_t i = 0; i < p.user.size(); ++i) {
                    if (p.user[i] != user) continue;
                    repeated.logits.push_back(p.logits[i]);
                    repeated.labels.push_back(p.labels[i]);
                    repeated.user.push_back(repeated.users);
                }
            }
        }
        auto const expected = evaluate(repeated);
        EXPECT_NEAR(replicates.auc[b], expected.auc, 1e-12);
        EXPECT_NEAR(replicates.gauc[b], expected.gauc, 1e-12);
        EXPECT_NEAR(replicates.logloss[b], expected.logloss, 1e-12);
    }
}

TEST(Bootstrap, DoesNotDependOnThreads) {
    auto const p = random_predictions(300, 200, 0.7);
    int const threads = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const one = bootstrap_users(p, 9, 40);
    omp_set_num_threads(3);
    auto const three = bootstrap_users(p, 9, 40);
    omp_set_num_threads(threads);
    EXPECT_EQ(one.auc, three.auc);
    EXPECT_EQ(one.gauc, three.gauc);
    EXPECT_EQ(one.logloss, three.logloss);
}

ArmSamples arm_of(std::vector<Predictions> const& seeds, std::uint64_t seed,
                  std::uint32_t replicates) {
    ArmSamples arm;
    for (auto const& predictions : seeds) {
        arm.points.push_back(evaluate(predictions));
        arm.replicates.push_back(bootstrap_users(predictions, seed, replicates));
    }
    return arm;
}

TEST(Bootstrap, IntervalsCoverTheTruthAboutAsOftenAsTheySay) {
    // Logits and labels are independent, so the true AUC is 1/2 however users are drawn.
    int covered = 0;
    int const trials = 200;
    for (int trial = 0; trial < trials; ++trial) {
        auto const arm = arm_of(
            {random_predictions(1000 + static_cast<std::uint64_t>(trial), 150, 0.0)}, 3, 200);
        auto const interval = compare(arm, arm, arm, 0.03, 3).auc;
        EXPECT_LE(interval.low, interval.high);
        covered += interval.low <= 0.5 && 0.5 <= interval.high ? 1 : 0;
    }
    // 95 % of 200 is 190, standard deviation 3.1; five of them to either side, capped at all.
    EXPECT_GE(covered, 175);
    EXPECT_LE(covered, 199);
}

/// The same impressions scored with another strength.
Predictions rescored(std::uint64_t id, double share_of_noise) {
    auto p = random_predictions(id, 3000, 1.0, 1e6);
    CounterRng rng(12, Purpose::test, id);
    for (auto& logit : p.logits) {
        logit = static_cast<float>((1.0 - share_of_noise) * logit + share_of_noise * rng.normal());
    }
    return p;
}

TEST(Compare, VerdictsFollowTheLiftInterval) {
    auto const full = arm_of({rescored(1, 0.0)}, 4, 200);
    auto const close = arm_of({rescored(1, 0.02)}, 4, 200);
    auto const far = arm_of({rescored(1, 0.6)}, 4, 200);
    auto const none = arm_of({rescored(1, 1.0)}, 4, 200);

    auto const reference = compare(full, full, none, 0.03, 4);
    EXPECT_EQ(reference.verdict, Verdict::reference);
    EXPECT_DOUBLE_EQ(reference.lift_kept.value, 1.0);
    EXPECT_DOUBLE_EQ(reference.auc_difference.high, 0.0);
    EXPECT_EQ(compare(ArmSamples(full), full, none, 0.03, 4).verdict, Verdict::reference);

    auto const kept = compare(close, full, none, 0.03, 4);
    EXPECT_EQ(kept.verdict, Verdict::equivalent);
    EXPECT_GE(kept.lift_kept.low, 0.97);
    EXPECT_DOUBLE_EQ(kept.detectable_margin, 0.5 * (kept.lift_kept.high - kept.lift_kept.low));

    auto const lost = compare(far, full, none, 0.03, 4);
    EXPECT_EQ(lost.verdict, Verdict::worse);
    EXPECT_LT(lost.lift_kept.high, 0.97);
    EXPECT_LT(lost.auc_difference.high, 0.0);

    // The same two with their parts changed: what full KV is to the noisier scores.
    auto const gained = compare(full, far, none, 0.03, 4);
    EXPECT_EQ(gained.verdict, Verdict::better);
    EXPECT_GT(gained.lift_kept.low, 1.03);
    // A gain within the margin is no verdict of its own.
    EXPECT_EQ(compare(full, far, none, gained.lift_kept.high - 1.0, 4).verdict,
              Verdict::equivalent);

    // The margin exactly at the point estimate cannot be decided.
    EXPECT_EQ(compare(far, full, none, 1.0 - lost.lift_kept.value, 4).verdict, Verdict::undecided);
    // A reference no better than no history: nothing can be ranked.
    EXPECT_EQ(compare(close, none, arm_of({rescored(2, 1.0)}, 4, 200), 0.03, 4).verdict,
              Verdict::no_power);
}

TEST(Compare, SaysWhichVerdictsOtherRandomNumbersCouldChange) {
    auto const full = arm_of({rescored(1, 0.0)}, 4, 1000);
    auto const far = arm_of({rescored(1, 0.6)}, 4, 1000);
    auto const none = arm_of({rescored(1, 1.0)}, 4, 1000);
    auto const ends = compare(far, full, none, 0.03, 4).lift_kept;
    auto const may_flip = [&](double kept) {
        return compare(far, full, none, 1.0 - kept, 4).verdict_may_flip;
    };
    double const width = ends.high - ends.low;
    // At either end of the interval a hair decides; in its middle and far outside nothing does.
    EXPECT_TRUE(may_flip(ends.low));
    EXPECT_TRUE(may_flip(ends.high));
    EXPECT_FALSE(may_flip(ends.value));
    EXPECT_FALSE(may_flip(ends.high + width));
    EXPECT_FALSE(may_flip(ends.low - width));
    // The end of a verdict "better".
    auto const gain = compare(full, far, none, 0.03, 4).lift_kept;
    EXPECT_TRUE(compare(full, far, none, gain.low - 1.0, 4).verdict_may_flip);
    EXPECT_FALSE(compare(full, far, none, 0.03, 4).verdict_may_flip);
    EXPECT_FALSE(compare(full, full, none, 0.03, 4).verdict_may_flip)
        << "the reference hangs on nothing";
}

// Twenty replicates have no order statistic below their 2.5 % end: however far outside of them the
// margin lies, they cannot place that end.
TEST(Compare, FewReplicatesPlaceNoEnd) {
    auto const full = arm_of({rescored(1, 0.0)}, 4, 20);
    auto const close = arm_of({rescored(1, 0.02)}, 4, 20);
    auto const none = arm_of({rescored(1, 1.0)}, 4, 20);
    auto const kept = compare(close, full, none, 0.5, 4);
    EXPECT_EQ(kept.verdict, Verdict::equivalent);
    EXPECT_TRUE(kept.verdict_may_flip);
    EXPECT_FALSE(compare(arm_of({rescored(1, 0.02)}, 4, 1000), arm_of({rescored(1, 0.0)}, 4, 1000),
                         arm_of({rescored(1, 1.0)}, 4, 1000), 0.5, 4)
                     .verdict_may_flip);
}

// Scores that know who clicks often, and nothing of what he clicks.
TEST(Compare, TellsGainsBetweenUsersFromGainsWithin) {
    Predictions blind;
    blind.users = 60;
    for (std::uint32_t user = 0; user < blind.users; ++user) {
        CounterRng rng(3, Purpose::control_index, user);
        for (int i = 0; i < 12; ++i) {
            blind.user.push_back(user);
            blind.labels.push_back(rng.uniform() < (user % 2 == 0 ? 0.7 : 0.3) ? 1 : 0);
            blind.logits.push_back(static_cast<float>(rng.uniform()));
        }
    }
    Predictions knowing = blind;
    for (std::size_t i = 0; i < knowing.logits.size(); ++i)
        knowing.logits[i] += knowing.user[i] % 2 == 0 ? 2.0F : 0.0F;
    auto const full = arm_of({knowing}, 6, 100);
    auto const none = arm_of({blind}, 6, 100);
    auto const lost = compare(none, full, none, 0.03, 4);
    EXPECT_LT(lost.auc_difference.high, 0.0);
    EXPECT_EQ(lost.gauc_difference.value, 0.0);
    EXPECT_EQ(lost.gauc_difference.low, 0.0);
    EXPECT_EQ(lost.gauc_difference.high, 0.0);
    // ... and the other way round: what is lost within users is lost in gAUC.
    Predictions sharp = knowing;
    for (std::size_t i = 0; i < sharp.logits.size(); ++i)
        sharp.logits[i] += sharp.labels[i] != 0 ? 0.5F : 0.0F;
    auto const within = compare(full, arm_of({sharp}, 6, 100), none, 0.03, 4).gauc_difference;
    EXPECT_LT(within.value, -0.1);
    EXPECT_LT(within.high, 0.0);
}

TEST(Compare, SeedsAreResampledTogetherAcrossArms) {
    // Seeds differ much, arms within a seed not at all: pairing removes the seed noise from the
    // difference.
    std::vector<Predictions> const seeds = {rescored(5, 0.0), rescored(5, 0.3), rescored(5, 0.5)};
    auto const full = arm_of(seeds, 6, 100);
    auto arm = full;
    for (auto& replicates : arm.replicates) {
        for (auto& auc : replicates.auc) auc -= 0.001;
    }
    for (auto& point : arm.points) point.auc -= 0.001;
    auto const result = compare(arm, full, arm_of({rescored(5, 1.0)}, 6, 100), 0.03, 6);
    EXPECT_NEAR(result.auc_difference.low, -0.001, 1e-12);
    EXPECT_NEAR(result.auc_difference.high, -0.001, 1e-12);
    EXPECT_GT(result.auc.high - result.auc.low, 0.01);
}

TEST(Compare, RefusesUnequalReplicates) {
    auto const a = arm_of({rescored(1, 0.0)}, 4, 10);
    auto const b = arm_of({rescored(1, 0.1)}, 4, 11);
    EXPECT_THROW(compare(b, a, a, 0.03, 1), InternalError);
    EXPECT_THROW(compare(ArmSamples{}, a, a, 0.03, 1), InternalError);
}

}  // namespace
}  // namespace ckvsim::metrics
