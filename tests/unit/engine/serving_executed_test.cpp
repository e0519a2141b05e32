#include <gtest/gtest.h>

#include <map>

#include "core/error.hpp"
#include "engine/executed_node.hpp"
#include "serving_fixtures.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::constant_platform;
using testing_support::NamingBackend;
using testing_support::PlainPopulation;
using testing_support::poisson_requests;
using testing_support::serving_arm;

constexpr std::uint64_t kSeed = 9;

/// Scores of a request straight from its history.
std::vector<float> direct_scores(ServingArm const& arm, workload::Population const& population,
                                 workload::Request const& request) {
    workload::UserRecord record;
    population.load(request.user, record);
    std::uint32_t const end = std::max(request.tokens, record.base_length);
    std::span<ItemId const> const history(record.timeline.data() + (end - request.tokens),
                                          request.tokens);
    std::uint32_t const capacity = std::max(request.tokens, 1U);
    std::vector<std::byte> entry(arm.layout.entry_bytes(capacity));
    auto const scratch = arm.backend->make_scratch();
    arm.backend->encode(history, capacity, decode::EncodeMode::compute, entry.data(), *scratch);
    std::vector<ItemId> candidates;
    workload::candidate_items(kSeed, request, population.catalogue().items, candidates);
    decode::ScoreRequest score;
    score.entry = {entry.data(), request.tokens, capacity};
    score.candidates = candidates.data();
    score.count = request.candidates;
    std::vector<float> features(request.candidates * arm.backend->feature_width());
    arm.backend->decode(score, features.data(), *scratch);
    std::vector<float> logits(request.candidates);
    arm.backend->tower(features.data(), request.candidates, logits.data(), *scratch);
    return logits;
}

struct Setting {
    char const* what;
    std::uint64_t hbm, dram;
    std::uint32_t max_batch;
    kv::StrategyKind kind = kv::StrategyKind::full;
};

class ExecutedTwin : public testing::TestWithParam<Setting> {
  protected:
    ServingRunParams params() const {
        ServingRunParams params;
        params.node = {GetParam().hbm, GetParam().dram, GetParam().max_batch, 5.0};
        params.seed = kSeed;
        return params;
    }
};

TEST_P(ExecutedTwin, EveryRequestIsAnsweredWithTheScoresOfADirectDecode) {
    PlainPopulation const population(120);
    auto const arm = serving_arm(population, GetParam().kind);
    auto requests = poisson_requests(population, 3000, 500.0, 11, 6);
    for (std::size_t i = 0; i < requests.size(); ++i)
        requests[i].candidates = 1 + static_cast<std::uint32_t>(i % 6);
    // Some histories grow, as with a dataset's impressions.
    for (std::size_t i = 2000; i < requests.size(); i += 7) requests[i].tokens += i % 10;
    std::map<std::uint32_t, std::vector<float>> answers;
    WallExecutionClock clock;
    auto const r = execute_node(
        arm, params(), population, requests, {},
        [&](workload::Request const& request, std::span<float const> s) {
            EXPECT_TRUE(
                answers.emplace(request.sequence, std::vector<float>(s.begin(), s.end())).second);
        },
        clock);
    ASSERT_EQ(answers.size(), requests.size());
    for (auto const& request : requests)
        ASSERT_EQ(answers.at(request.sequence), direct_scores(arm, population, request))
            << "request " << request.sequence;
    EXPECT_EQ(r.requests, requests.size());
    EXPECT_EQ(r.hbm_hits + r.dram_hits + r.misses, r.requests);
    auto const& encoded = static_cast<NamingBackend const&>(*arm.backend).encoded;
    EXPECT_EQ(encoded, r.misses + requests.size()) << "one encode a miss, and ours";
    double sum = 0.0;
    for (std::size_t s = 0; s + 1 < kStages; ++s) sum += r.latency[s].mean_ns();
    EXPECT_NEAR(sum, r.latency.back().mean_ns(), 1e-9 * sum);
}

INSTANTIATE_TEST_SUITE_P(
    Settings, ExecutedTwin,
    testing::Values(Setting{"two tiers", 60'000, 60'000, 1},
                    Setting{"two tiers, batches", 60'000, 60'000, 8},
                    Setting{"tiers smaller than a batch", 8'000, 8'000, 16},
                    Setting{"DRAM only: streamed", 0, 80'000, 8}, Setting{"HBM only", 60'000, 0, 8},
                    Setting{"no cache", 0, 0, 8},
                    Setting{"entries larger than HBM", 2'000, 100'000, 8},
                    Setting{"all fits", 1 << 24, 1 << 24, 8},
                    Setting{"nothing kept", 60'000, 60'000, 8, kv::StrategyKind::recompute}));

TEST(ExecutedAgainstSimulated, SameHitsWhereBatchingIsNotAmbiguous) {
    PlainPopulation const population(150);
    auto const arm = serving_arm(population);
    auto const requests = poisson_requests(population, 4000, 500.0, 13, 2);
    for (auto const& [hbm, dram] :
         {std::pair{80'000U, 50'000U}, std::pair{0U, 90'000U}, std::pair{3'000U, 50'000U}}) {
        ServingRunParams params;
        params.node = {hbm, dram, 1, 0.0};
        params.warmup_s = 5e-4;
        auto const executed = run_executed(arm, params, population, requests);
        auto const simulated =
            run_simulated(arm, constant_platform(arm, 300.0), params, {0}, {requests});
        EXPECT_EQ(executed.hbm_hits, simulated.hbm_hits);
        EXPECT_EQ(executed.dram_hits, simulated.dram_hits);
        EXPECT_EQ(executed.misses, simulated.misses);
        EXPECT_EQ(executed.rejected, simulated.rejected);
        EXPECT_EQ(executed.evictions, simulated.evictions);
        EXPECT_EQ(executed.fetched_bytes, simulated.fetched_bytes);
        EXPECT_EQ(executed.prefilled_tokens, simulated.prefilled_tokens);
        EXPECT_EQ(executed.warmup_requests, simulated.warmup_requests);
        EXPECT_GT(simulated.dram_hits, 0U);
        EXPECT_GT(simulated.evictions, 0U);
    }
}

TEST(ExecutedTwinErrors, MissingBackendAndImpossibleHistories) {
    PlainPopulation const population(10);
    auto arm = serving_arm(population);
    auto requests = poisson_requests(population, 3, 500.0, 1);
    ServingRunParams params;
    requests[1].tokens = population.history_length(requests[1].user) + 11;
    EXPECT_THROW(run_executed(arm, params, population, requests), InternalError);
    arm.backend = nullptr;
    EXPECT_THROW(run_executed(arm, params, population, requests), InternalError);
}

TEST(ExecutedTwinEdges, NoRequests) {
    PlainPopulation const population(10);
    auto const r = run_executed(serving_arm(population), {}, population, {});
    EXPECT_EQ(r.requests, 0U);
    EXPECT_EQ(r.span_ns, 0);
}

}  // namespace
}  // namespace ckvsim::engine
