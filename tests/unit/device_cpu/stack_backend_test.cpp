// HSTU on the CPU: scores against the layers in double precision; entries that do not depend on how
// a history is cut into appends; candidates that do not see each other; what falls out of the
// window; bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "backend_cases.hpp"
#include "core/error.hpp"
#include "device/cpu/kernels.hpp"
#include "device/cpu/quantised_rows.hpp"
#include "model/weight_shapes.hpp"
#include "reference_stack.hpp"
#include "stored_rows.hpp"

namespace ckvsim::device::cpu {
namespace {

using decode::EncodeMode;
using kv::LayerPart;
using test::BackendCase;

constexpr std::uint32_t kItems = 60;
constexpr std::byte kPoison{0xA5};

std::vector<BackendCase> all_cases() {
    std::vector<BackendCase> all;
    for (auto const& shape : test::stack_shapes()) {
        for (auto const& cases : {test::stack_cases(shape), test::stack_code_cases(shape)})
            all.insert(all.end(), cases.begin(), cases.end());
    }
    return all;
}

std::vector<std::vector<ItemId>> const& fitted_to() {
    static auto const histories = test::fitted_histories(kItems);
    return histories;
}

bool is_coded(BackendCase const& c) {
    return c.strategy.kind == kv::StrategyKind::low_rank || c.strategy.kind == kv::StrategyKind::vq;
}

/// Codes are fitted once per case: names tell cases apart.
std::shared_ptr<decode::Backend const> backend_of(
    BackendCase const& c, std::shared_ptr<model::SimWeights const> const& weights,
    workload::Catalogue const& catalogue) {
    static std::map<std::string, std::shared_ptr<decode::Backend const>> fitted;
    BackendOptions options;
    options.histories = fitted_to();
    if (!is_coded(c)) return make_backend(weights, c.strategy, catalogue, options);
    auto& backend = fitted[c.name];
    if (!backend) backend = make_backend(weights, c.strategy, catalogue, options);
    return backend;
}

/// One backend and an entry of its own.
class Served {
  public:
    Served(BackendCase const& c, workload::Catalogue const& catalogue, std::uint32_t room)
        : weights(test::case_weights(c, catalogue)),
          backend(backend_of(c, weights, catalogue)),
          scratch(backend->make_scratch()),
          entry(backend->layout().entry_bytes(room), kPoison),
          capacity(room) {}

    void append(std::span<ItemId const> items) {
        tokens =
            backend->append(entry.data(), tokens, capacity, items, EncodeMode::compute, *scratch);
    }
    [[nodiscard]] std::vector<float> features(std::vector<ItemId> const& candidates) const {
        std::vector<float> result(candidates.size() * backend->feature_width(), -77.0F);
        std::vector<std::uint32_t> chosen(candidates.size() * weights->shape.top_k);
        decode::ScoreRequest request;
        request.entry = {entry.data(), tokens, capacity};
        request.candidates = candidates.data();
        request.count = static_cast<std::uint32_t>(candidates.size());
        request.chosen_top_k = chosen.data();
        backend->decode(request, result.data(), *scratch);
        EXPECT_EQ(std::count(chosen.begin(), chosen.end(), 0xFFFFFFFFU),
                  static_cast<std::ptrdiff_t>(chosen.size()));
        return result;
    }
    [[nodiscard]] std::vector<float> logits(std::vector<ItemId> const& candidates) const {
        auto const rows = features(candidates);
        std::vector<float> result(candidates.size());
        backend->tower(rows.data(), static_cast<std::uint32_t>(candidates.size()), result.data(),
                       *scratch);
        return result;
    }
    /// Stored pool row of a token in a layer.
    [[nodiscard]] std::uint32_t index(std::uint32_t layer, LayerPart part,
                                      std::size_t token) const {
        auto const section = kv::layer_section(layer, part);
        auto const& layout = backend->layout();
        std::uint32_t value = 0;
        std::memcpy(&value,
                    entry.data() + layout.offset(section, capacity) +
                        token * layout.bytes_per_token(section),
                    layout.bytes_per_token(section));
        return value;
    }

    std::shared_ptr<model::SimWeights const> weights;
    std::shared_ptr<decode::Backend const> backend;
    std::unique_ptr<decode::Scratch> scratch;
    std::vector<std::byte> entry;
    std::uint32_t capacity;
    std::uint32_t tokens = 0;
};

/// The rows that serving chose, the candidate's as if it were one more token of the history.
test::StackIndices chosen_rows(BackendCase const& c, workload::Catalogue const& catalogue,
                               std::vector<ItemId> history, ItemId candidate) {
    history.push_back(candidate);
    Served served(c, catalogue, static_cast<std::uint32_t>(history.size()));
    served.append(history);
    test::StackIndices indices(c.shape.layers);
    for (std::uint32_t layer = 0; layer < c.shape.layers; ++layer) {
        for (std::size_t t = 0; t < history.size(); ++t) {
            indices[layer][0].push_back(served.index(layer, LayerPart::k_index, t));
            indices[layer][1].push_back(served.index(layer, LayerPart::v_index, t));
        }
    }
    return indices;
}

double probability(double logit) { return 1.0 / (1.0 + std::exp(-logit)); }

class EveryStackCase : public ::testing::TestWithParam<std::size_t> {
  protected:
    static std::vector<BackendCase> cases() {
        auto const shape = test::stack_shapes()[GetParam()];
        auto all = test::stack_cases(shape);
        for (auto const& c : test::stack_code_cases(shape)) all.push_back(c);
        return all;
    }
};

TEST_P(EveryStackCase, ScoresMatchTheReference) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : cases()) {
        bool const coded = is_coded(c);
        bool const halves = c.strategy.value_type == kv::ValueType::fp16 && !coded;
        bool const pools = c.variant.variant == model::Variant::collective;
        // What is kept is read back, and judged beside what it stands for.
        bool const packed = coded || (is_quantised(c.strategy.value_type) &&
                                      c.strategy.kind != kv::StrategyKind::recompute);
        auto const codes =
            fit_stack_codes(*test::case_weights(c, catalogue), c.strategy, fitted_to());
        // A state that is rounded to halves is carried through norms and layers.
        double const tolerance = halves ? 4e-3 : 2e-5;
        std::size_t const longest = c.shape.max_tokens;
        for (std::size_t const n : {std::size_t{0}, std::size_t{1}, std::size_t{5}, longest - 1}) {
            SCOPED_TRACE(c.name + ", " + std::to_string(n) + " tokens");
            auto const history = test::random_history(n, kItems, n);
            Served served(c, catalogue, c.shape.max_tokens);
            served.append(history);
            std::vector<ItemId> const candidates = {7, 7, 31};
            auto const logits = served.logits(candidates);
            for (std::size_t i = 0; i < candidates.size(); ++i) {
                test::ReferenceOptions options;
                options.half_values = halves;
                if (pools) options.stack = chosen_rows(c, catalogue, history, candidates[i]);
                if (packed) {
                    auto tokens = history;
                    tokens.push_back(candidates[i]);
                    options.stack_rows = test::stored_stack(*served.backend, tokens, codes);
                    if (coded) options.stack_loss = test::stack_loss_of(c, codes);
                }
                test::ReferenceModel const reference(*served.weights, options);
                auto const expected = reference.score(history, candidates[i], 0);
                EXPECT_NEAR(probability(logits[i]), probability(expected.logit), tolerance);
                if (!pools && !packed) continue;
                test::ReferenceStack const stack(*served.weights, options);
                (void)stack.output(history, candidates[i]);
                EXPECT_LE(stack.largest_shortfall(), halves ? 2e-2 : 1e-5);
                EXPECT_LE(stack.largest_displacement(), 1e-5);
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, EveryStackCase, ::testing::Range<std::size_t>(0, 5));

TEST(StackBackend, EntriesDoNotDependOnHowAHistoryIsCut) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : all_cases()) {
        SCOPED_TRACE(c.name);
        std::uint32_t const capacity = c.shape.max_tokens;
        auto const history = test::random_history(capacity, kItems, 3);
        Served whole(c, catalogue, capacity);
        whole.append(history);
        EXPECT_EQ(whole.tokens, capacity);
        for (std::size_t const part : {1U, 3U, 33U}) {
            Served pieces(c, catalogue, capacity);
            for (std::size_t at = 0; at < history.size(); at += part)
                pieces.append(std::span(history).subspan(at, std::min(part, history.size() - at)));
            EXPECT_EQ(pieces.tokens, whole.tokens);
            EXPECT_EQ(pieces.entry, whole.entry) << part << " at a time";
        }
    }
}

TEST(StackBackend, ExactlyThePayloadIsWritten) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : all_cases()) {
        SCOPED_TRACE(c.name);
        for (std::uint32_t const n : {0U, 1U, 5U, 38U}) {
            Served served(c, catalogue, 39);
            served.append(test::random_history(n, kItems, n));
            auto const& layout = served.backend->layout();
            auto rest = served.entry;
            std::size_t payload = 0;
            for (std::size_t s = 0; s < kv::kSections; ++s) {
                auto const section = static_cast<kv::Section>(s);
                std::size_t const bytes = layout.payload_bytes(n, section);
                auto const start =
                    rest.begin() + static_cast<std::ptrdiff_t>(layout.offset(section, 39));
                EXPECT_TRUE(n == 0 || bytes == 0 ||
                            std::any_of(start, start + static_cast<std::ptrdiff_t>(bytes),
                                        [](std::byte b) { return b != kPoison; }));
                std::fill_n(start, bytes, kPoison);
                payload += bytes;
            }
            EXPECT_EQ(payload, layout.payload_bytes(n));
            EXPECT_EQ(std::count(rest.begin(), rest.end(), kPoison),
                      static_cast<std::ptrdiff_t>(rest.size()));
        }
    }
}

TEST(StackBackend, CandidatesDoNotSeeEachOther) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : all_cases()) {
        SCOPED_TRACE(c.name);
        Served served(c, catalogue, c.shape.max_tokens);
        served.append(test::random_history(c.shape.max_tokens, kItems, 5));
        std::size_t const width = served.backend->feature_width();
        // More than go through the layers together.
        auto const many = test::random_history(300, kItems, 6);
        auto const all = served.features(many);
        for (std::size_t const first : {0U, 127U, 128U, 299U}) {
            auto const alone = served.features({many[first]});
            EXPECT_TRUE(std::equal(alone.begin(), alone.end(),
                                   all.begin() + static_cast<std::ptrdiff_t>(first * width)))
                << "candidate " << first;
        }
        auto const few = served.features({many[4], many[250], many[4]});
        EXPECT_TRUE(std::equal(few.begin(), few.begin() + static_cast<std::ptrdiff_t>(width),
                               all.begin() + static_cast<std::ptrdiff_t>(4 * width)));
    }
}

TEST(StackBackend, LossGrowsAsBitsShrink) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const history = test::random_history(100, kItems, 2);
    auto const candidates = test::random_history(20, kItems, 3);
    auto const logits_of = [&](kv::ValueType type) {
        BackendCase c{"", test::hstu_of(test::even_shape()), {}, {}};
        c.strategy.value_type = type;
        Served served(c, catalogue, 100);
        served.append(history);
        return served.logits(candidates);
    };
    auto const plain = logits_of(kv::ValueType::fp32);
    double before = 0.0;
    for (auto const type : {kv::ValueType::fp16, kv::ValueType::int8, kv::ValueType::int4}) {
        auto const own = logits_of(type);
        double most = 0.0;
        for (std::size_t i = 0; i < own.size(); ++i)
            most = std::max(most, std::abs(probability(own[i]) - probability(plain[i])));
        EXPECT_GT(most, before) << kv::to_string(type);
        before = most;
    }
    EXPECT_LT(before, 0.3) << "four bits still score alike";
}

TEST(StackBackend, TheOrderAndTheDistanceOfTokensMatter) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase const c = test::stack_cases(test::hstu_of(test::even_shape()))[3];
    Served there(c, catalogue, 20);
    Served back(c, catalogue, 20);
    there.append(std::vector<ItemId>{1, 2, 3, 4, 5});
    back.append(std::vector<ItemId>{5, 4, 3, 2, 1});
    EXPECT_NE(there.logits({7}), back.logits({7}));
}

/// After the oldest tokens fell out: exact where nothing kept depends on them.
TEST(StackBackend, WhatFellOutOfTheWindowIsRememberedByDeeperLayersAlone) {
    auto const catalogue = test::small_catalogue(kItems);
    constexpr std::uint32_t kCapacity = 20;
    auto const history = test::random_history(kCapacity + 7, kItems, 8);
    for (BackendCase const& c : all_cases()) {
        SCOPED_TRACE(c.name);
        Served appended(c, catalogue, kCapacity);
        appended.append(std::span(history).first(kCapacity));
        appended.append(std::span(history).last(7));
        Served encoded(c, catalogue, kCapacity);
        encoded.append(history);
        EXPECT_EQ(appended.tokens, kCapacity);
        EXPECT_EQ(encoded.tokens, kCapacity);
        auto const& layout = appended.backend->layout();
        bool const exact = kv::append_rule(c.strategy, c.shape) == kv::AppendRule::exact;
        if (exact) {
            EXPECT_EQ(appended.entry, encoded.entry);
        }
        for (auto const part :
             {LayerPart::k, LayerPart::v, LayerPart::k_index, LayerPart::v_user}) {
            auto const section = kv::layer_section(0, part);
            if (!layout.has(section)) continue;
            std::size_t const at = layout.offset(section, kCapacity);
            EXPECT_EQ(std::memcmp(appended.entry.data() + at, encoded.entry.data() + at,
                                  layout.payload_bytes(kCapacity, section)),
                      0)
                << kv::to_string(section);
        }
        bool const full = c.strategy.kind == kv::StrategyKind::full;
        if (full && !exact) {
            EXPECT_NE(appended.entry, encoded.entry);
        }
    }
}

TEST(StackBackend, SharedBytesAreNamedAsPredicted) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : all_cases()) {
        SCOPED_TRACE(c.name);
        Served const served(c, catalogue, 1);
        auto const predicted = kv::shared_bytes(c.shape, c.variant, c.strategy, catalogue, 3);
        auto const allocated = served.backend->allocated_shared();
        ASSERT_EQ(allocated.size(), predicted.size());
        std::size_t largest_padding = 0;
        for (std::size_t i = 0; i < predicted.size(); ++i) {
            EXPECT_EQ(allocated[i].what, predicted[i].what);
            EXPECT_GE(allocated[i].bytes, predicted[i].bytes) << predicted[i].what;
            largest_padding = std::max(largest_padding, allocated[i].bytes - predicted[i].bytes);
        }
        EXPECT_GT(largest_padding, 0U) << "odd widths are padded";
    }
}

TEST(StackBackend, RandomIndicesReplaceTheRouters) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase c = test::stack_cases(test::hstu_of(test::tiny_shape())).back();
    c.variant.m = 6;
    Served routed(c, catalogue, 30);
    c.strategy.random_indices = true;
    Served random(c, catalogue, 30);
    auto const history = test::random_history(30, kItems, 4);
    routed.append(history);
    random.append(history);
    std::size_t moved = 0;
    for (std::size_t t = 0; t < 30; ++t) {
        EXPECT_LT(random.index(1, LayerPart::v_index, t), 6U);
        moved += random.index(1, LayerPart::v_index, t) != routed.index(1, LayerPart::v_index, t);
        // An item has one row of a layer and side, whatever came before it.
        if (history[t] == history[0]) {
            EXPECT_EQ(random.index(1, LayerPart::k_index, t),
                      random.index(1, LayerPart::k_index, 0));
        }
    }
    EXPECT_GT(moved, 10U);
}

TEST(StackBackend, RefusesTooLongHistoriesAndForeignItems) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase const c = test::stack_cases(test::hstu_of(test::tiny_shape()))[3];
    Served served(c, catalogue, c.shape.max_tokens + 1);
    auto const history = test::random_history(c.shape.max_tokens + 1, kItems, 1);
    EXPECT_THROW(served.append(history), InternalError);
    EXPECT_THROW(served.append(std::vector<ItemId>{kItems + 1}), InternalError);
    EXPECT_THROW((void)served.features({kItems + 1}), InternalError);
}

TEST(StackBackend, BucketsOfPositions) {
    EXPECT_EQ(model::position_bucket(0), 0U);
    EXPECT_EQ(model::position_bucket(15), 15U);
    EXPECT_EQ(model::position_bucket(16), 16U);
    EXPECT_EQ(model::position_bucket(18), 16U);
    EXPECT_EQ(model::position_bucket(19), 17U);
    EXPECT_EQ(model::position_bucket(127), 31U);
    EXPECT_EQ(model::position_bucket(128), 31U);
    EXPECT_EQ(model::position_bucket(100'000), 31U);
    for (std::uint32_t distance = 1; distance < 200; ++distance)
        EXPECT_LE(model::position_bucket(distance - 1), model::position_bucket(distance));
}

}  // namespace
}  // namespace ckvsim::device::cpu
