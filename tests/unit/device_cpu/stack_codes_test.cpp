// What low_rank and vq of HSTU are fitted to, what they lose, and what they need.
#include "device/cpu/stack_codes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstring>

#include "backend_cases.hpp"
#include "core/error.hpp"

namespace ckvsim::device::cpu {
namespace {

using test::BackendCase;

constexpr std::uint32_t kItems = 60;

kv::StrategyParams low_rank(std::uint32_t rank, kv::ValueType type = kv::ValueType::fp32) {
    kv::StrategyParams strategy;
    strategy.kind = kv::StrategyKind::low_rank;
    strategy.value_type = type;
    strategy.rank = rank;
    return strategy;
}

kv::StrategyParams vq(std::uint32_t subspaces, std::uint32_t bits) {
    kv::StrategyParams strategy;
    strategy.kind = kv::StrategyKind::vq;
    strategy.subspaces = subspaces;
    strategy.code_bits = bits;
    return strategy;
}

std::shared_ptr<model::SimWeights const> weights_of(model::SimShape const& shape) {
    return test::case_weights({"", shape, {model::Variant::full, {}, 0, 1}, {}},
                              test::small_catalogue(kItems));
}

/// K (side 0) or V rows of one layer that full fp32 entries hold, history by history.
std::vector<std::vector<float>> kept_rows(std::shared_ptr<model::SimWeights const> const& weights,
                                          std::vector<std::vector<ItemId>> const& histories,
                                          std::uint32_t layer, std::size_t side) {
    auto const backend = make_backend(weights, {}, test::small_catalogue(kItems));
    auto const scratch = backend->make_scratch();
    std::uint32_t const capacity = weights->shape.max_tokens;
    std::vector<std::byte> entry(backend->layout().entry_bytes(capacity));
    auto const section = kv::layer_section(layer, side == 0 ? kv::LayerPart::k : kv::LayerPart::v);
    std::vector<std::vector<float>> rows;
    for (auto const& history : histories) {
        auto const tokens =
            backend->encode(history, capacity, decode::EncodeMode::compute, entry.data(), *scratch);
        rows.emplace_back(std::size_t{tokens} * weights->shape.attention_dim);
        if (tokens == 0) continue;
        std::memcpy(rows.back().data(), entry.data() + backend->layout().offset(section, capacity),
                    rows.back().size() * sizeof(float));
    }
    return rows;
}

void expect_same(SideCodes const& found, std::vector<float> const& rows, BackendCase const& c,
                 std::uint32_t number, std::uint64_t seed) {
    std::size_t const d = c.shape.attention_dim;
    if (c.strategy.kind == kv::StrategyKind::low_rank) {
        auto const expected = fit_basis(rows, d, c.strategy.rank, 1);
        EXPECT_EQ(found.basis->mean, expected.mean);
        EXPECT_EQ(found.basis->axes.data, expected.axes.data);
        EXPECT_EQ(found.basis->heads.at(0).data, expected.heads.at(0).data);
        return;
    }
    auto const expected = fit_codebook(rows, d, c.strategy.subspaces,
                                       kv::codewords(c.strategy, kItems), seed, number);
    EXPECT_EQ(found.codebook->rows, expected.rows);
}

/// Fits, and compares with a fit to `taken` evenly spaced rows of every history at most.
void expect_fitted_to(model::SimShape const& shape,
                      std::vector<std::vector<ItemId>> const& histories, std::size_t taken) {
    auto const weights = weights_of(shape);
    std::size_t const d = shape.attention_dim;
    for (auto const& strategy : {low_rank(2), vq(2, 4)}) {
        auto const codes = fit_stack_codes(*weights, strategy, histories);
        ASSERT_EQ(codes.size(), shape.layers);
        for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
            for (std::size_t side = 0; side < 2; ++side) {
                std::vector<float> rows;
                for (auto const& own : kept_rows(weights, histories, layer, side)) {
                    std::size_t const count = own.size() / d;
                    std::size_t const some = std::min(count, taken);
                    for (std::size_t i = 0; i < some; ++i) {
                        auto const from =
                            own.begin() + static_cast<std::ptrdiff_t>(i * count / some * d);
                        rows.insert(rows.end(), from, from + static_cast<std::ptrdiff_t>(d));
                    }
                }
                expect_same(codes[layer][side], rows, {"", shape, {}, strategy},
                            static_cast<std::uint32_t>(2 * layer + side), weights->training_seed);
            }
        }
    }
}

TEST(StackCodes, AreFittedToTheRowsThatFullKeepsOfEveryToken) {
    auto histories = test::fitted_histories(kItems);
    histories.push_back({});  // some have none, one has more than are seen
    histories.push_back(test::random_history(70, kItems, 1));
    expect_fitted_to(test::hstu_of(test::tiny_shape()), histories, 1000);
}

TEST(StackCodes, TakeEvenlySpacedTokensWhereThereAreTooMany) {
    std::vector<std::vector<ItemId>> histories;
    for (std::uint64_t h = 0; h < 1000; ++h)
        histories.push_back(test::random_history(h % 5 == 0 ? 7 : 40, kItems, h));
    auto shape = test::hstu_of(test::tiny_shape(), 1);
    expect_fitted_to(shape, histories, 33);  // 128 x 256 rows / 1,000, rounded up
}

TEST(StackCodes, AreTheSameForAnyNumberOfThreads) {
    auto const shape = test::hstu_of(test::odd_shape());
    auto const weights = weights_of(shape);
    auto const histories = test::fitted_histories(kItems);
    int const before = omp_get_max_threads();
    for (auto const& strategy : {low_rank(9), vq(3, 5)}) {
        omp_set_num_threads(1);
        auto const alone = fit_stack_codes(*weights, strategy, histories);
        omp_set_num_threads(3);
        auto const together = fit_stack_codes(*weights, strategy, histories);
        for (std::size_t layer = 0; layer < alone.size(); ++layer) {
            for (std::size_t side = 0; side < 2; ++side) {
                auto const& a = alone[layer][side];
                auto const& b = together[layer][side];
                if (a.basis) {
                    EXPECT_EQ(a.basis->axes.data, b.basis->axes.data);
                } else {
                    EXPECT_EQ(a.codebook->rows, b.codebook->rows);
                }
            }
        }
    }
    omp_set_num_threads(before);
}

TEST(StackCodes, NeedTokensOfTheCatalogue) {
    auto const weights = weights_of(test::hstu_of(test::tiny_shape()));
    std::vector<std::vector<ItemId>> histories;
    auto const why = [&] {
        try {
            fit_stack_codes(*weights, low_rank(2), histories);
        } catch (InternalError const& error) {
            return std::string(error.what());
        }
        return std::string("nothing");
    };
    EXPECT_THAT(why(), testing::HasSubstr("fitted to tokens of histories, but none were given"));
    histories = {{}, {}};
    EXPECT_THAT(why(), testing::HasSubstr("none were given"));
    histories = {{1, kItems + 1}};
    EXPECT_THAT(why(), testing::HasSubstr("beyond the catalogue"));
    EXPECT_TRUE(fit_stack_codes(*weights, {}, histories).empty()) << "full fits nothing";
}

/// Scores of one history through a strategy, whose codes are fitted to other histories.
std::vector<double> probabilities(model::SimShape const& shape,
                                  kv::StrategyParams const& strategy) {
    auto const histories = test::fitted_histories(kItems);
    BackendOptions options;
    options.histories = histories;
    auto const backend =
        make_backend(weights_of(shape), strategy, test::small_catalogue(kItems), options);
    auto const scratch = backend->make_scratch();
    auto const history = test::random_history(90, kItems, 2);
    auto const candidates = test::random_history(40, kItems, 3);
    std::vector<std::byte> entry(backend->layout().entry_bytes(90));
    decode::ScoreRequest request;
    request.entry = {
        entry.data(),
        backend->encode(history, 90, decode::EncodeMode::compute, entry.data(), *scratch), 90};
    request.candidates = candidates.data();
    request.count = 40;
    std::vector<float> features(40 * std::size_t{backend->feature_width()});
    std::vector<float> logits(40);
    backend->decode(request, features.data(), *scratch);
    backend->tower(features.data(), 40, logits.data(), *scratch);
    std::vector<double> result;
    for (float const logit : logits) result.push_back(1.0 / (1.0 + std::exp(-logit)));
    return result;
}

double rms(std::vector<double> const& a, std::vector<double> const& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(a[i] - b[i], 2);
    return std::sqrt(sum / static_cast<double>(a.size()));
}

TEST(StackCodes, ErrorFallsWithTheRankAndAllAxesGiveTheRowsBack) {
    for (auto const& shape :
         {test::hstu_of(test::even_shape()), test::hstu_of(test::odd_shape())}) {
        auto const full = probabilities(shape, {});
        double before = 1.0;
        for (std::uint32_t const rank : {1U, 8U, 16U, 32U}) {
            double const now = rms(probabilities(shape, low_rank(rank)), full);
            EXPECT_LT(now, before) << "rank " << rank;
            before = now;
        }
        EXPECT_GT(before, 1e-7) << "a part of the axes loses something";
        EXPECT_LT(rms(probabilities(shape, low_rank(shape.attention_dim)), full), 2e-6);
        EXPECT_LT(
            rms(probabilities(shape, low_rank(shape.attention_dim, kv::ValueType::fp16)), full),
            2e-3);
    }
}

TEST(StackCodes, ErrorFallsWithTheBitsOfATokensCodes) {
    auto const shape = test::hstu_of(test::even_shape());
    auto const full = probabilities(shape, {});
    double before = 1.0;
    for (auto const& [subspaces, bits] :
         {std::pair{1U, 1U}, std::pair{4U, 5U}, std::pair{64U, 5U}}) {
        double const now = rms(probabilities(shape, vq(subspaces, bits)), full);
        EXPECT_LT(now, before) << subspaces << " subspaces of " << bits << " bits";
        before = now;
    }
    EXPECT_GT(before, 1e-7);
}

TEST(StackCodes, TakeTheBytesThatTheLedgerPredicts) {
    // Whole vectors, so that nothing is padded.
    auto const shape = test::hstu_of(test::even_shape());
    auto const catalogue = test::small_catalogue(kItems);
    auto const histories = test::fitted_histories(kItems);
    BackendOptions options;
    options.histories = histories;
    for (auto const& strategy : {low_rank(16), vq(4, 4)}) {
        auto const backend = make_backend(weights_of(shape), strategy, catalogue, options);
        auto const predicted = kv::shared_bytes(shape, {}, strategy, catalogue, 3);
        auto const allocated = backend->allocated_shared();
        ASSERT_EQ(allocated.size(), predicted.size());
        std::size_t fitted = 0;
        for (std::size_t i = 0; i < predicted.size(); ++i) {
            EXPECT_EQ(allocated[i].what, predicted[i].what);
            if (!predicted[i].what.ends_with(".basis") && !predicted[i].what.ends_with(".codebook"))
                continue;
            EXPECT_EQ(allocated[i].bytes, predicted[i].bytes) << predicted[i].what;
            ++fitted;
        }
        EXPECT_EQ(fitted, 2 * shape.layers);
        bool const rows = strategy.kind == kv::StrategyKind::low_rank;
        EXPECT_EQ(backend->layout().payload_bytes(10), 10U * 2 * 2 * (rows ? 16 * 4 : 4));
    }
}

}  // namespace
}  // namespace ckvsim::device::cpu
