#include "metrics/leakage.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::metrics {
namespace {

constexpr std::uint64_t kSeed = 5;
constexpr std::uint32_t kReplicates = 200;

/// How a made-up population answers.
struct World {
    std::uint32_t users = 400;
    double model = 0.8;           ///< noise share that the model does not have
    double returns_click = 0.02;  ///< how often a clicked candidate is among the tokens
    double returns_other = 0.02;  ///< ... and one that was not clicked
    double leaked = 0.0;          ///< share of the clicks that are written before themselves
    bool learned = false;         ///< the model was trained on leaked histories
};

/// The same impressions, scored in five ways.
struct Scores {
    Predictions probe, full, none, oracle;
};

Scores make(World const& world) {
    CounterRng rng(3, Purpose::test, 1);
    Scores scores;
    auto const add = [&](Predictions& to, double logit, bool label, std::uint32_t user) {
        to.logits.push_back(static_cast<float>(logit));
        to.labels.push_back(label ? 1 : 0);
        to.user.push_back(user);
        to.users = world.users;
    };
    for (std::uint32_t user = 0; user < world.users; ++user) {
        for (int i = 0; i < 10; ++i) {
            double const truth = 1.5 * rng.normal();
            bool const label = rng.uniform() < 1.0 / (1.0 + std::exp(-truth));
            bool const leaked = label && rng.uniform() < world.leaked;
            bool const returned =
                rng.uniform() < (label ? world.returns_click : world.returns_other);
            double const noise = rng.normal();
            double const guess = world.model * truth + (1 - world.model) * noise;
            add(scores.probe, leaked || returned ? 1 : 0, label, user);
            add(scores.full, guess + (leaked && world.learned ? 5 : 0), label, user);
            add(scores.none, 0.3 * truth + rng.normal(), label, user);
            add(scores.oracle, truth, label, user);
        }
    }
    return scores;
}

ArmSamples sample(Predictions const& predictions) {
    return {{evaluate(predictions)}, {bootstrap_users(predictions, kSeed, kReplicates)}};
}

ProbeSamples sample_one(Predictions const& probe) {
    return sample_probe(probe, kSeed, kReplicates);
}

LeakResult judge(Scores const& scores) {
    auto const full = sample(scores.full);
    auto const none = sample(scores.none);
    std::vector<ArmSamples const*> const rows = {&full, &none};
    return judge_probe(sample_one(scores.probe), rows, kSeed);
}

double quantile(std::vector<double> values, double q) {
    std::sort(values.begin(), values.end());
    double const at = q * static_cast<double>(values.size() - 1);
    double const low = values[static_cast<std::size_t>(std::floor(at))];
    double const high = values[static_cast<std::size_t>(std::ceil(at))];
    return low + (at - std::floor(at)) * (high - low);
}

TEST(Leakage, ProbesLookAtTheLastOccurrence) {
    for (std::uint32_t age = 0; age < 3 * kNewestTokens; ++age) {
        EXPECT_EQ(fires(Probe::candidate_in_history, age), age > 0) << age;
        EXPECT_EQ(fires(Probe::candidate_newest, age), age > 0 && age <= kNewestTokens) << age;
        EXPECT_EQ(fires(Probe::candidate_earlier, age), age > kNewestTokens) << age;
    }
}

TEST(Leakage, SharesAndAucOfAProbeFollowFromItsCounts) {
    World world;
    world.leaked = 0.2;
    auto const probe = make(world).probe;
    double counts[2][2] = {};
    for (std::size_t i = 0; i < probe.labels.size(); ++i)
        counts[probe.labels[i]][probe.logits[i] > 0 ? 1 : 0] += 1;
    double const clicks = counts[1][1] / (counts[1][0] + counts[1][1]);
    double const others = counts[0][1] / (counts[0][0] + counts[0][1]);
    auto const samples = sample_one(probe);
    EXPECT_DOUBLE_EQ(samples.positives, clicks);
    EXPECT_DOUBLE_EQ(samples.negatives, others);
    EXPECT_NEAR(evaluate(probe).auc, 0.5 + (clicks - others) / 2, 1e-12);
    auto const bootstrap = bootstrap_users(probe, kSeed, kReplicates);
    for (std::uint32_t b = 0; b < kReplicates; ++b)
        EXPECT_NEAR(bootstrap.auc[b], 0.5 + (samples.positives_of[b] - samples.negatives_of[b]) / 2,
                    1e-12);
    Predictions const one_label{{1.0F}, {1}, {0}, 1};
    EXPECT_TRUE(std::isnan(sample_one(one_label).negatives));
    EXPECT_DOUBLE_EQ(sample_one(one_label).positives, 1.0);
}

TEST(Leakage, LimitRatioAndIntervalsEqualTheirDefinitionReplicateByReplicate) {
    World world;
    world.leaked = 0.1;
    auto const scores = make(world);
    auto const probe = bootstrap_users(scores.probe, kSeed, kReplicates);
    auto const shares = sample_one(scores.probe);
    std::vector<ArmSamples> const rows = {sample(scores.full), sample(scores.none)};
    double best = 0.5;
    for (auto const& row : rows) best = std::max(best, row.points[0].auc);
    std::vector<double> above, ratio;
    for (std::uint32_t b = 0; b < kReplicates; ++b) {
        double top = 0.5;
        for (auto const& row : rows) top = std::max(top, row.replicates[0].auc[b]);
        above.push_back(probe.auc[b] - (0.5 + 0.5 * (top - 0.5)));
        ratio.push_back(shares.positives_of[b] - 5.0 * shares.negatives_of[b]);
    }
    auto const result = judge(scores);
    EXPECT_NEAR(result.limit, 0.5 + 0.5 * (best - 0.5), 1e-12);
    EXPECT_NEAR(result.auc.value, evaluate(scores.probe).auc, 1e-12);
    EXPECT_NEAR(result.auc.low, quantile(probe.auc, 0.025), 1e-12);
    EXPECT_NEAR(result.above_limit.value, result.auc.value - result.limit, 1e-12);
    EXPECT_NEAR(result.above_limit.low, quantile(above, 0.025), 1e-12);
    EXPECT_NEAR(result.above_limit.high, quantile(above, 0.975), 1e-12);
    EXPECT_NEAR(result.above_ratio.value, shares.positives - 5.0 * shares.negatives, 1e-12);
    EXPECT_NEAR(result.above_ratio.low, quantile(ratio, 0.025), 1e-12);
}

TEST(Leakage, CleanDataAreNotSuspected) {
    EXPECT_EQ(judge(make({})).verdict, LeakVerdict::chance);
    World returning;
    returning.returns_click = 0.08;
    EXPECT_EQ(judge(make(returning)).verdict, LeakVerdict::informative);
    World averse;  // news: nobody reads an article twice
    averse.returns_other = 0.3;
    EXPECT_EQ(judge(make(averse)).verdict, LeakVerdict::informative);
}

TEST(Leakage, ALeakIsSeenWhetherOrNotTheModelLearnedIt) {
    for (double const leaked : {0.8, 1.0}) {
        World world;
        world.returns_click = world.returns_other = 0.25;  // the ratio stays below its bound
        world.leaked = leaked;
        EXPECT_LT(judge(make(world)).above_ratio.high, 0) << leaked;
        EXPECT_EQ(judge(make(world)).verdict, LeakVerdict::suspicious) << leaked;
        world.learned = true;
        auto const scores = make(world);
        EXPECT_EQ(judge(scores).verdict, LeakVerdict::suspicious) << leaked;
        EXPECT_GT(evaluate(scores.full).auc, evaluate(scores.probe).auc)
            << "a rule that asks for a probe above full KV would miss this leak";
    }
}

TEST(Leakage, ALeakOfFewClicksShowsInTheRatio) {
    World world;
    world.leaked = 0.15;
    auto const result = judge(make(world));
    EXPECT_LT(result.above_limit.high, 0);
    EXPECT_GT(result.above_ratio.low, 0);
    EXPECT_EQ(result.verdict, LeakVerdict::suspicious);
    world.returns_click = world.returns_other = 0.0;
    world.leaked = 0.004;  // eight clicks and no other impression: may be chance
    auto const few = judge(make(world));
    EXPECT_GT(few.above_ratio.low, 0);
    EXPECT_EQ(few.verdict, LeakVerdict::informative);
}

TEST(Leakage, WithoutAnyKnowledgeTheLimitIsChance) {
    World world;
    auto scores = make(world);
    for (auto* row : {&scores.full, &scores.none})
        std::fill(row->logits.begin(), row->logits.end(), 0.0F);
    EXPECT_EQ(judge(scores).limit, 0.5);
    EXPECT_EQ(judge(scores).verdict, LeakVerdict::chance);
    world.returns_click = 0.08;
    auto returning = make(world);
    returning.full = returning.none = scores.full;
    returning.full.labels = returning.none.labels = returning.probe.labels;
    EXPECT_EQ(judge(returning).verdict, LeakVerdict::suspicious);
}

TEST(Leakage, WhereTheTruthIsKnownItIsTheLimit) {
    World world;
    world.returns_click = 0.4;  // much, but this is how these users are
    auto const scores = make(world);
    auto const oracle = sample(scores.oracle);
    EXPECT_EQ(judge(scores).verdict, LeakVerdict::suspicious);
    auto const known = judge_known(sample_one(scores.probe), oracle, kSeed);
    EXPECT_EQ(known.verdict, LeakVerdict::informative);
    EXPECT_DOUBLE_EQ(known.limit, oracle.points[0].auc);
    EXPECT_GT(known.above_ratio.low, 0);
    std::vector<double> above;
    auto const probe = bootstrap_users(scores.probe, kSeed, kReplicates);
    for (std::uint32_t b = 0; b < kReplicates; ++b)
        above.push_back(probe.auc[b] - oracle.replicates[0].auc[b]);
    EXPECT_NEAR(known.above_limit.low, quantile(above, 0.025), 1e-12);
    world.leaked = 1.0;
    auto const leaked = make(world);
    EXPECT_EQ(judge_known(sample_one(leaked.probe), sample(leaked.oracle), kSeed).verdict,
              LeakVerdict::suspicious);
}

TEST(Leakage, OneLabelLeavesItUndecided) {
    auto scores = make({});
    for (auto* predictions : {&scores.probe, &scores.full, &scores.none, &scores.oracle})
        std::fill(predictions->labels.begin(), predictions->labels.end(), std::uint8_t{1});
    EXPECT_EQ(judge(scores).verdict, LeakVerdict::undecided);
    EXPECT_EQ(judge_arm(sample(scores.full), sample(scores.oracle), kSeed).verdict,
              LeakVerdict::undecided);
}

TEST(Leakage, NoArmBeatsTheTruthUnlessItLeaks) {
    World world;
    auto const clean = make(world);
    EXPECT_EQ(judge_arm(sample(clean.full), sample(clean.oracle), kSeed).verdict,
              LeakVerdict::plausible);
    EXPECT_EQ(judge_arm(sample(clean.oracle), sample(clean.oracle), kSeed).verdict,
              LeakVerdict::plausible);
    world.leaked = 0.3;
    world.learned = true;
    auto const leaked = make(world);
    auto const result = judge_arm(sample(leaked.full), sample(leaked.oracle), kSeed);
    EXPECT_EQ(result.verdict, LeakVerdict::suspicious);
    EXPECT_DOUBLE_EQ(result.limit, evaluate(leaked.oracle).auc);
}

TEST(Leakage, RefusesSamplesThatDoNotBelongTogether) {
    auto const scores = make({});
    auto const arm = sample(scores.full);
    ArmSamples const other{{evaluate(scores.none)}, {bootstrap_users(scores.none, kSeed, 3)}};
    std::vector<ArmSamples const*> const rows = {&arm, &other};
    EXPECT_THROW(judge_probe(sample_one(scores.probe), rows, kSeed), InternalError);
    EXPECT_THROW(judge_known(sample_one(scores.probe), other, kSeed), InternalError);
    EXPECT_THROW(judge_arm(arm, ArmSamples{}, kSeed), InternalError);
    EXPECT_THROW(judge_arm(ArmSamples{}, arm, kSeed), InternalError);
    EXPECT_THROW(judge_arm(arm, other, kSeed), InternalError);
}

}  // namespace
}  // namespace ckvsim::metrics
