// The vector kernels against scalar oracles, on every instruction set of this machine that was
// compiled, with poison around every output.
#include "device/cpu/kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>

#include "device/cpu/attention.hpp"
#include "device/cpu/code_scores.hpp"
#include "device/cpu/panel_matrix.hpp"
#include "every_target.hpp"
#include "reference_model.hpp"

namespace ckvsim::device::cpu {
namespace {

class Kernels : public EveryTarget {};

TEST_P(Kernels, MultiplyMatchesDoublePrecisionAtEveryWidth) {
    for (std::size_t const in : {1U, 3U, 16U, 33U}) {
        for (std::size_t const out : {1U, 15U, 16U, 17U, 70U, 200U}) {
            auto const w = random_floats(in * out, in * 1000 + out);
            PackedMatrix const matrix(w, out, in);
            for (std::size_t const rows : {1U, 2U, 3U, 4U, 7U}) {
                auto const x = random_floats(rows * (in + 2), rows);
                std::vector<float> y(rows * (matrix.stride + 3), kPoison);
                multiply(x.data(), in + 2, rows, matrix, y.data(), matrix.stride + 3);
                for (std::size_t r = 0; r < rows; ++r) {
                    float const* row = y.data() + r * (matrix.stride + 3);
                    for (std::size_t o = 0; o < out; ++o) {
                        double sum = 0.0;
                        double size = 0.0;
                        for (std::size_t i = 0; i < in; ++i) {
                            double const product = double{w[o * in + i]} * x[r * (in + 2) + i];
                            sum += product;
                            size += std::abs(product);
                        }
                        // n additions of rounding 2^-24 each, relative to the sum of magnitudes.
                        EXPECT_NEAR(row[o], sum, static_cast<double>(in + 1) * 6e-8 * size + 1e-30);
                    }
                    for (std::size_t o = out; o < matrix.stride; ++o) EXPECT_EQ(row[o], 0.0F);
                    for (std::size_t o = matrix.stride; o < matrix.stride + 3; ++o)
                        EXPECT_EQ(row[o], kPoison);
                }
            }
        }
    }
}

TEST_P(Kernels, RowsDoNotDependOnTheirNeighbours) {
    std::size_t const in = 37;
    std::size_t const out = 90;
    PackedMatrix const matrix(random_floats(in * out, 1), out, in);
    auto const x = random_floats(11 * in, 2);
    std::vector<float> together(11 * matrix.stride);
    multiply(x.data(), in, 11, matrix, together.data(), matrix.stride);
    for (std::size_t r = 0; r < 11; ++r) {
        std::vector<float> alone(matrix.stride);
        multiply(x.data() + r * in, in, 1, matrix, alone.data(), matrix.stride);
        EXPECT_EQ(std::memcmp(alone.data(), together.data() + r * matrix.stride,
                              matrix.stride * sizeof(float)),
                  0);
    }
}

TEST_P(Kernels, PanelsGiveTheSameBitsAndTheirArgMax) {
    for (std::size_t const in : {1U, 3U, 33U}) {
        for (std::size_t const out : {1U, 7U, 16U, 17U, 70U, 200U, 500U}) {
            auto w = random_floats(in * out, in * 1000 + out);
            // Equal rows of W, so that outputs are equal: the first one wins.
            std::copy_n(w.begin(), in, w.end() - static_cast<std::ptrdiff_t>(in));
            PackedMatrix const packed(w, out, in);
            PanelMatrix const panels(w, out, in);
            for (std::size_t const rows : {1U, 2U, 3U, 4U, 5U, 6U, 13U, 250U}) {
                auto x = random_floats(rows * (in + 2), rows);
                for (float& value : std::span(x).last(in + 2)) value = 0.0F;  // all are equal
                std::vector<float> expected(rows * packed.stride);
                std::vector<float> y(rows * (packed.stride + 3), kPoison);
                multiply(x.data(), in + 2, rows, packed, expected.data(), packed.stride);
                multiply(x.data(), in + 2, rows, panels, y.data(), packed.stride + 3);
                std::vector<std::uint32_t> best(rows + 1, 77777);
                arg_max_products(x.data(), in + 2, rows, panels, best.data());
                for (std::size_t r = 0; r < rows; ++r) {
                    float const* row = expected.data() + r * packed.stride;
                    EXPECT_EQ(std::memcmp(y.data() + r * (packed.stride + 3), row,
                                          packed.stride * sizeof(float)),
                              0);
                    for (std::size_t o = packed.stride; o < packed.stride + 3; ++o)
                        EXPECT_EQ(y[r * (packed.stride + 3) + o], kPoison);
                    EXPECT_EQ(best[r], arg_max(row, out)) << out << " outputs, row " << r;
                }
                EXPECT_EQ(best.back(), 77777U);
            }
        }
    }
}

TEST_P(Kernels, NoPaddingIsTheLargestOutput) {
    for (std::size_t const out : {1U, 7U, 17U, 70U}) {
        PanelMatrix const negative(std::vector<float>(out, -1.0F), out, 1);
        for (std::size_t const rows : {1U, 2U, 5U, 6U}) {
            std::vector<float> const x(rows, 2.0F);
            std::vector<std::uint32_t> best(rows, 9);
            arg_max_products(x.data(), 1, rows, negative, best.data());
            EXPECT_EQ(best, std::vector<std::uint32_t>(rows, 0));
        }
    }
}

TEST_P(Kernels, SiluMatchesDoublePrecisionOverTheWholeRange) {
    std::vector<float> values = {0.0F,  -0.0F,  1e-30F, -1e-30F, 1.0F, -1.0F, 20.0F, -20.0F,
                                 87.0F, -87.0F, 89.0F,  -89.0F,  1e4F, -1e4F, 3e38F, -3e38F};
    auto const more = random_floats(112, 5, 8.0);
    values.insert(values.end(), more.begin(), more.end());
    ASSERT_EQ(values.size() % kLanePad, 0U);
    auto const before = values;
    values.push_back(kPoison);
    silu(values.data(), before.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
        double const x = before[i];
        double const expected = x / (1.0 + std::exp(-x));
        // Below -88 the sigmoid is held at exp(-88) = 6e-39: an absolute error of |x| * 6e-39.
        EXPECT_NEAR(values[i], expected, std::abs(expected) * 5e-7 + std::abs(x) * 7e-39) << x;
    }
    EXPECT_EQ(values.back(), kPoison);
}

TEST_P(Kernels, NormalisedRowsHaveNoMeanAndUnitVariance) {
    for (std::size_t const width : {1U, 7U, 8U, 16U, 17U, 57U, 256U}) {
        std::size_t const step = padded(width) + kLanePad;
        auto rows = random_floats(3 * step, width, 3.0);
        for (std::size_t i = 0; i < width; ++i) {
            rows[i] += 1e3F;  // far from zero
            rows[2 * step + i] = 0.25F;
        }
        for (std::size_t r = 0; r < 3; ++r)
            std::fill_n(rows.begin() + static_cast<std::ptrdiff_t>(r * step + width),
                        padded(width) - width, std::numeric_limits<float>::quiet_NaN());
        auto out = std::vector<float>(rows.size(), kPoison);
        normalise(rows.data(), step, 3, width, out.data(), 1e-6F);
        for (std::size_t r = 0; r < 3; ++r) {
            float const* x = rows.data() + r * step;
            double const mean = std::accumulate(x, x + width, 0.0) / static_cast<double>(width);
            double variance = 0.0;
            for (std::size_t i = 0; i < width; ++i)
                variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(width);
            double const scale = 1.0 / std::sqrt(variance + 1e-6);
            // Values around a thousand leave 6e-5 of each.
            for (std::size_t i = 0; i < width; ++i)
                EXPECT_NEAR(out[r * step + i], (x[i] - mean) * scale,
                            2e-6 + (r == 0 ? 1e-4 * scale : 0.0));
            EXPECT_EQ(out[r * step + padded(width)], kPoison);
        }
        normalise(rows.data(), step, 3, width, rows.data(), 1e-6F);  // in place
        for (std::size_t r = 0; r < 3; ++r) {
            EXPECT_EQ(
                std::memcmp(rows.data() + r * step, out.data() + r * step, width * sizeof(float)),
                0);
        }
    }
}

TEST_P(Kernels, DotAndAddScaledMatchDoublePrecision) {
    for (std::size_t const count : {1U, 4U, 8U, 19U, 33U, 128U}) {
        auto const a = random_floats(count, 1);
        auto const b = random_floats(count, 2);
        double sum = 0.0;
        double size = 0.0;
        for (std::size_t i = 0; i < count; ++i) {
            sum += double{a[i]} * b[i];
            size += std::abs(double{a[i]} * b[i]);
        }
        EXPECT_NEAR(dot(a.data(), b.data(), count), sum, static_cast<double>(count) * 6e-8 * size);
        auto out = b;
        out.push_back(kPoison);
        add_scaled(0.3F, a.data(), count, out.data());
        for (std::size_t i = 0; i < count; ++i)
            EXPECT_NEAR(out[i], b[i] + 0.3F * double{a[i]},
                        1e-7 * (std::abs(b[i]) + std::abs(a[i])));
        EXPECT_EQ(out.back(), kPoison);
    }
}

TEST_P(Kernels, BiasAndReluStayInTheirRows) {
    auto values = random_floats(3 * 32, 6);
    auto const before = values;
    auto const bias = random_floats(32, 7);
    values.push_back(kPoison);
    add_bias_relu(values.data(), 3, 32, bias.data());
    for (std::size_t i = 0; i < before.size(); ++i)
        EXPECT_EQ(values[i], std::max(before[i] + bias[i % 32], 0.0F));
    EXPECT_EQ(values.back(), kPoison);
}

TEST_P(Kernels, ArgMaxIsTheFirstLargest) {
    for (std::size_t const count : {1U, 2U, 7U, 8U, 9U, 16U, 31U, 500U}) {
        auto values = random_floats(count, count);
        EXPECT_EQ(arg_max(values.data(), count),
                  std::max_element(values.begin(), values.end()) - values.begin());
        std::fill(values.begin(), values.end(), -3.0F);
        EXPECT_EQ(arg_max(values.data(), count), 0U);
        values[count - 1] = -2.0F;
        EXPECT_EQ(arg_max(values.data(), count), count - 1);
        values[count / 2] = -2.0F;
        EXPECT_EQ(arg_max(values.data(), count), count / 2);
    }
}

TEST_P(Kernels, EveryHalfConvertsToItsValueAndBack) {
    std::vector<std::uint16_t> halves;
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        if ((bits & 0x7C00U) != 0x7C00U) halves.push_back(static_cast<std::uint16_t>(bits));
    }
    std::vector<float> floats(halves.size() + 1, kPoison);
    from_half(halves.data(), halves.size(), floats.data());
    EXPECT_EQ(floats.back(), kPoison);
    for (std::size_t i = 0; i < halves.size(); ++i) {
        std::uint32_t const exponent = (halves[i] >> 10) & 31U;
        double const mantissa = (halves[i] & 1023U) + (exponent == 0 ? 0 : 1024);
        double const value = std::ldexp(mantissa, static_cast<int>(std::max(exponent, 1U)) - 25);
        ASSERT_EQ(floats[i], static_cast<float>((halves[i] & 0x8000U) != 0 ? -value : value));
    }
    std::vector<std::uint16_t> back(halves.size() + 1, 0xBEEF);
    to_half(floats.data(), halves.size(), back.data());
    EXPECT_EQ(back.back(), 0xBEEF);
    back.pop_back();
    EXPECT_EQ(back, halves);
}

TEST_P(Kernels, HalvesRoundToNearestEvenAndSaturate) {
    std::vector<float> values = {1.0F + 0x1p-11F,
                                 1.0F + 3 * 0x1p-11F,
                                 65504.0F,
                                 65519.0F,
                                 65520.0F,
                                 1e30F,
                                 -1e30F,
                                 0x1p-24F,
                                 0x1p-25F,
                                 0x1p-26F,
                                 3 * 0x1p-25F,
                                 -0x1p-14F,
                                 1e-9F};
    auto const more = random_floats(1000, 8, 30.0);
    values.insert(values.end(), more.begin(), more.end());
    for (std::size_t const count : {std::size_t{1}, std::size_t{5}, values.size()}) {
        std::vector<std::uint16_t> halves(count + 1, 0xBEEF);
        to_half(values.data(), count, halves.data());
        EXPECT_EQ(halves.back(), 0xBEEF);
        std::vector<float> back(count);
        from_half(halves.data(), count, back.data());
        for (std::size_t i = 0; i < count; ++i)
            EXPECT_EQ(back[i], static_cast<float>(test::round_to_half(values[i]))) << values[i];
    }
}

TEST_P(Kernels, SearchScoresMatchDoublePrecision) {
    for (std::size_t const width : {1U, 5U, 16U, 19U, 64U}) {
        for (std::size_t const tokens : {1U, 3U, 4U, 50U, 101U}) {
            for (bool const halves : {false, true}) {
                for (bool const by_id : {false, true}) {
                    std::size_t const table = by_id ? 30 : tokens;
                    std::size_t const key_step = width + (tokens % 2) * 3;
                    auto const keys = random_floats(table * key_step, width);
                    std::vector<std::uint16_t> bits(keys.size());
                    to_half(keys.data(), keys.size(), bits.data());
                    std::vector<std::uint32_t> ids(tokens);
                    for (std::size_t t = 0; t < tokens; ++t)
                        ids[t] = static_cast<std::uint32_t>((t * 11) % table);
                    std::size_t const count = 3;
                    auto const q = random_floats(count * width, 4);
                    std::vector<float> scores(count * padded(tokens) + 1, kPoison);
                    SearchCall call;
                    call.q = q.data();
                    call.q_step = width;
                    call.count = count;
                    call.width = width;
                    call.key_step = key_step;
                    call.key_type = halves ? kv::ValueType::fp16 : kv::ValueType::fp32;
                    call.keys = halves ? static_cast<void const*>(bits.data())
                                       : static_cast<void const*>(keys.data());
                    call.ids = by_id ? ids.data() : nullptr;
                    call.tokens = tokens;
                    call.scores = scores.data();
                    call.scores_step = padded(tokens);
                    search_scores(call);
                    EXPECT_EQ(scores.back(), kPoison);
                    for (std::size_t c = 0; c < count; ++c) {
                        for (std::size_t t = 0; t < tokens; ++t) {
                            std::size_t const row = by_id ? ids[t] : t;
                            double sum = 0.0;
                            for (std::size_t i = 0; i < width; ++i) {
                                double const key = keys[row * key_step + i];
                                sum += q[c * width + i] * (halves ? test::round_to_half(key) : key);
                            }
                            EXPECT_NEAR(scores[c * padded(tokens) + t], sum, 1e-5);
                        }
                    }
                }
            }
        }
    }
}

TEST_P(Kernels, CodeScoresAddTheTokensOwnPart) {
    for (std::size_t const tokens : {1U, 15U, 16U, 17U, 100U}) {
        for (std::size_t const user_dims : {0U, 1U, 3U}) {
            std::size_t const rows = 5;
            std::size_t const step = padded(tokens);
            auto const row_scores = random_floats(rows, 1);
            auto const q = random_floats(user_dims, 2);
            auto const user = random_floats(user_dims * step, 3);
            std::vector<std::uint32_t> places(step, 0);
            for (std::size_t t = 0; t < tokens; ++t)
                places[t] = static_cast<std::uint32_t>((t * 7) % rows);
            std::vector<float> scores(step + 1, kPoison);
            CodeScores call;
            call.row_scores = row_scores.data();
            call.places = places.data();
            call.tokens = tokens;
            call.q = q.data();
            call.user = user.data();
            call.user_dims = user_dims;
            call.scores = scores.data();
            code_scores(call);
            EXPECT_EQ(scores.back(), kPoison);
            for (std::size_t t = 0; t < tokens; ++t) {
                double sum = row_scores[places[t]];
                for (std::size_t u = 0; u < user_dims; ++u)
                    sum += double{q[u]} * user[u * step + t];
                EXPECT_NEAR(scores[t], sum, 1e-5) << t << " of " << tokens;
            }
        }
    }
}

std::vector<std::uint32_t> top_oracle(std::vector<float> const& scores, std::uint32_t k) {
    std::vector<std::uint32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
    });
    order.resize(std::min<std::size_t>(order.size(), k));
    std::sort(order.begin(), order.end());
    return order;
}

void expect_top(std::vector<float> const& scores, std::uint32_t k) {
    std::size_t const count = scores.size();
    std::vector<float> work(padded(count) + 1, kPoison);
    std::copy(scores.begin(), scores.end(), work.begin());
    std::vector<std::int32_t> keys(selection_scratch(count) + 1, 77);
    std::vector<std::uint32_t> places(selection_scratch(count) + 1, 78);
    std::vector<std::uint32_t> positions(k + 1, 79);
    std::uint32_t const found =
        select_top(work.data(), count, k, keys.data(), places.data(), positions.data());
    EXPECT_EQ(work.back(), kPoison);
    EXPECT_EQ(keys.back(), 77);
    EXPECT_EQ(places.back(), 78U);
    EXPECT_EQ(positions.back(), 79U);
    positions.resize(found);
    EXPECT_EQ(positions, top_oracle(scores, k)) << count << " scores, k = " << k;
}

TEST_P(Kernels, SelectTopIsExactWithTies) {
    float const infinity = std::numeric_limits<float>::infinity();
    for (std::size_t const count : {0U, 1U, 2U, 15U, 16U, 17U, 100U, 333U, 1000U}) {
        for (std::uint32_t const k : {1U, 2U, 20U, 99U, 100U, 101U, 999U, 1000U, 2000U}) {
            auto scores = random_floats(count, count + k);
            expect_top(scores, k);
            for (float& s : scores) s = std::round(4.0F * s) / 4.0F;  // many ties, both zeros
            expect_top(scores, k);
            std::sort(scores.begin(), scores.end());
            expect_top(scores, k);
            std::reverse(scores.begin(), scores.end());
            expect_top(scores, k);
            for (std::size_t t = 0; t < count; ++t) scores[t] = t % 2 == 0 ? 0.0F : -0.0F;
            expect_top(scores, k);
            for (std::size_t t = 0; t < count; ++t) scores[t] = t % 3 == 0 ? infinity : -infinity;
            expect_top(scores, k);
            expect_top(std::vector<float>(count, -1e30F), k);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, Kernels, ::testing::ValuesIn(compiled_targets()), target_name);

}  // namespace
}  // namespace ckvsim::device::cpu
