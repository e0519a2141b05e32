// Principal axes and codebooks: what they are, what they lose, and attention over codes against
// rows.
#include "device/cpu/row_codes.hpp"

#include <omp.h>

#include <cmath>
#include <set>

#include "core/error.hpp"
#include "device/cpu/attention.hpp"
#include "every_target.hpp"
#include "stored_rows.hpp"

namespace ckvsim::device::cpu {
namespace {

using RowCodesKernels = EveryTarget;

/// Rows with a mean and a few strong directions.
std::vector<float> correlated_rows(std::size_t count, std::size_t width, std::uint64_t stream) {
    CounterRng rng(11, Purpose::test, stream);
    std::vector<float> mixing(4 * width);
    for (float& value : mixing) value = static_cast<float>(rng.normal());
    std::vector<float> rows(count * width);
    for (std::size_t r = 0; r < count; ++r) {
        double hidden[4];
        for (std::size_t k = 0; k < 4; ++k) hidden[k] = rng.normal() / static_cast<double>(k + 1);
        for (std::size_t i = 0; i < width; ++i) {
            double value = 0.7 + 0.05 * rng.normal();
            for (std::size_t k = 0; k < 4; ++k) value += hidden[k] * mixing[k * width + i];
            rows[r * width + i] = static_cast<float>(value);
        }
    }
    return rows;
}

double axis_value(RowBasis const& basis, std::size_t i, std::size_t r) {
    return basis.axes.data[i * basis.axes.stride + r];
}

/// Sum of squares that coefficients and axes leave unexplained.
double residual(RowBasis const& basis, std::vector<float> const& rows) {
    std::size_t const count = rows.size() / basis.width;
    auto centred = rows;
    std::vector<float> c(count * basis.axes.stride);
    basis.coefficients(centred.data(), basis.width, count, c.data());
    double sum = 0.0;
    for (std::size_t r = 0; r < count; ++r) {
        for (std::size_t i = 0; i < basis.width; ++i) {
            double value = basis.mean[i];
            for (std::size_t k = 0; k < basis.rank; ++k)
                value += axis_value(basis, i, k) * c[r * basis.axes.stride + k];
            sum += std::pow(value - rows[r * basis.width + i], 2);
        }
    }
    return sum;
}

TEST(RowBasis, AxesAreOrthonormalAndTheirSignsFixed) {
    auto const rows = correlated_rows(200, 19, 1);
    auto const basis = fit_basis(rows, 19, 7, 0);
    for (std::size_t a = 0; a < 7; ++a) {
        std::size_t largest = 0;
        for (std::size_t b = 0; b < 7; ++b) {
            double product = 0.0;
            for (std::size_t i = 0; i < 19; ++i)
                product += axis_value(basis, i, a) * axis_value(basis, i, b);
            EXPECT_NEAR(product, a == b ? 1.0 : 0.0, 1e-6);
        }
        for (std::size_t i = 1; i < 19; ++i) {
            if (std::abs(axis_value(basis, i, a)) > std::abs(axis_value(basis, largest, a)))
                largest = i;
        }
        EXPECT_GT(axis_value(basis, largest, a), 0.0);
    }
    EXPECT_TRUE(basis.heads.empty());
}

TEST(RowBasis, EachAxisTakesTheMostOfWhatIsLeft) {
    auto const rows = correlated_rows(300, 24, 2);
    double before = 1e30;
    std::vector<double> left;
    for (std::size_t const rank : {1U, 2U, 3U, 4U, 12U, 24U}) {
        double const now = residual(fit_basis(rows, 24, rank, 0), rows);
        EXPECT_LT(now, before);
        left.push_back(before = now);
    }
    // Gains shrink, four hidden directions explain nearly all, all axes everything.
    EXPECT_GT(left[0] - left[1], left[1] - left[2]);
    EXPECT_LT(left[3], 0.02 * left[0]);
    EXPECT_LT(left[5], 1e-6 * left[0]);
}

TEST(RowBasis, HeadsHoldTheAxesOfTheirPart) {
    auto const basis = fit_basis(correlated_rows(50, 12, 3), 12, 5, 3);
    ASSERT_EQ(basis.heads.size(), 3U);
    for (std::size_t h = 0; h < 3; ++h) {
        for (std::size_t i = 0; i < 4; ++i) {
            for (std::size_t r = 0; r < 5; ++r) {
                EXPECT_EQ(basis.heads[h].data[r * basis.heads[h].stride + i],
                          static_cast<float>(axis_value(basis, 4 * h + i, r)));
            }
        }
    }
}

TEST(RowBasis, FewRowsAndEqualRowsHaveABasis) {
    auto const one = fit_basis(correlated_rows(1, 6, 4), 6, 6, 2);
    auto const same = fit_basis(std::vector<float>(60, 2.5F), 6, 3, 2);
    for (float const value : same.mean) EXPECT_FLOAT_EQ(value, 2.5F);
    for (auto const& basis : {one, same}) {
        for (float const value : basis.axes.data) EXPECT_TRUE(std::isfinite(value));
    }
    EXPECT_THROW(fit_basis(std::vector<float>(12, 0.0F), 6, 7, 0), InternalError);
    EXPECT_THROW(fit_basis(std::vector<float>(12, 0.0F), 6, 0, 0), InternalError);
}

float const* word(Codebook const& book, std::size_t subspace, std::size_t j) {
    return book.rows[subspace].data() + j * padded(book.part);
}

double distance(Codebook const& book, std::size_t subspace, std::size_t j, float const* row) {
    double sum = 0.0;
    for (std::size_t i = 0; i < book.part; ++i)
        sum += std::pow(double{word(book, subspace, j)[i]} - row[subspace * book.part + i], 2);
    return sum;
}

std::vector<std::uint8_t> codes_of(Codebook const& book, std::vector<float> const& rows) {
    std::vector<std::uint8_t> codes(rows.size() / book.width() * book.subspaces() + 1, 0xEE);
    AlignedVector<float> scratch;
    book.encode(rows.data(), book.width(), rows.size() / book.width(), codes.data(), scratch);
    EXPECT_EQ(codes.back(), 0xEE);
    codes.pop_back();
    return codes;
}

double loss(Codebook const& book, std::vector<float> const& rows) {
    auto const codes = codes_of(book, rows);
    std::vector<float> row(book.width());
    double sum = 0.0;
    for (std::size_t r = 0; r < rows.size() / book.width(); ++r) {
        book.decode(codes.data() + r * book.subspaces(), row.data());
        for (std::size_t i = 0; i < row.size(); ++i)
            sum += std::pow(double{row[i]} - rows[r * row.size() + i], 2);
    }
    return sum;
}

TEST(Codebook, CodesNameTheNearestCodewords) {
    auto const rows = correlated_rows(300, 20, 5);
    auto const book = fit_codebook(rows, 20, 4, 16, 1, 0);
    auto const codes = codes_of(book, rows);
    for (std::size_t r = 0; r < 300; ++r) {
        for (std::size_t s = 0; s < 4; ++s) {
            float const* row = rows.data() + r * 20;
            double const own = distance(book, s, codes[r * 4 + s], row);
            for (std::size_t j = 0; j < 16; ++j)
                EXPECT_LE(own, distance(book, s, j, row) + 1e-4) << "subspace " << s;
        }
    }
}

TEST(Codebook, CodewordsAreTheMeansOfTheirRows) {
    // k-means has settled on so few well separated points.
    std::vector<float> rows;
    for (std::size_t r = 0; r < 90; ++r) {
        float const centre = 10.0F * static_cast<float>(r % 3);
        rows.push_back(centre + 0.01F * static_cast<float>(r));
        rows.push_back(-centre);
    }
    auto const book = fit_codebook(rows, 2, 1, 3, 1, 0);
    auto const codes = codes_of(book, rows);
    for (std::size_t j = 0; j < 3; ++j) {
        double sum = 0.0;
        std::size_t size = 0;
        for (std::size_t r = 0; r < 90; ++r) {
            if (codes[r] != j) continue;
            sum += rows[2 * r];
            ++size;
        }
        EXPECT_EQ(size, 30U);
        EXPECT_NEAR(word(book, 0, j)[0], sum / 30.0, 1e-5);
    }
}

TEST(Codebook, MoreWordsLoseLessAndOnePerRowNothing) {
    auto const rows = correlated_rows(100, 12, 6);
    double before = 1e30;
    for (std::size_t const words : {1U, 4U, 16U, 64U}) {
        double const now = loss(fit_codebook(rows, 12, 3, words, 1, 0), rows);
        EXPECT_LT(now, before);
        before = now;
    }
    EXPECT_EQ(loss(fit_codebook(rows, 12, 3, 100, 1, 0), rows), 0.0);
    // More words than different rows: some words repeat.
    EXPECT_EQ(loss(fit_codebook(std::vector<float>(24, 3.0F), 12, 3, 8, 1, 0),
                   std::vector<float>(24, 3.0F)),
              0.0);
    EXPECT_THROW(fit_codebook(rows, 12, 5, 4, 1, 0), InternalError);
    EXPECT_THROW(fit_codebook({}, 12, 3, 4, 1, 0), InternalError);
}

TEST(Codebook, IsTheSameForAnyNumberOfThreadsAndChangesWithTheSeed) {
    auto const rows = correlated_rows(400, 16, 7);
    int const threads = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const one = fit_codebook(rows, 16, 8, 32, 5, 2);
    omp_set_num_threads(3);
    auto const three = fit_codebook(rows, 16, 8, 32, 5, 2);
    omp_set_num_threads(threads);
    EXPECT_EQ(one.rows, three.rows);
    EXPECT_NE(one.rows, fit_codebook(rows, 16, 8, 32, 6, 2).rows);
    EXPECT_NE(one.rows, fit_codebook(rows, 16, 8, 32, 5, 3).rows);
}

TEST_P(RowCodesKernels, AttentionOverCodesIsAttentionOverTheirRows) {
    struct Shape {
        std::size_t heads, head_dim, subspaces, words;
    };
    for (auto const& [heads, head_dim, subspaces, words] :
         {Shape{2, 16, 4, 16}, Shape{2, 16, 1, 5}, Shape{3, 19, 3, 30}, Shape{3, 10, 2, 8},
          Shape{1, 24, 24, 2}, Shape{4, 6, 8, 64}}) {
        std::size_t const d = heads * head_dim;
        for (std::size_t const tokens : {1U, 3U, 49U, 200U}) {
            auto const k_rows = correlated_rows(tokens, d, 8);
            auto const v_rows = correlated_rows(tokens, d, 9);
            auto const k = fit_codebook(k_rows, d, subspaces, words, 1, 0);
            auto const v = fit_codebook(v_rows, d, subspaces, words, 1, 1);
            auto const k_codes = codes_of(k, k_rows);
            auto const v_codes = codes_of(v, v_rows);
            std::vector<float> k_back(tokens * d);
            std::vector<float> v_back(tokens * d);
            std::array<std::vector<void const*>, 4> rows;
            for (std::size_t slot = 0; slot < row_slots(tokens); ++slot) {
                std::size_t const t = std::min(slot, tokens - 1);
                k.decode(k_codes.data() + t * subspaces, k_back.data() + t * d);
                v.decode(v_codes.data() + t * subspaces, v_back.data() + t * d);
                rows[0].push_back(k_codes.data() + t * subspaces);
                rows[1].push_back(v_codes.data() + t * subspaces);
                rows[2].push_back(k_back.data() + t * d);
                rows[3].push_back(v_back.data() + t * d);
            }
            std::vector<float> q = correlated_rows(2, d, 10);
            std::vector<float> out(2 * (d + 1), kPoison);
            std::vector<float> expected(2 * (d + 1), kPoison);
            CodesCall codes;
            codes.q = q.data();
            codes.q_step = d;
            codes.count = 2;
            codes.heads = heads;
            codes.head_dim = head_dim;
            codes.k = &k;
            codes.v = &v;
            codes.k_codes = rows[0].data();
            codes.v_codes = rows[1].data();
            codes.tokens = tokens;
            codes.out = out.data();
            codes.out_step = d + 1;
            AlignedVector<float> scratch;
            attend_codes(codes, scratch);
            AttentionCall call;
            call.q = q.data();
            call.q_step = d;
            call.count = 2;
            call.heads = heads;
            call.head_dim = head_dim;
            call.k = {rows[2].data(), nullptr};
            call.v = {rows[3].data(), nullptr};
            call.tokens = tokens;
            call.out = expected.data();
            call.out_step = d + 1;
            std::vector<float> scores(attention_scratch(call));
            attend(call, scores.data());
            for (std::size_t c = 0; c < 2; ++c) {
                for (std::size_t i = 0; i < d; ++i)
                    EXPECT_NEAR(out[c * (d + 1) + i], expected[c * (d + 1) + i], 2e-4)
                        << heads << "x" << head_dim << ", " << tokens << " tokens";
                EXPECT_EQ(out[c * (d + 1) + d], kPoison);
            }
        }
    }
}

TEST_P(RowCodesKernels, SearchOverCodesScoresTheirRows) {
    struct Shape {
        std::size_t width, subspaces, words;
    };
    for (auto const& [width, subspaces, words] :
         {Shape{32, 4, 16}, Shape{32, 1, 5}, Shape{57, 3, 30}, Shape{24, 24, 2}, Shape{1, 1, 4}}) {
        for (std::size_t const tokens : {1U, 3U, 200U}) {
            auto const rows = correlated_rows(tokens, width, 8);
            auto const book = fit_codebook(rows, width, subspaces, words, 1, 0);
            auto const codes = codes_of(book, rows);
            auto const q = correlated_rows(1, width, 10);
            std::vector<float> scores(tokens + 1, kPoison);
            AlignedVector<float> scratch;
            search_codes(book, q.data(), codes.data(), tokens, scores.data(), scratch);
            EXPECT_EQ(scores.back(), kPoison);
            std::vector<float> row(width);
            for (std::size_t t = 0; t < tokens; ++t) {
                book.decode(codes.data() + t * subspaces, row.data());
                double expected = 0.0;
                for (std::size_t i = 0; i < width; ++i) expected += double{q[i]} * row[i];
                EXPECT_NEAR(scores[t], expected, 1e-4) << width << " values, token " << t;
            }
        }
    }
}

TEST_P(RowCodesKernels, NoTokensGiveZeros) {
    std::vector<float> const q(4, 1.0F);
    std::vector<float> out(5, kPoison);
    CodesCall call;
    call.q = q.data();
    call.q_step = call.out_step = call.head_dim = 4;
    call.count = 1;
    call.out = out.data();
    AlignedVector<float> scratch;
    attend_codes(call, scratch);
    EXPECT_EQ(out, (std::vector<float>{0, 0, 0, 0, kPoison}));
}

TEST(CodesPay, BothWaysAreTakenByTheCasesOfTheBackend) {
    Codebook book;
    book.part = 16;
    book.words = 16;
    book.scores.resize(4);
    EXPECT_FALSE(codes_pay(book, 16));
    EXPECT_TRUE(codes_pay(book, 49));
    book.words = 256;
    EXPECT_FALSE(codes_pay(book, 256));
    EXPECT_TRUE(codes_pay(book, 1000));
    // A code a value: looking up costs as much as multiplying.
    book.part = 1;
    book.scores.resize(64);
    EXPECT_FALSE(codes_pay(book, 1000));
}

TEST(RowCodes, AreFittedToTheStoredRowsOfEverySide) {
    auto const catalogue = test::small_catalogue(60);
    test::BackendCase c{"", test::even_shape(), {model::Variant::full_silu, {}, 0, 1}, {}};
    auto const weights = test::case_weights(c, catalogue);
    EXPECT_FALSE(RowCodes(weights, c.strategy).side(kv::Section::short_k).basis);
    auto const full = test::stored_rows(c, weights, catalogue);
    c.strategy.kind = kv::StrategyKind::low_rank;
    c.strategy.rank = c.shape.attention_dim;
    RowCodes const codes(weights, c.strategy);
    EXPECT_TRUE(codes.side(kv::Section::short_k).basis->heads.empty());
    EXPECT_EQ(codes.side(kv::Section::long_v).basis->heads.size(), c.shape.heads);
    EXPECT_GT(codes.bytes("short.k.basis"), 0U);
    EXPECT_EQ(codes.bytes("short.k.codebook"), 0U);
    EXPECT_THROW((void)codes.side(kv::Section::search), InternalError);
    // All axes: the rows after SiLU come back.
    auto const back = test::stored_rows(c, weights, catalogue);
    for (std::size_t item = 1; item < back.long_v.size(); ++item) {
        for (std::size_t i = 0; i < c.shape.attention_dim; ++i)
            EXPECT_NEAR(back.long_v[item][i], full.long_v[item][i], 1e-5);
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, RowCodesKernels, ::testing::ValuesIn(compiled_targets()),
                         target_name);

}  // namespace
}  // namespace ckvsim::device::cpu
