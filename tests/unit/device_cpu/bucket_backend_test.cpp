// What SDIM's long branch sees, and what it does not.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "backend_cases.hpp"
#include "core/error.hpp"
#include "reference_model.hpp"

namespace ckvsim::device::cpu {
namespace {

using test::BackendCase;

constexpr std::uint32_t kItems = 60;

BackendCase sdim_case(kv::StrategyKind kind, std::uint32_t hashes = 4, std::uint32_t bits = 2) {
    BackendCase c{"", test::sdim_of(test::even_shape(), hashes, bits), {}, {}};
    c.strategy.kind = kind;
    return c;
}

constexpr std::array kKinds = {kv::StrategyKind::recompute, kv::StrategyKind::full,
                               kv::StrategyKind::item_table};

/// The long branch's columns of one candidate's features.
std::vector<float> long_branch(decode::Backend const& backend, std::vector<ItemId> const& history,
                               ItemId candidate) {
    auto const scratch = backend.make_scratch();
    auto const capacity = backend.weights().shape.max_tokens;
    std::vector<std::byte> entry(backend.layout().entry_bytes(capacity));
    std::vector<float> features(backend.feature_width());
    decode::ScoreRequest request;
    request.entry = {
        entry.data(),
        backend.encode(history, capacity, decode::EncodeMode::compute, entry.data(), *scratch),
        capacity};
    request.candidates = &candidate;
    request.count = 1;
    backend.decode(request, features.data(), *scratch);
    auto const begin = features.begin() + 2 * backend.weights().d_e;
    return {begin, begin + backend.weights().d_e};
}

/// Items that share no bucket with the candidate, and items that share one at least.
struct Neighbours {
    Neighbours(model::SimWeights const& weights, ItemId candidate) {
        auto const table = test::ReferenceModel(weights).bucket_table();
        std::size_t const hashes = weights.shape.hashes;
        for (ItemId item = 1; item <= weights.items; ++item) {
            std::size_t shared = 0;
            for (std::size_t h = 0; h < hashes; ++h)
                shared += table[item * hashes + h] == table[candidate * hashes + h] ? 1 : 0;
            if (item != candidate) (shared == 0 ? strangers : neighbours).push_back(item);
        }
    }
    std::vector<ItemId> strangers;
    std::vector<ItemId> neighbours;
};

TEST(SdimBackend, OnlyTokensInTheCandidatesBucketsCount) {
    auto const catalogue = test::small_catalogue(kItems);
    for (auto const kind : kKinds) {
        auto const c = sdim_case(kind);
        auto const weights = test::case_weights(c, catalogue);
        auto const backend = make_backend(weights, c.strategy, catalogue);
        Neighbours const of(*weights, 9);
        ASSERT_GT(of.strangers.size(), 3U);
        ASSERT_GT(of.neighbours.size(), 3U);
        EXPECT_EQ(long_branch(*backend, of.strangers, 9), std::vector<float>(weights->d_e, 0.0F))
            << "no collision";
        auto mixed = of.neighbours;
        auto const alone = long_branch(*backend, mixed, 9);
        EXPECT_NE(alone, std::vector<float>(weights->d_e, 0.0F));
        for (std::size_t i = 0; i < of.strangers.size(); ++i)
            mixed.insert(mixed.begin() + static_cast<std::ptrdiff_t>(i * 2 % mixed.size()),
                         of.strangers[i]);
        EXPECT_EQ(long_branch(*backend, mixed, 9), alone);
        mixed.push_back(of.neighbours.front());
        EXPECT_NE(long_branch(*backend, mixed, 9), alone);
    }
}

TEST(SdimBackend, OneTokenOfTheCandidatesItemIsItsDirection) {
    auto const catalogue = test::small_catalogue(kItems);
    for (auto const kind : kKinds) {
        auto const c = sdim_case(kind);
        auto const weights = test::case_weights(c, catalogue);
        auto const backend = make_backend(weights, c.strategy, catalogue);
        float const* e = weights->item_embeddings.data() + std::size_t{9} * weights->d_e;
        double square = 0.0;
        for (std::size_t i = 0; i < weights->d_e; ++i) square += double{e[i]} * e[i];
        // However often it occurs: sums are brought to unit length.
        for (std::size_t const times : {1U, 5U}) {
            auto const out = long_branch(*backend, std::vector<ItemId>(times, 9), 9);
            for (std::size_t i = 0; i < out.size(); ++i)
                EXPECT_NEAR(out[i], e[i] / std::sqrt(square), 1e-6);
        }
    }
}

TEST(SdimBackend, ForcedBucketsReplaceThePlanes) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const history = test::random_history(40, kItems, 5);
    for (auto const kind : kKinds) {
        auto const c = sdim_case(kind);
        auto const weights = test::case_weights(c, catalogue);
        ForcedIndices forced;
        CounterRng rng(3, Purpose::test, 0);
        for (std::size_t i = 0; i < (kItems + 1) * 4; ++i)
            forced.buckets.push_back(static_cast<std::uint8_t>(rng.below(4)));
        BackendOptions options;
        options.forced = &forced;
        auto const backend = make_backend(weights, c.strategy, catalogue, options);
        test::ReferenceOptions as_forced;
        as_forced.indices.buckets = forced.buckets;
        test::ReferenceModel const reference(*weights, as_forced);
        auto const scratch = backend->make_scratch();
        std::vector<std::byte> entry(backend->layout().entry_bytes(40));
        ItemId const candidate = 7;
        std::vector<float> features(backend->feature_width());
        decode::ScoreRequest request;
        request.entry = {
            entry.data(),
            backend->encode(history, 40, decode::EncodeMode::memo, entry.data(), *scratch), 40};
        request.candidates = &candidate;
        request.count = 1;
        backend->decode(request, features.data(), *scratch);
        float logit = 0.0F;
        backend->tower(features.data(), 1, &logit, *scratch);
        EXPECT_NEAR(logit, reference.score(history, candidate, 0).logit, 1e-4);
        EXPECT_GT(
            std::abs(logit - test::ReferenceModel(*weights).score(history, candidate, 0).logit),
            1e-3)
            << "the planes say something else";
        forced.buckets.back() = 4;
        EXPECT_THROW(make_backend(weights, c.strategy, catalogue, options), InternalError);
        forced.buckets.pop_back();
        EXPECT_THROW(make_backend(weights, c.strategy, catalogue, options), InternalError);
    }
}

TEST(SdimBackend, BucketsAreTheReferences) {
    auto const catalogue = test::small_catalogue(kItems);
    for (auto const& shape :
         {test::sdim_of(test::odd_shape()), test::sdim_of(test::tiny_shape(), 7, 5)}) {
        BackendCase const c{"", shape, {}, {}};
        auto const weights = test::case_weights(c, catalogue);
        EXPECT_EQ(item_buckets(weights), test::ReferenceModel(*weights).bucket_table());
    }
    BackendCase const sim{"", test::tiny_shape(), {}, {}};
    EXPECT_TRUE(item_buckets(test::case_weights(sim, catalogue)).empty());
}

TEST(SdimBackend, ScalingThePlanesChangesNothingTurningThemNamesOtherBuckets) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const history = test::random_history(60, kItems, 4);
    auto const c = sdim_case(kv::StrategyKind::full);
    auto const long_with = [&](float factor) {
        auto weights = *test::case_weights(c, catalogue);
        for (float& x : weights.hash_planes) x *= factor;
        auto const backend =
            make_backend(std::make_shared<model::SimWeights const>(weights), c.strategy, catalogue);
        return long_branch(*backend, history, 9);
    };
    auto const plain = long_with(1.0F);
    EXPECT_EQ(plain, long_with(8.0F));
    EXPECT_EQ(plain, long_with(-1.0F)) << "both sides of a plane change names";
}

TEST(SdimBackend, LossGrowsAsTheBitsOfSumsShrink) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const history = test::random_history(60, kItems, 4);
    double before = 0.0;
    std::vector<float> exact;
    for (auto const type :
         {kv::ValueType::fp32, kv::ValueType::fp16, kv::ValueType::int8, kv::ValueType::int4}) {
        auto c = sdim_case(kv::StrategyKind::full);
        c.strategy.value_type = type;
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        auto const out = long_branch(*backend, history, 9);
        if (exact.empty()) exact = out;
        double square = 0.0;
        for (std::size_t i = 0; i < out.size(); ++i)
            square += double{out[i] - exact[i]} * (out[i] - exact[i]);
        EXPECT_TRUE(type == kv::ValueType::fp32 || square > before) << kv::to_string(type);
        before = square;
    }
    EXPECT_LT(before, 0.02) << "of a row of length one at most";
}

TEST(SdimBackend, ScopeAllIsRefused) {
    auto const catalogue = test::small_catalogue(kItems);
    auto c = sdim_case(kv::StrategyKind::collective);
    c.variant = {model::Variant::collective, model::Scope::all, 1, 5};
    EXPECT_THROW(test::case_weights(c, catalogue), InternalError);
    c.variant.scope = model::Scope::released;
    EXPECT_NO_THROW(make_backend(test::case_weights(c, catalogue), c.strategy, catalogue));
}

}  // namespace
}  // namespace ckvsim::device::cpu
