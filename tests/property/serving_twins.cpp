// The executed engine on an injected clock against the simulated one, decision by decision: the
// executed twin really copies, encodes and decodes; every copy and every call of its backend
// advances the clock by a duration. The simulated twin prices what it decided by cost tables of the
// same durations. Admission, eviction, batches, order and all completion times have to be equal.
#include <gtest/gtest.h>
#include <omp.h>

#include "core/hash.hpp"
#include "engine/executed_node.hpp"
#include "serving_fixtures.hpp"
#include "workload/request_file.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::NamingBackend;
using testing_support::PlainPopulation;
using testing_support::serving_arm;
using testing_support::serving_shape;

constexpr std::uint64_t kUsers = 400;
constexpr std::uint64_t kSeed = 9;
constexpr char const* kRecording = CKVSIM_TEST_RECORDINGS "/overload.requests";

/// Nanoseconds of a piece of work.
struct Durations {
    static Nanoseconds copy(std::uint32_t tokens) { return 40 + 3 * std::int64_t{tokens}; }
    static Nanoseconds encode(std::size_t tokens) {
        return 500 + 60 * static_cast<Nanoseconds>(tokens);
    }
    static Nanoseconds assemble(std::uint32_t candidates) {
        return 20 + 2 * std::int64_t{candidates};
    }
    static Nanoseconds decode(std::uint32_t tokens, std::uint32_t candidates) {
        return 300 + 4 * std::int64_t{tokens} + 7 * std::int64_t{candidates} +
               2 * std::int64_t{tokens} * candidates;
    }
    static Nanoseconds score(std::uint32_t candidates) {
        return 100 + 11 * std::int64_t{candidates};
    }
};

class InjectedClock final : public ExecutionClock {
  public:
    void start() override { now_ns_ = 0; }
    [[nodiscard]] Nanoseconds now_ns() const override { return now_ns_; }
    Nanoseconds wait_until(Nanoseconds at) override { return now_ns_ = std::max(now_ns_, at); }
    [[nodiscard]] bool is_virtual() const override { return true; }
    void copied(std::uint32_t tokens) override { advance(Durations::copy(tokens)); }
    void assembled(workload::Request const& request) override {
        advance(Durations::assemble(request.candidates));
    }
    void advance(Nanoseconds ns) { now_ns_ += ns; }

  private:
    Nanoseconds now_ns_ = 0;
};

/// Works like NamingBackend and takes its time.
class TimedBackend final : public NamingBackend {
  public:
    TimedBackend(kv::EntryLayout const& layout, workload::Catalogue const& catalogue,
                 InjectedClock& clock)
        : NamingBackend(layout, catalogue), clock_(clock) {}
    std::uint32_t encode(std::span<ItemId const> tokens, std::uint32_t capacity,
                         decode::EncodeMode mode, std::byte* entry,
                         decode::Scratch& scratch) const override {
        clock_.advance(Durations::encode(tokens.size()));
        return NamingBackend::encode(tokens, capacity, mode, entry, scratch);
    }
    void decode(decode::ScoreRequest const& request, float* features,
                decode::Scratch& scratch) const override {
        clock_.advance(Durations::decode(request.entry.tokens, request.count));
        NamingBackend::decode(request, features, scratch);
    }
    void tower(float const* features, std::uint32_t rows, float* logits,
               decode::Scratch& scratch) const override {
        clock_.advance(Durations::score(rows));
        NamingBackend::tower(features, rows, logits, scratch);
    }

  private:
    InjectedClock& clock_;
};

/// Cost tables of the same durations: they are bilinear, so that two points an axis say all.
node::Platform priced_platform(std::string const& cost_key) {
    std::uint32_t const most = serving_shape().max_tokens;
    auto const grid = [](std::vector<std::uint32_t> tokens, std::vector<std::uint32_t> candidates,
                         auto&& ns) {
        node::CostGrid result;
        for (auto const t : tokens)
            for (auto const c : candidates) result.mean_ns.push_back(static_cast<double>(ns(t, c)));
        result.tokens = std::move(tokens);
        result.candidates = std::move(candidates);
        return result;
    };
    node::Platform platform;
    platform.name = "injected";
    platform.kind = node::PlatformKind::measured;
    platform.gpus = 1;
    platform.workers = 1;
    platform.fetch_overlaps_decode = false;
    auto& costs = platform.costs[cost_key];
    costs["fetch"] = grid({0, most}, {1}, [](auto t, auto) { return Durations::copy(t); });
    costs["prefill"] = grid({0, most}, {1}, [](auto t, auto) { return Durations::encode(t); });
    costs["host"] = grid({0}, {1, 33}, [](auto, auto c) { return Durations::assemble(c); });
    costs["decode"] =
        grid({0, most}, {1, 33}, [](auto t, auto c) { return Durations::decode(t, c); });
    costs["score"] = grid({0}, {1, 33}, [](auto, auto c) { return Durations::score(c); });
    return platform;
}

/// 4,000 requests of skewed users in bursts around twice what one server can do, candidates 1 to
/// 32, histories that grow.
std::vector<workload::Request> make_overload(PlainPopulation const& population) {
    CounterRng rng(5, Purpose::test, 78);
    std::vector<workload::Request> requests;
    double time_ns = 0.0;
    for (std::uint32_t i = 0; i < 4000; ++i) {
        bool const burst = i / 500 % 2 == 1;
        time_ns += rng.exponential(burst ? 1500.0 : 9000.0);
        workload::Request request;
        request.intended_start_ns = static_cast<Nanoseconds>(time_ns);
        request.user = std::min(rng.below(kUsers), rng.below(kUsers));
        request.sequence = i;
        request.candidates = 1 + rng.below(32);
        request.tokens = std::min(population.history_length(request.user) + i / 1000 % 3,
                                  serving_shape().max_tokens);
        requests.push_back(request);
    }
    return requests;
}

std::vector<workload::Request> recorded_overload(PlainPopulation const& population) {
    workload::ReplayParams params;
    params.path = kRecording;
    params.max_tokens = serving_shape().max_tokens;
    auto recorded = workload::load_requests(params, population, {{0}});
    return std::move(recorded.groups.at(0));
}

/// Makes the committed recording anew: --gtest_also_run_disabled_tests
/// --gtest_filter='*Recording*'.
TEST(TwinsOnOneClock, DISABLED_WriteRecording) {
    PlainPopulation const population(kUsers);
    workload::RequestFileHeader header;
    header.shards = 1;
    header.max_tokens = serving_shape().max_tokens;
    header.users = kUsers;
    header.population = population.digest();
    header.seed = kSeed;
    header.blocks.resize(workload::kRequestStreams);
    workload::RequestEncoder encoder;
    for (auto const& request : make_overload(population)) encoder.add(request);
    header.blocks[header.index(workload::RequestStream::executed, 0)] = encoder.block();
    workload::create_request_file(kRecording, header);
    workload::write_request_blocks(kRecording, header, workload::RequestStream::executed, {0},
                                   {encoder.bytes()});
    workload::publish_request_file(kRecording, header);
}

TEST(TwinsOnOneClock, TheRecordingHoldsTheOverload) {
    PlainPopulation const population(kUsers);
    auto const requests = recorded_overload(population);
    auto const made = make_overload(population);
    ASSERT_EQ(requests.size(), made.size());
    for (std::size_t i = 0; i < made.size(); ++i) {
        ASSERT_EQ(requests[i].intended_start_ns, made[i].intended_start_ns);
        ASSERT_EQ(requests[i].user, made[i].user);
        ASSERT_EQ(requests[i].candidates, made[i].candidates);
        ASSERT_EQ(requests[i].tokens, made[i].tokens);
    }
}

struct Setting {
    char const* what;
    std::uint64_t hbm, dram;
    std::uint32_t max_batch;
    double max_wait_us;
    kv::StrategyKind kind = kv::StrategyKind::full;
};

class TwinsOnOneClock : public testing::TestWithParam<Setting> {};

TEST_P(TwinsOnOneClock, DecideAndCompleteAlike) {
    omp_set_num_threads(1);  // durations add up on one thread, as one worker's do
    PlainPopulation const population(kUsers);
    auto const requests = recorded_overload(population);
    auto arm = serving_arm(population, GetParam().kind);
    InjectedClock clock;
    arm.backend = std::make_shared<TimedBackend>(arm.layout, population.catalogue(), clock);
    ServingRunParams params;
    params.node = {GetParam().hbm, GetParam().dram, GetParam().max_batch, GetParam().max_wait_us};
    params.seed = kSeed;
    params.warmup_s = 1e-3;
    auto const executed = execute_node(arm, params, population, requests, {}, {}, clock);
    auto const simulated =
        run_simulated(arm, priced_platform(arm.cost_key), params, {0}, {requests});
    EXPECT_EQ(executed.decision_hash, simulated.decision_hash) << "a completion or an outcome";
    EXPECT_EQ(executed.requests, simulated.requests);
    EXPECT_EQ(executed.warmup_requests, simulated.warmup_requests);
    EXPECT_EQ(executed.hbm_hits, simulated.hbm_hits);
    EXPECT_EQ(executed.dram_hits, simulated.dram_hits);
    EXPECT_EQ(executed.misses, simulated.misses);
    EXPECT_EQ(executed.rejected, simulated.rejected);
    EXPECT_EQ(executed.evictions, simulated.evictions);
    EXPECT_EQ(executed.batches, simulated.batches);
    EXPECT_EQ(executed.fetched_bytes, simulated.fetched_bytes);
    EXPECT_EQ(executed.prefilled_tokens, simulated.prefilled_tokens);
    EXPECT_EQ(executed.span_ns, simulated.span_ns);
    EXPECT_EQ(executed.busy_ns, simulated.busy_ns);
    for (std::size_t s = 0; s < kStages; ++s) {
        EXPECT_EQ(executed.latency[s].mean_ns(), simulated.latency[s].mean_ns())
            << to_string(static_cast<Stage>(s));
        EXPECT_EQ(executed.latency[s].max_ns(), simulated.latency[s].max_ns())
            << to_string(static_cast<Stage>(s));
        EXPECT_EQ(executed.latency[s].quantile_ns(0.9), simulated.latency[s].quantile_ns(0.9))
            << to_string(static_cast<Stage>(s));
    }
    // The settings do what their names say.
    EXPECT_LT(executed.batches, executed.requests);
    EXPECT_GT(executed.latency.back().max_ns(), 3 * executed.latency[3].max_ns()) << "queues grow";
}

INSTANTIATE_TEST_SUITE_P(
    Settings, TwinsOnOneClock,
    testing::Values(Setting{"two tiers", 200'000, 150'000, 8, 5.0},
                    Setting{"no waiting for a batch", 200'000, 150'000, 16, 0.0},
                    Setting{"a quarter of the entries", 60'000, 60'000, 8, 20.0},
                    Setting{"tiers smaller than a batch", 8'000, 8'000, 16, 5.0},
                    Setting{"DRAM only", 0, 80'000, 8, 5.0}, Setting{"HBM only", 60'000, 0, 8, 5.0},
                    Setting{"entries larger than HBM", 2'000, 100'000, 8, 5.0},
                    Setting{"all fits", 1 << 24, 1 << 24, 8, 5.0},
                    Setting{"nothing kept", 60'000, 60'000, 8, 5.0, kv::StrategyKind::recompute}));

}  // namespace
}  // namespace ckvsim::engine
