// Entries that lived, event by event, against loops written out by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "device/cpu/cpu_backend.hpp"
#include "engine/evaluation.hpp"
#include "listed_population.hpp"

namespace ckvsim::engine {
namespace {

using kv::WindowParams;
using kv::WindowPolicy;

constexpr std::uint32_t kItems = 40;
constexpr std::uint32_t kWindow = 6;

/// One user whose history grows from 4 to 23 events, shown a candidate at every length.
test::ListedPopulation one_user(std::uint32_t shortest, std::uint32_t longest) {
    workload::UserRecord record;
    record.base_length = shortest;
    for (std::uint32_t t = 0; t < longest; ++t) record.timeline.push_back(1 + (t * 7) % kItems);
    for (std::uint32_t end = shortest; end <= longest; ++end)
        record.impressions.push_back({1 + (end * 3) % kItems, 0, end, 1, workload::Split::test, 0});
    return test::ListedPopulation(kItems, {record});
}

struct Case {
    char const* name;
    kv::StrategyKind kind;
};

class LivedEntries : public testing::TestWithParam<Case> {
  protected:
    static std::shared_ptr<decode::Backend const> backend(workload::Population const& population,
                                                          std::uint32_t layers) {
        model::SimShape shape;
        shape.kind = model::ModelKind::hstu;
        shape.feature_dim = 4;
        shape.attention_dim = 8;
        shape.layers = layers;
        shape.max_tokens = kWindow;
        shape.tower = {8};
        model::VariantParams variant;
        kv::StrategyParams strategy;
        strategy.kind = GetParam().kind;
        if (strategy.kind == kv::StrategyKind::collective) {
            variant.variant = model::Variant::collective;
            variant.scope = model::Scope::all;
            variant.m = 16;
        }
        auto weights = std::make_shared<model::SimWeights const>(
            model::random_sim_weights(shape, variant, population.catalogue(), 1, 7));
        return device::cpu::make_backend(weights, strategy, population.catalogue());
    }
    static std::vector<float> scored(workload::Population const& population,
                                     decode::Backend const& backend, WindowParams const& window) {
        auto const set =
            make_evaluation_set(population, owned_users(1, 1, 0, 1), 0, 1, kWindow, {});
        return score(population, set, backend, HistorySource::own, 1, {}, window);
    }
};

/// An entry and what is asked of it, without any of the code under test.
class ByHand {
  public:
    explicit ByHand(decode::Backend const& backend)
        : backend_(backend),
          entry_(backend.layout().entry_bytes(kWindow)),
          scratch_(backend.make_scratch()) {}
    void encode(std::vector<ItemId> const& ids) {
        tokens_ =
            backend_.encode(ids, kWindow, decode::EncodeMode::compute, entry_.data(), *scratch_);
    }
    void append(ItemId id) {
        tokens_ = backend_.append(entry_.data(), tokens_, kWindow, {&id, 1},
                                  decode::EncodeMode::compute, *scratch_);
    }
    [[nodiscard]] float score(ItemId candidate) {
        std::vector<float> features(backend_.feature_width());
        decode::ScoreRequest request;
        request.entry = {entry_.data(), tokens_, kWindow};
        request.candidates = &candidate;
        request.count = 1;
        backend_.decode(request, features.data(), *scratch_);
        float logit = 0;
        backend_.tower(features.data(), 1, &logit, *scratch_);
        return logit;
    }

  private:
    decode::Backend const& backend_;
    std::vector<std::byte> entry_;
    std::unique_ptr<decode::Scratch> scratch_;
    std::uint32_t tokens_ = 0;
};

workload::UserRecord record_of(workload::Population const& population) {
    workload::UserRecord record;
    population.load(0, record);
    return record;
}

TEST_P(LivedEntries, EncodingAfterEveryEventIsAFreshEntry) {
    auto const population = one_user(4, 23);
    auto const served = backend(population, 2);
    auto const record = record_of(population);
    ByHand hand(*served);
    std::vector<float> fresh;
    for (auto const& shown : record.impressions) {
        hand.encode({record.timeline.begin(), record.timeline.begin() + shown.history_end});
        fresh.push_back(hand.score(shown.item));
    }
    EXPECT_EQ(scored(population, *served, {WindowPolicy::reencode, 1}), fresh);
    EXPECT_NE(scored(population, *served, {WindowPolicy::reencode, 3}), fresh)
        << "two events in three leave traces";
}

TEST_P(LivedEntries, ASlidingEntryIsAppendedToEventByEventFromTheFirst) {
    auto const population = one_user(12, 23);  // has slid before anybody asks
    auto const served = backend(population, 2);
    auto const record = record_of(population);
    ByHand hand(*served);
    hand.encode({record.timeline.front()});
    std::vector<float> lived;
    std::size_t shown = 0;
    for (std::uint32_t end = 1; end <= 23; ++end) {
        if (end > 1) hand.append(record.timeline[end - 1]);
        if (shown < record.impressions.size() && record.impressions[shown].history_end == end)
            lived.push_back(hand.score(record.impressions[shown++].item));
    }
    ASSERT_EQ(lived.size(), 12U);
    auto const slid = scored(population, *served, {WindowPolicy::slide, 1});
    EXPECT_EQ(slid, lived);
    EXPECT_NE(slid, scored(population, *served, {})) << "encoded at the first impression: younger";
    EXPECT_EQ(slid, scored(population, *served, {WindowPolicy::drop_block, 1}));
    EXPECT_NE(slid, scored(population, *served, {WindowPolicy::drop_block, 3}));
}

TEST_P(LivedEntries, DroppedBlocksLeaveTheTokensThatAListLeaves) {
    auto const population = one_user(4, 23);
    auto const served = backend(population, 1);  // K and V of the item alone: nothing is stale
    auto const record = record_of(population);
    for (std::uint32_t const block : {1U, 2U, 5U}) {
        ByHand hand(*served);
        std::deque<ItemId> tokens;
        std::vector<float> expected;
        std::size_t shown = 0;
        for (std::uint32_t end = 1; end <= 23; ++end) {
            if (tokens.size() == kWindow) tokens.erase(tokens.begin(), tokens.begin() + block);
            tokens.push_back(record.timeline[end - 1]);
            if (record.impressions[shown].history_end != end) continue;
            hand.encode({tokens.begin(), tokens.end()});
            expected.push_back(hand.score(record.impressions[shown++].item));
        }
        EXPECT_EQ(scored(population, *served, {WindowPolicy::drop_block, block}), expected)
            << block;
    }
}

TEST_P(LivedEntries, HistoriesWithinTheWindowAreTheSameUnderEveryPolicy) {
    auto const population = one_user(1, kWindow);
    auto const served = backend(population, 2);
    auto const encoded = scored(population, *served, {});
    ASSERT_EQ(encoded.size(), kWindow);
    for (auto const policy :
         {WindowPolicy::slide, WindowPolicy::reencode, WindowPolicy::drop_block})
        EXPECT_EQ(scored(population, *served, {policy, 2}), encoded) << kv::to_string(policy);
}

INSTANTIATE_TEST_SUITE_P(Strategies, LivedEntries,
                         testing::Values(Case{"full", kv::StrategyKind::full},
                                         Case{"collective", kv::StrategyKind::collective}),
                         [](auto const& which) { return which.param.name; });

}  // namespace
}  // namespace ckvsim::engine
