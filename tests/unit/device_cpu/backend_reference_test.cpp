// The CPU backend against the double-precision reference, for every strategy, variant and value
// type.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "backend_cases.hpp"
#include "core/error.hpp"
#include "device/cpu/attention.hpp"
#include "reference_model.hpp"
#include "stored_rows.hpp"

namespace ckvsim::device::cpu {
namespace {

using test::BackendCase;
using test::ReferenceModel;

constexpr std::uint32_t kItems = 60;
constexpr std::uint32_t kNone = 0xFFFFFFFF;

double probability(double logit) { return 1.0 / (1.0 + std::exp(-logit)); }

/// One backend with an entry, and what it answers.
class Served {
  public:
    Served(decode::Backend const& backend, std::vector<ItemId> const& history,
           std::uint32_t capacity)
        : backend_(backend),
          scratch_(backend.make_scratch()),
          entry_(backend.layout().entry_bytes(capacity)),
          capacity_(capacity),
          tokens_(backend.encode(history, capacity, decode::EncodeMode::compute, entry_.data(),
                                 *scratch_)) {}

    std::vector<float> logits(std::vector<ItemId> const& candidates,
                              std::vector<std::uint32_t> const& contexts,
                              std::vector<std::uint32_t> const* forced = nullptr) {
        auto const count = static_cast<std::uint32_t>(candidates.size());
        std::vector<float> features(std::size_t{count} * backend_.feature_width(), -77.0F);
        std::vector<float> result(count, -77.0F);
        chosen_.assign(std::size_t{count} * backend_.weights().shape.top_k, 12345);
        decode::ScoreRequest request;
        request.entry = {entry_.data(), tokens_, capacity_};
        request.candidates = candidates.data();
        request.contexts = contexts.empty() ? nullptr : contexts.data();
        request.count = count;
        request.forced_top_k = forced == nullptr ? nullptr : forced->data();
        request.chosen_top_k = chosen_.data();
        backend_.decode(request, features.data(), *scratch_);
        backend_.tower(features.data(), count, result.data(), *scratch_);
        return result;
    }
    [[nodiscard]] std::vector<std::uint32_t> chosen(std::size_t candidate) const {
        auto const k = backend_.weights().shape.top_k;
        std::vector<std::uint32_t> list(
            chosen_.begin() + static_cast<std::ptrdiff_t>(candidate * k),
            chosen_.begin() + static_cast<std::ptrdiff_t>((candidate + 1) * k));
        list.erase(std::find(list.begin(), list.end(), kNone), list.end());
        return list;
    }

  private:
    decode::Backend const& backend_;
    std::unique_ptr<decode::Scratch> scratch_;
    std::vector<std::byte> entry_;
    std::uint32_t capacity_;
    std::uint32_t tokens_;
    std::vector<std::uint32_t> chosen_;
};

/// True when the reference attends over the rows that the entries really hold: how far those are
/// from the weights' is tested on the rows themselves.
bool reads_back(kv::StrategyParams const& strategy) {
    return strategy.kind == kv::StrategyKind::low_rank || strategy.kind == kv::StrategyKind::vq ||
           (is_quantised(strategy.value_type) && strategy.kind != kv::StrategyKind::recompute);
}

/// fp32: sums of a few hundred products, relative rounding 6e-8 each, errors mostly cancel; the
/// project's own bound on the score is 1e-5. fp16: the reference rounds the same values to halves,
/// but a value beside a rounding boundary may go the other way in fp32: one half's spacing (2^-11)
/// of one of hundreds of values, averaged by softmax.
double tolerance(BackendCase const& c) {
    bool const halves = c.strategy.value_type == kv::ValueType::fp16 &&
                        c.strategy.kind != kv::StrategyKind::recompute && !reads_back(c.strategy);
    return halves ? 5e-4 : 1e-5;
}

void compare(BackendCase const& c, decode::Backend const& backend, ReferenceModel const& reference,
             std::vector<ItemId> const& history, std::vector<ItemId> const& candidates) {
    std::uint32_t const max_tokens = c.shape.max_tokens;
    auto const capacity = std::min<std::uint32_t>(
        max_tokens, std::max<std::uint32_t>(1, static_cast<std::uint32_t>(history.size())));
    Served served(backend, history, capacity);
    std::vector<std::uint32_t> contexts(candidates.size());
    for (std::size_t i = 0; i < contexts.size(); ++i)
        contexts[i] = static_cast<std::uint32_t>(i % 3);
    std::vector<test::ReferenceResult> expected;
    std::vector<std::uint32_t> forced(candidates.size() * c.shape.top_k, kNone);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        expected.push_back(reference.score(history, candidates[i], contexts[i]));
        std::copy(expected[i].top_k.begin(), expected[i].top_k.end(),
                  forced.begin() + static_cast<std::ptrdiff_t>(i * c.shape.top_k));
    }
    auto const logits = served.logits(candidates, contexts, &forced);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        EXPECT_NEAR(probability(logits[i]), probability(expected[i].logit), tolerance(c))
            << "candidate " << i << " of " << candidates.size() << ", " << history.size()
            << " tokens";
        EXPECT_EQ(served.chosen(i), expected[i].top_k);
    }
    auto const free = served.logits(candidates, contexts);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        // Unequal scores closer than the rounding of the search may swap; equal ones may not.
        double const gap = expected[i].top_k_gap;
        double const size = expected[i].largest_score;
        double const rounding =
            tolerance(c) > 1e-5 ? std::max(1e-2, 1e-3 * size) : std::max(1e-5, 1e-6 * size);
        if (gap != 0.0 && gap < rounding) continue;
        EXPECT_EQ(served.chosen(i), expected[i].top_k) << "gap " << gap;
        EXPECT_EQ(free[i], logits[i]);
    }
}

class EveryCase : public ::testing::TestWithParam<std::size_t> {
  protected:
    static std::vector<BackendCase> cases() {
        return test::backend_cases(test::test_shapes()[GetParam()]);
    }
};

TEST_P(EveryCase, ScoresAndChoicesMatchTheReference) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : cases()) {
        SCOPED_TRACE(c.name);
        auto const weights = test::case_weights(c, catalogue);
        auto const backend = make_backend(weights, c.strategy, catalogue);
        test::ReferenceOptions options;
        options.half_values = c.strategy.value_type == kv::ValueType::fp16 &&
                              c.strategy.kind != kv::StrategyKind::recompute;
        if (reads_back(c.strategy)) options.rows = test::stored_rows(c, weights, catalogue);
        options.stored_sum = test::stored_sum(c);
        ReferenceModel const reference(*weights, options);
        std::size_t const longest = c.shape.max_tokens;
        for (std::size_t const n :
             {std::size_t{0}, std::size_t{1}, std::size_t{3}, longest / 2, longest, longest + 25}) {
            auto const history = test::random_history(n, kItems, n);
            compare(c, *backend, reference, history, {7});
            compare(c, *backend, reference, history, {7, 7, 0});
        }
        compare(c, *backend, reference, test::random_history(longest - 1, kItems, 99),
                test::random_history(17, kItems, 3));
    }
}

TEST_P(EveryCase, ManyCandidatesScoreAsEachAlone) {
    auto const catalogue = test::small_catalogue(kItems);
    // Blocks of 128 and a short one: a place in the request must not matter either.
    auto const candidates = test::random_history(150, kItems, 4);
    for (BackendCase const& c : cases()) {
        SCOPED_TRACE(c.name);
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        Served served(*backend, test::random_history(c.shape.max_tokens - 1, kItems, 8),
                      c.shape.max_tokens);
        auto const together = served.logits(candidates, {});
        // Bit for bit: what a request holds besides a candidate must not change its score. Many
        // candidates and few have bits of their own (kWideQueries).
        for (std::size_t const many : {kWideQueries, kWideQueries + 1, std::size_t{131}}) {
            std::size_t const from = candidates.size() - many;
            auto const begin = candidates.begin() + static_cast<std::ptrdiff_t>(from);
            auto const others = served.logits({begin, candidates.end()}, {});
            for (std::size_t i = from; i < candidates.size(); i += 7)
                EXPECT_EQ(others[i - from], together[i]) << i << " of " << many;
        }
        constexpr std::size_t kFew = 7;
        auto const few = served.logits({candidates.begin(), candidates.begin() + kFew}, {});
        for (std::size_t i = 0; i < candidates.size(); i += i < kFew ? 3 : 9) {
            float const alone = served.logits({candidates[i]}, {})[0];
            if (i < kFew) {
                EXPECT_EQ(alone, few[i]) << i;
            }
            EXPECT_NEAR(probability(alone), probability(together[i]), 1e-5) << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, EveryCase, ::testing::Range(std::size_t{0}, test::kTestShapes));

/// Logits of one (variant, strategy) for a fixed request.
std::vector<float> fixed_logits(BackendCase const& c) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
    Served served(*backend, test::random_history(c.shape.max_tokens, kItems, 8),
                  c.shape.max_tokens);
    return served.logits(test::random_history(17, kItems, 2), {});
}

TEST(Backend, StrategiesThatOnlyStoreDifferentlyScoreBitForBitTheSame) {
    std::map<std::string, std::vector<float>> by_weights;
    std::size_t compared = 0;
    for (auto const& shape : test::test_shapes()) {
        for (BackendCase const& c : test::backend_cases(shape)) {
            if (!kv::is_exact(c.strategy)) continue;
            SCOPED_TRACE(c.name);
            auto const key = model::to_string(shape.kind) + "/" + model::weights_stem(c.variant) +
                             "/" + std::to_string(shape.attention_dim);
            auto const logits = fixed_logits(c);
            auto const [it, first] = by_weights.emplace(key, logits);
            if (first) continue;
            EXPECT_EQ(it->second, logits);
            ++compared;
        }
    }
    EXPECT_GT(compared, 60U);
}

TEST(Backend, ItemTablesScoreAsEntriesOfTheSameType) {
    for (auto const& shape :
         {test::even_shape(), test::odd_shape(), test::twin_of(test::even_shape()),
          test::twin_of(test::odd_shape())}) {
        for (auto const type : {kv::ValueType::fp16, kv::ValueType::int8, kv::ValueType::int4}) {
            BackendCase c{"", shape, {}, {}};
            c.strategy.value_type = type;
            auto const entries = fixed_logits(c);
            c.strategy.kind = kv::StrategyKind::item_table;
            EXPECT_EQ(entries, fixed_logits(c)) << kv::to_string(type);
        }
    }
}

/// Largest difference of the probabilities of two cases on the same weights.
double difference(BackendCase const& a, BackendCase const& b) {
    auto const left = fixed_logits(a);
    auto const right = fixed_logits(b);
    double most = 0.0;
    for (std::size_t i = 0; i < left.size(); ++i)
        most = std::max(most, std::abs(probability(left[i]) - probability(right[i])));
    return most;
}

TEST(Backend, FullRankIsExactForLinearRowsAndLowerRanksAreNot) {
    for (auto const& shape : {test::even_shape(), test::odd_shape(), test::tiny_shape()}) {
        BackendCase const full{"", shape, {}, {}};
        BackendCase low = full;
        low.strategy.kind = kv::StrategyKind::low_rank;
        // Linear rows span at most d_e (two features) dimensions.
        low.strategy.rank = std::min(shape.attention_dim, 2 * shape.feature_dim);
        EXPECT_LT(difference(full, low), 1e-5) << shape.attention_dim;
        low.strategy.rank = 1;
        EXPECT_GT(difference(full, low), 1e-4) << shape.attention_dim;
    }
}

TEST(Backend, LossGrowsAsBitsShrink) {
    BackendCase const full{"", test::even_shape(), {}, {}};
    BackendCase eight = full;
    eight.strategy.value_type = kv::ValueType::int8;
    BackendCase four = full;
    four.strategy.value_type = kv::ValueType::int4;
    EXPECT_GT(difference(full, eight), 0.0);
    EXPECT_LT(difference(full, eight), difference(full, four));
}

TEST(Backend, ACodewordPerItemIsExact) {
    BackendCase const full{"", test::even_shape(), {}, {}};
    BackendCase codes = full;
    codes.strategy.kind = kv::StrategyKind::vq;
    codes.strategy.subspaces = 4;
    codes.strategy.code_bits = 8;  // 60 items: every item has its own
    EXPECT_LT(difference(full, codes), 1e-5);
    codes.strategy.code_bits = 2;
    EXPECT_GT(difference(full, codes), 1e-4);
}

class EveryModel : public ::testing::TestWithParam<model::ModelKind> {
  protected:
    static model::SimShape of_model(model::SimShape shape) {
        shape.kind = GetParam();
        return shape;
    }
};
INSTANTIATE_TEST_SUITE_P(Models, EveryModel,
                         ::testing::Values(model::ModelKind::sim, model::ModelKind::twin,
                                           model::ModelKind::eta),
                         [](auto const& of) { return model::to_string(of.param); });

TEST_P(EveryModel, HugeAttentionLogitsMatchTheReference) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : test::backend_cases(of_model(test::even_shape()))) {
        if (c.strategy.value_type == kv::ValueType::fp16 || reads_back(c.strategy)) continue;
        if (c.variant.variant != model::Variant::full && c.variant.d_u != 1) continue;
        SCOPED_TRACE(c.name);
        auto weights = *test::case_weights(c, catalogue);
        // Attention logits in the tens of thousands: exp of a difference may underflow, never
        // overflow, and the softmax is a hard choice that rounding does not turn.
        for (float& w : weights.short_site.wq) w *= 1e5F;
        for (float& w : weights.long_site.wq) w *= 1e5F;
        auto const shared = std::make_shared<model::SimWeights const>(weights);
        auto const backend = make_backend(shared, c.strategy, catalogue);
        compare(c, *backend, ReferenceModel(*shared), test::random_history(50, kItems, 1),
                {3, 9, 20});
    }
}

TEST_P(EveryModel, RandomIndicesChooseOtherRowsThanTheRouter) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase c{"",
                  of_model(test::even_shape()),
                  {model::Variant::collective, model::Scope::all, 1, 40},
                  {}};
    c.strategy.kind = kv::StrategyKind::collective;
    auto const own = fixed_logits(c);
    c.strategy.random_indices = true;
    auto const random = fixed_logits(c);
    EXPECT_NE(own, random);
    EXPECT_EQ(random, fixed_logits(c));
}

/// The control attends over the same V with one K for all, the mean of what full KV keeps.
TEST_P(EveryModel, MeanKeysReplaceEveryKey) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase c{"", of_model(test::even_shape()), {}, {}};
    auto const weights = test::case_weights(c, catalogue);
    auto const plain = test::stored_rows(c, weights, catalogue);
    auto const mean_of = [](test::ReferenceRows::Table const& rows) {
        std::vector<double> mean(rows.front().size(), 0.0);
        for (std::size_t item = 1; item < rows.size(); ++item) {
            for (std::size_t i = 0; i < mean.size(); ++i)
                mean[i] += rows[item][i] / static_cast<double>(rows.size() - 1);
        }
        return test::ReferenceRows::Table(rows.size(), mean);
    };
    test::ReferenceOptions options;
    options.rows.short_k = mean_of(plain.short_k);
    options.rows.long_k = mean_of(plain.long_k);
    auto const own = fixed_logits(c);
    c.strategy.mean_keys = true;
    EXPECT_NE(own, fixed_logits(c));
    auto const kept = test::stored_rows(c, weights, catalogue);
    for (std::size_t item = 0; item <= kItems; ++item) {
        EXPECT_EQ(kept.long_v[item], plain.long_v[item]);
        for (std::size_t i = 0; i < kept.long_k[item].size(); ++i)
            EXPECT_NEAR(kept.long_k[item][i], options.rows.long_k[item][i], 1e-6);
    }
    auto const backend = make_backend(weights, c.strategy, catalogue);
    compare(c, *backend, ReferenceModel(*weights, options), test::random_history(50, kItems, 7),
            {3, 9, 20});
}

TEST_P(EveryModel, ForcedIndicesReplaceTheRouter) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase c{"",
                  of_model(test::even_shape()),
                  {model::Variant::collective, model::Scope::all, 2, 40},
                  {}};
    c.strategy.kind = kv::StrategyKind::collective;
    auto const weights = test::case_weights(c, catalogue);
    ForcedIndices forced;
    CounterRng rng(3, Purpose::test, 0);
    for (auto* list : {&forced.short_k, &forced.short_v, &forced.long_k, &forced.long_v}) {
        for (std::uint32_t item = 0; item <= kItems; ++item) list->push_back(rng.below(40));
    }
    test::ReferenceOptions options;
    options.indices = {forced.short_k, forced.short_v, forced.long_k, forced.long_v};
    ReferenceModel const reference(*weights, options);
    auto const history = test::random_history(30, kItems, 5);
    for (auto const keying : {kv::Keying::user_token, kv::Keying::item}) {
        c.strategy.keying = keying;
        BackendOptions backend_options;
        backend_options.forced = &forced;
        auto const backend = make_backend(weights, c.strategy, catalogue, backend_options);
        compare(c, *backend, reference, history, {1, 2, 3});
    }
    // Every token on one pool row is a valid (degenerate) choice.
    for (auto* list : {&forced.short_k, &forced.short_v, &forced.long_k, &forced.long_v})
        list->assign(kItems + 1, 17);
    test::ReferenceOptions same;
    same.indices = {forced.short_k, forced.short_v, forced.long_k, forced.long_v};
    BackendOptions backend_options;
    backend_options.forced = &forced;
    auto const backend = make_backend(weights, c.strategy, catalogue, backend_options);
    compare(c, *backend, ReferenceModel(*weights, same), history, {1, 2, 3});
}

TEST(Backend, RouterArgMaxMatchesTheReference) {
    auto const catalogue = test::small_catalogue(500);
    BackendCase const c{
        "", test::odd_shape(), {model::Variant::collective, model::Scope::all, 1, 333}, {}};
    auto const weights = test::case_weights(c, catalogue);
    ReferenceModel const reference(*weights);
    for (auto const* side : {&weights->short_site.k, &weights->short_site.v, &weights->long_site.k,
                             &weights->long_site.v}) {
        EXPECT_EQ(arg_max_indices(*weights, *side), reference.arg_max_table(*side));
    }
}

TEST_P(EveryModel, NewerTokensWinTies) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase c{"", of_model(test::even_shape()), {}, {}};
    for (auto const kind :
         {kv::StrategyKind::recompute, kv::StrategyKind::full, kv::StrategyKind::item_table}) {
        c.strategy.kind = kind;
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        std::uint32_t const n = 100;
        Served served(*backend, std::vector<ItemId>(n, 5), n);
        served.logits({9, 10}, {});
        std::vector<std::uint32_t> newest(c.shape.top_k);
        std::iota(newest.begin(), newest.end(), n - c.shape.top_k);
        EXPECT_EQ(served.chosen(0), newest);
        EXPECT_EQ(served.chosen(1), newest);
    }
}

TEST(Backend, TwinChoosesByTheKeysItAttendsTo) {
    // With the long site's wk turned round every score changes its sign: TWIN then chooses other
    // tokens, SIM, which has search keys of its own, the same.
    auto const catalogue = test::small_catalogue(kItems);
    auto const history = test::random_history(60, kItems, 4);
    for (auto const kind : {model::ModelKind::sim, model::ModelKind::twin}) {
        BackendCase c{"", test::even_shape(), {}, {}};
        c.shape.kind = kind;
        auto weights = *test::case_weights(c, catalogue);
        auto const plain =
            make_backend(std::make_shared<model::SimWeights const>(weights), c.strategy, catalogue);
        for (float& w : weights.long_site.k.w) w = -w;
        auto const turned =
            make_backend(std::make_shared<model::SimWeights const>(weights), c.strategy, catalogue);
        Served first(*plain, history, 60);
        Served second(*turned, history, 60);
        first.logits({9}, {});
        second.logits({9}, {});
        EXPECT_EQ(first.chosen(0) == second.chosen(0), kind == model::ModelKind::sim);
    }
}

TEST(Backend, TwinChoosesByTheBitsItKeeps) {
    // Fewer bits move the keys and some choices with them: never of rows as they were.
    auto const catalogue = test::small_catalogue(kItems);
    auto const history = test::random_history(140, kItems, 4);
    auto const candidates = test::random_history(60, kItems, 3);
    auto const chosen_by = [&](kv::ValueType type) {
        BackendCase c{"", test::twin_of(test::even_shape()), {}, {}};
        c.strategy.value_type = type;
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        Served served(*backend, history, 140);
        served.logits(candidates, {});
        std::vector<std::vector<std::uint32_t>> lists;
        for (std::size_t i = 0; i < candidates.size(); ++i) lists.push_back(served.chosen(i));
        return lists;
    };
    auto const plain = chosen_by(kv::ValueType::fp32);
    std::size_t shared[2] = {};
    for (auto const type : {kv::ValueType::int8, kv::ValueType::int4}) {
        auto const own = chosen_by(type);
        for (std::size_t i = 0; i < own.size(); ++i) {
            for (std::uint32_t const position : own[i])
                shared[type == kv::ValueType::int8 ? 0 : 1] += static_cast<std::size_t>(
                    std::count(plain[i].begin(), plain[i].end(), position));
        }
    }
    EXPECT_GT(shared[0], shared[1]) << "eight bits keep more of the choices than four";
    EXPECT_GT(shared[1], candidates.size() * 5) << "and four more than half of them";
}

TEST(Backend, OnePoolRowLeavesTwinTheNewestTokens) {
    // m = 1, d_u = 0: all keys are equal, the choice is by age alone.
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase c{"",
                  test::twin_of(test::even_shape()),
                  {model::Variant::collective, model::Scope::all, 0, 1},
                  {}};
    c.strategy.kind = kv::StrategyKind::collective;
    auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
    std::uint32_t const n = 90;
    Served served(*backend, test::random_history(n, kItems, 2), n);
    served.logits({9, 10, 11}, {});
    std::vector<std::uint32_t> newest(c.shape.top_k);
    std::iota(newest.begin(), newest.end(), n - c.shape.top_k);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(served.chosen(i), newest);
}

TEST(Backend, EtaChoosesByTheSidesOfItsHyperplanesAlone) {
    // Neither longer planes nor other projections of the long branch move a choice; other planes
    // do.
    auto const catalogue = test::small_catalogue(kItems);
    auto const history = test::random_history(60, kItems, 4);
    BackendCase const c{"", test::eta_of(test::even_shape()), {}, {}};
    auto const chosen_with = [&](auto const& change) {
        auto weights = *test::case_weights(c, catalogue);
        change(weights);
        auto const backend =
            make_backend(std::make_shared<model::SimWeights const>(weights), c.strategy, catalogue);
        Served served(*backend, history, 60);
        served.logits({9}, {});
        return served.chosen(0);
    };
    auto const plain = chosen_with([](auto&) {});
    EXPECT_EQ(plain, chosen_with([](auto& w) {
                  for (float& x : w.hash_planes) x *= 8.0F;
                  for (float& x : w.long_site.k.w) x = -x;
              }));
    EXPECT_EQ(plain, chosen_with([](auto& w) {
                  for (float& x : w.hash_planes) x = -x;
              }))
        << "both sides of a plane change names";
    EXPECT_NE(plain, chosen_with([&](auto& w) {
                  w.hash_planes = test::case_weights(c, catalogue, 6)->hash_planes;
              }));
}

TEST(Backend, EtaFindsTheCandidatesOwnItemFirst) {
    auto const catalogue = test::small_catalogue(kItems);
    for (auto const kind :
         {kv::StrategyKind::recompute, kv::StrategyKind::full, kv::StrategyKind::item_table}) {
        BackendCase c{"", test::eta_of(test::odd_shape()), {}, {}};
        c.strategy.kind = kind;
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        // Item 9 stands at the oldest places, where ties would never choose it.
        auto history = test::random_history(97, 8, 2);
        history[0] = history[3] = 9;
        Served served(*backend, history, 97);
        served.logits({9}, {});
        auto const chosen = served.chosen(0);
        ASSERT_EQ(chosen.size(), c.shape.top_k);
        EXPECT_EQ(chosen[0], 0U);
        EXPECT_EQ(chosen[1], 3U);
    }
}

TEST(Backend, RefusesWhatItCannotServe) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase c{"", test::tiny_shape(), {}, {}};
    auto const weights = test::case_weights(c, catalogue);
    c.strategy.kind = kv::StrategyKind::collective;
    EXPECT_THROW(make_backend(weights, c.strategy, catalogue), InternalError);
    EXPECT_THROW(make_backend(weights, {}, test::small_catalogue(kItems + 1)), InternalError);
    BackendCase keys{"", test::twin_of(test::tiny_shape()), {}, {}};
    keys.variant = {model::Variant::collective, model::Scope::all, 1, 4};
    keys.strategy.kind = kv::StrategyKind::collective;
    keys.strategy.search_keys = kv::SearchKeys::item_table;
    EXPECT_THROW(make_backend(test::case_weights(keys, catalogue), keys.strategy, catalogue),
                 InternalError);
    c.strategy.kind = kv::StrategyKind::low_rank;
    c.strategy.rank = c.shape.attention_dim + 1;
    EXPECT_THROW(make_backend(weights, c.strategy, catalogue), InternalError);
    c.strategy.kind = kv::StrategyKind::vq;
    c.strategy.subspaces = 3;
    EXPECT_THROW(make_backend(weights, c.strategy, catalogue), InternalError);
    auto const backend = make_backend(weights, {}, catalogue);
    Served served(*backend, {1, 2, 3}, 10);
    EXPECT_THROW(served.logits({kItems + 1}, {}), InternalError);
    EXPECT_THROW(served.logits({1}, {3}), InternalError);
    std::vector<std::uint32_t> const beyond(c.shape.top_k, 3);
    EXPECT_THROW(served.logits({1}, {}, &beyond), InternalError);
    EXPECT_THROW(Served(*backend, {1, kItems + 1}, 10), InternalError);
    BackendOptions options;
    options.memo_tables = false;
    auto const plain = make_backend(weights, {}, catalogue, options);
    auto const scratch = plain->make_scratch();
    std::vector<std::byte> entry(plain->layout().entry_bytes(4));
    std::vector<ItemId> const one = {1};
    EXPECT_THROW(plain->encode(one, 4, decode::EncodeMode::memo, entry.data(), *scratch),
                 InternalError);
}

}  // namespace
}  // namespace ckvsim::device::cpu
