// Fits that count some rows more often than others: the same as fits to lists that hold them so
// often, and what histories make of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "device/cpu/row_codes.hpp"
#include "stored_rows.hpp"

namespace ckvsim::device::cpu {
namespace {

using Weights = std::vector<std::uint32_t>;

constexpr std::uint32_t kItems = 60;

/// Rows of normal values, the first ones the widest.
std::vector<float> random_rows(std::size_t count, std::size_t width, std::uint64_t stream) {
    CounterRng rng(12, Purpose::test, stream);
    std::vector<float> rows(count * width);
    for (std::size_t i = 0; i < rows.size(); ++i)
        rows[i] = static_cast<float>(0.3 + rng.normal() / static_cast<double>(i % width + 1));
    return rows;
}

Weights random_weights(std::size_t count, std::uint32_t least, std::uint64_t stream) {
    CounterRng rng(13, Purpose::test, stream);
    Weights weights(count);
    for (auto& weight : weights) weight = least + rng.below(4) * rng.below(4);
    return weights;
}

std::vector<float> repeated(std::vector<float> const& rows, std::size_t width,
                            Weights const& weights) {
    std::vector<float> list;
    for (std::size_t r = 0; r < weights.size(); ++r) {
        for (std::uint32_t i = 0; i < weights[r]; ++i)
            list.insert(list.end(), rows.data() + r * width, rows.data() + (r + 1) * width);
    }
    return list;
}

/// B B^T, which neither signs nor rotations of the axes change: [width, width].
std::vector<double> projector(RowBasis const& basis) {
    std::vector<double> result;
    for (std::size_t i = 0; i < basis.width; ++i) {
        for (std::size_t j = 0; j < basis.width; ++j) {
            double sum = 0.0;
            for (std::size_t r = 0; r < basis.rank; ++r) {
                sum += double{basis.axes.data[i * basis.axes.stride + r]} *
                       basis.axes.data[j * basis.axes.stride + r];
            }
            result.push_back(sum);
        }
    }
    return result;
}

template <class A, class B>
double largest_difference(A const& a, B const& b) {
    EXPECT_EQ(a.size(), b.size());
    double most = 0.0;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
    return most;
}

double largest_difference(Codebook const& a, Codebook const& b) {
    double most = 0.0;
    for (std::size_t s = 0; s < a.subspaces(); ++s)
        most = std::max(most, largest_difference(a.rows[s], b.rows[s]));
    return most;
}

TEST(WeightedMean, IsThatOfAListThatHoldsEachRowAsOftenAsItCounts) {
    auto const rows = random_rows(90, 7, 1);
    auto const weights = random_weights(90, 0, 1);
    auto const mean = mean_row(rows, 7, weights);
    EXPECT_LT(largest_difference(mean, mean_row(repeated(rows, 7, weights), 7)), 1e-12);
    EXPECT_GT(largest_difference(mean, mean_row(rows, 7)), 1e-3);
    EXPECT_EQ(mean_row(rows, 7, Weights(90, 1)), mean_row(rows, 7));
    EXPECT_EQ(mean_row({}, 2), (std::vector<double>{0.0, 0.0}));
    EXPECT_THROW(mean_row(rows, 7, Weights(89, 1)), InternalError);
}

TEST(WeightedBasis, IsThatOfAListThatHoldsEachRowAsOftenAsItCounts) {
    // The second takes more than one block of rows.
    for (auto const& [count, width, rank] :
         {std::array<std::size_t, 3>{80, 19, 4}, {5000, 5, 2}, {30, 6, 6}}) {
        auto const rows = random_rows(count, width, 2);
        auto const weights = random_weights(count, 0, 2);
        auto const weighted = fit_basis(rows, width, rank, 0, weights);
        auto const listed = fit_basis(repeated(rows, width, weights), width, rank, 0);
        EXPECT_LT(largest_difference(weighted.mean, listed.mean), 1e-6);
        EXPECT_LT(largest_difference(projector(weighted), projector(listed)), 1e-6) << count;
        auto const plain = fit_basis(rows, width, rank, 0);
        if (rank < width) {
            EXPECT_GT(largest_difference(projector(weighted), projector(plain)), 1e-3) << count;
        }
        auto const ones = fit_basis(rows, width, rank, 0, Weights(count, 1));
        EXPECT_EQ(ones.mean, plain.mean);
        EXPECT_EQ(ones.axes.data, plain.axes.data);
    }
    EXPECT_THROW(fit_basis(random_rows(3, 2, 0), 2, 1, 0, Weights(4, 1)), InternalError);
}

TEST(WeightedCodebook, IsThatOfAListThatHoldsEachRowAsOftenAsItCounts) {
    // Few rows, all taken; many rows, thinned out: 128 for each of two or three words.
    for (auto const& [count, words] :
         {std::pair<std::size_t, std::size_t>{200, 16}, {100, 64}, {400, 2}, {1500, 3}}) {
        auto const rows = random_rows(count, 12, 3);
        auto const weights = random_weights(count, count > 200 ? 0 : 1, 3);
        auto const weighted = fit_codebook(rows, 12, 3, words, 1, 0, weights);
        auto const list = repeated(rows, 12, weights);
        ASSERT_EQ(list.size() / 12 > 128 * words, count > 128 * words)
            << "both are thinned, or none";
        EXPECT_LT(largest_difference(weighted, fit_codebook(list, 12, 3, words, 1, 0)), 1e-6)
            << count;
        auto const plain = fit_codebook(rows, 12, 3, words, 1, 0);
        EXPECT_GT(largest_difference(weighted, plain), 1e-3) << count;
        EXPECT_EQ(fit_codebook(rows, 12, 3, words, 1, 0, Weights(count, 1)).rows, plain.rows);
    }
}

TEST(WeightedCodebook, KeepsARowThatOthersCrowdOutOnceItCounts) {
    // Two words: one for each half of the rows, or one for the row that counts as much as all.
    std::vector<float> rows;
    for (int r = 0; r < 50; ++r) rows.push_back(r < 25 ? -1.0F : 1.0F);
    rows.push_back(3.0F);
    Weights weights(51, 1);
    auto const nearest = [&] {
        auto const book = fit_codebook(rows, 1, 1, 2, 1, 0, weights);
        return std::min(std::abs(book.rows[0][0] - 3.0F), std::abs(book.rows[0][padded(1)] - 3.0F));
    };
    EXPECT_GT(nearest(), 1.0F);
    weights.back() = 1000;
    EXPECT_LT(nearest(), 0.1F);
}

TEST(WeightedCodebook, NeedsAWeightForEveryRowAndASumThatIsNoneNorTooLarge) {
    auto const rows = random_rows(4, 2, 4);
    for (Weights const& weights : {Weights{1, 1, 1}, Weights{0, 0, 0, 0}, Weights{1, 1, 1, ~0U}})
        EXPECT_THROW(fit_codebook(rows, 2, 1, 2, 1, 0, weights), InternalError);
    EXPECT_NO_THROW(fit_codebook(rows, 2, 1, 2, 1, 0, Weights{0, 0, 1, ~0U - 1}));
}

TEST(RowWeights, AreOneAndOneMoreForEveryTokenThatIsSeen) {
    std::vector<std::vector<ItemId>> const histories = {{5, 2, 2, 1}, {}, {2, 0}, {3}};
    EXPECT_THAT(row_weights(histories, 5, 9), testing::ElementsAre(2, 4, 2, 1, 2));
    EXPECT_THAT(row_weights(histories, 5, 2), testing::ElementsAre(2, 3, 2, 1, 1));
    EXPECT_THAT(row_weights({}, 3, 9), testing::ElementsAre(1, 1, 1));
    EXPECT_THROW(row_weights(histories, 4, 9), InternalError);
}

/// Few items make most of the tokens.
std::vector<std::vector<ItemId>> popular_histories() {
    // Longer than what the models read: its oldest events do not count.
    std::vector<std::vector<ItemId>> histories = {test::random_history(200, kItems, 90)};
    for (std::uint64_t h = 0; h < 20; ++h) {
        histories.push_back(test::random_history(10, kItems, h));
        auto const favourites = test::random_history(25, 6, 50 + h);
        histories.back().insert(histories.back().end(), favourites.begin(), favourites.end());
    }
    return histories;
}

/// low_rank, vq and the control of mean keys.
std::vector<kv::StrategyParams> fitted_strategies() {
    std::vector<kv::StrategyParams> all(3);
    all[0].kind = kv::StrategyKind::low_rank;
    all[0].rank = 6;
    all[1].kind = kv::StrategyKind::vq;
    all[1].value_type = kv::ValueType::int8;
    all[1].subspaces = 4;
    all[1].code_bits = 3;
    all[2].mean_keys = true;
    return all;
}

std::vector<model::SimShape> item_models() {
    auto const shape = test::even_shape();
    return {shape, test::twin_of(shape), test::eta_of(shape), test::sdim_of(shape)};
}

std::vector<float> flat(test::ReferenceRows::Table const& table) {
    std::vector<float> rows;
    for (std::size_t item = 1; item < table.size(); ++item)
        rows.insert(rows.end(), table[item].begin(), table[item].end());
    return rows;
}

TEST(RowCodes, AreFittedToTheCatalogueAsHistoriesCountIt) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const histories = popular_histories();
    for (auto const& shape : item_models()) {
        test::BackendCase const c{"", shape, {model::Variant::full, {}, 0, 1}, {}};
        auto const weights = test::case_weights(c, catalogue);
        auto const counts = row_weights(histories, kItems, shape.max_tokens);
        auto const plain = test::stored_rows(c, weights, catalogue);
        std::size_t const d = shape.attention_dim;
        std::vector<std::pair<kv::Section, std::vector<float>>> sides = {
            {kv::Section::short_k, flat(plain.short_k)},
            {kv::Section::short_v, flat(plain.short_v)}};
        if (shape.has_long_attention()) {
            sides.emplace_back(kv::Section::long_k, flat(plain.long_k));
            sides.emplace_back(kv::Section::long_v, flat(plain.long_v));
        }
        auto const strategies = fitted_strategies();
        RowCodes const low_rank(weights, strategies[0], histories);
        RowCodes const vq(weights, strategies[1], histories);
        RowCodes const mean(weights, strategies[2], histories);
        for (std::uint32_t i = 0; i < sides.size(); ++i) {
            auto const& [section, rows] = sides[i];
            auto const basis = fit_basis(rows, d, strategies[0].rank, 0, counts);
            EXPECT_EQ(low_rank.side(section).basis->axes.data, basis.axes.data);
            EXPECT_EQ(low_rank.side(section).basis->mean, basis.mean);
            auto const book = fit_codebook(rows, d, 4, 8, weights->training_seed, i, counts);
            EXPECT_EQ(vq.side(section).codebook->rows, book.rows);
            EXPECT_NE(book.rows, fit_codebook(rows, d, 4, 8, weights->training_seed, i).rows);
            if (i % 2 == 0) {  // K
                auto const expected = mean_row(rows, d, counts);
                EXPECT_LT(largest_difference(mean.side(section).mean, expected), 1e-6);
                EXPECT_GT(largest_difference(mean_row(rows, d), expected), 1e-4);
            }
        }
    }
}

TEST(RowCodes, AreTheSameForAnyNumberOfThreads) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const histories = popular_histories();
    int const before = omp_get_max_threads();
    for (auto const& strategy : fitted_strategies()) {
        auto const weights = test::case_weights({"", test::even_shape(), {}, strategy}, catalogue);
        omp_set_num_threads(1);
        RowCodes const alone(weights, strategy, histories);
        omp_set_num_threads(3);
        RowCodes const together(weights, strategy, histories);
        auto const& a = alone.side(kv::Section::long_k);
        auto const& b = together.side(kv::Section::long_k);
        EXPECT_EQ(a.mean, b.mean);
        if (a.basis) {
            EXPECT_EQ(a.basis->axes.data, b.basis->axes.data);
        }
        if (a.codebook) {
            EXPECT_EQ(a.codebook->rows, b.codebook->rows);
        }
    }
    omp_set_num_threads(before);
}

struct Served {
    std::vector<std::byte> entry;
    std::vector<float> logits;
};

/// One user through a backend that was fitted to `histories`: encoded at once or token by token.
Served serve(test::BackendCase const& c, std::vector<std::vector<ItemId>> const& histories,
             decode::EncodeMode mode, bool at_once) {
    auto const catalogue = test::small_catalogue(kItems);
    BackendOptions options;
    options.histories = histories;
    auto const backend =
        make_backend(test::case_weights(c, catalogue), c.strategy, catalogue, options);
    auto const scratch = backend->make_scratch();
    auto const history = test::random_history(50, kItems, 2);
    auto const candidates = test::random_history(12, kItems, 3);
    Served served;
    served.entry.resize(backend->layout().entry_bytes(50));
    std::uint32_t tokens = 0;
    if (at_once) {
        tokens = backend->encode(history, 50, mode, served.entry.data(), *scratch);
    } else {
        for (ItemId const& item : history)
            tokens = backend->append(served.entry.data(), tokens, 50, {&item, 1}, mode, *scratch);
    }
    decode::ScoreRequest request;
    request.entry = {served.entry.data(), tokens, 50};
    request.candidates = candidates.data();
    request.count = 12;
    std::vector<float> features(12 * std::size_t{backend->feature_width()});
    served.logits.resize(12);
    backend->decode(request, features.data(), *scratch);
    backend->tower(features.data(), 12, served.logits.data(), *scratch);
    return served;
}

TEST(RowCodes, OfHistoriesChangeEntriesAndStayExactUnderAppends) {
    auto const histories = popular_histories();
    for (auto const& shape : item_models()) {
        for (auto const& strategy : fitted_strategies()) {
            test::BackendCase const c{"", shape, {model::Variant::full, {}, 0, 1}, strategy};
            auto const with = serve(c, histories, decode::EncodeMode::compute, true);
            auto const without = serve(c, {}, decode::EncodeMode::compute, true);
            EXPECT_NE(with.entry, without.entry);
            // With one K for all tokens attention is their mean, whatever K it is.
            EXPECT_EQ(with.logits == without.logits, strategy.mean_keys);
            EXPECT_EQ(with.entry, serve(c, histories, decode::EncodeMode::compute, false).entry);
            EXPECT_EQ(with.entry, serve(c, histories, decode::EncodeMode::memo, true).entry);
            EXPECT_EQ(with.logits, serve(c, histories, decode::EncodeMode::memo, false).logits);
        }
    }
}

/// Squares that low rank loses of the rows of all tokens.
double loss_of_tokens(SideCodes const& codes, std::vector<float> const& rows,
                      std::vector<std::vector<ItemId>> const& histories) {
    RowBasis const& basis = *codes.basis;
    double sum = 0.0;
    for (auto const& history : histories) {
        for (ItemId const item : history) {
            float const* row = rows.data() + (item - 1) * basis.width;
            std::vector<float> centred(row, row + basis.width);
            std::vector<float> c(basis.axes.stride);
            basis.coefficients(centred.data(), basis.width, 1, c.data());
            for (float const value : centred) sum += double{value} * value;
            for (std::size_t r = 0; r < basis.rank; ++r) sum -= double{c[r]} * c[r];
        }
    }
    return sum;
}

TEST(RowCodes, OfHistoriesLoseLessOfTheirTokens) {
    auto const catalogue = test::small_catalogue(kItems);
    auto const histories = popular_histories();
    test::BackendCase c{"", test::even_shape(), {model::Variant::full, {}, 0, 1}, {}};
    auto const weights = test::case_weights(c, catalogue);
    auto const plain = test::stored_rows(c, weights, catalogue);
    auto strategy = fitted_strategies()[0];
    for (std::uint32_t const rank : {1U, 4U, 8U}) {
        strategy.rank = rank;
        RowCodes const with(weights, strategy, histories);
        RowCodes const without(weights, strategy);
        EXPECT_LT(loss_of_tokens(with.side(kv::Section::long_k), flat(plain.long_k), histories),
                  0.95 * loss_of_tokens(without.side(kv::Section::long_k), flat(plain.long_k),
                                        histories));
    }
}

}  // namespace
}  // namespace ckvsim::device::cpu
