// Self-attention over sequences against its formula in double precision, and its gradients against
// difference quotients of that formula.
#include "train/causal_attention.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "core/rng.hpp"

namespace ckvsim::train {
namespace {

std::vector<float> random_floats(std::size_t count, std::uint32_t stream, double deviation = 1.0) {
    CounterRng rng(3, Purpose::test, 0, stream);
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(deviation * rng.normal());
    return values;
}

/// Three sequences: all tokens ask, the last alone asks, one token.
struct Case {
    CausalShape shape{2, 6, 50.0F};
    Sequences sequences;
    std::vector<float> q, k, v, bias, slope;

    Case() {
        sequences.add(150, 150);
        sequences.add(9, 1);
        sequences.add(1, 1);
        q = random_floats(sequences.queries.back() * shape.width, 1);
        k = random_floats(sequences.tokens.back() * shape.width, 2);
        v = random_floats(sequences.tokens.back() * shape.width, 3);
        bias = random_floats(shape.heads * kPositionBuckets, 4);
        slope = random_floats(q.size(), 5);
    }
    /// [queries, width] in double precision.
    [[nodiscard]] std::vector<double> oracle() const {
        std::vector<double> out(q.size(), 0.0);
        std::size_t const head = shape.width / shape.heads;
        for (std::size_t s = 0; s < sequences.size(); ++s) {
            std::size_t const tokens = sequences.tokens[s + 1] - sequences.tokens[s];
            std::size_t const queries = sequences.queries[s + 1] - sequences.queries[s];
            for (std::size_t r = 0; r < queries; ++r) {
                std::size_t const position = tokens - queries + r;
                std::size_t const own = (sequences.queries[s] + r) * shape.width;
                for (std::size_t j = 0; j <= position; ++j) {
                    std::size_t const row = (sequences.tokens[s] + j) * shape.width;
                    for (std::size_t h = 0; h < shape.heads; ++h) {
                        double score = bias[h * kPositionBuckets + position_bucket(position - j)];
                        for (std::size_t i = h * head; i < (h + 1) * head; ++i)
                            score += double{q[own + i]} * k[row + i];
                        double const weight = score / (1.0 + std::exp(-score)) / shape.divisor;
                        for (std::size_t i = h * head; i < (h + 1) * head; ++i)
                            out[own + i] += weight * v[row + i];
                    }
                }
            }
        }
        return out;
    }
    /// Sum of slope * out.
    [[nodiscard]] double loss() const {
        auto const out = oracle();
        double sum = 0.0;
        for (std::size_t i = 0; i < out.size(); ++i) sum += out[i] * slope[i];
        return sum;
    }
    [[nodiscard]] std::vector<float> forward() const {
        std::vector<float> out(q.size(), -7.0F);
        causal_attention_forward(shape, sequences, q.data(), k.data(), v.data(), bias.data(),
                                 out.data());
        return out;
    }
};

TEST(CausalAttention, IsTheFormula) {
    Case const c;
    auto const out = c.forward();
    auto const expected = c.oracle();
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], expected[i], 2e-5);
}

TEST(CausalAttention, GradientsAreDifferenceQuotients) {
    Case c;
    std::vector<float> q(c.q.size()), k(c.k.size()), v(c.v.size()), bias(c.bias.size());
    causal_attention_backward(c.shape, c.sequences, c.q.data(), c.k.data(), c.v.data(),
                              c.bias.data(), c.slope.data(),
                              {q.data(), k.data(), v.data(), bias.data()});
    auto const check = [&](std::vector<float>& values, std::vector<float> const& gradient) {
        for (std::size_t i = 0; i < values.size(); i += 7) {
            float const kept = values[i];
            values[i] = kept + 0.01F;
            double const above = c.loss();
            double const high = values[i];
            values[i] = kept - 0.01F;
            double const slope = (above - c.loss()) / (high - values[i]);
            values[i] = kept;
            EXPECT_NEAR(gradient[i], slope, 2e-3 * (1.0 + std::abs(slope))) << i;
        }
    };
    check(c.q, q);
    check(c.k, k);
    check(c.v, v);
    check(c.bias, bias);
}

TEST(CausalAttention, DoesNotDependOnTheNumberOfThreads) {
    Case const c;
    int const threads = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const one = c.forward();
    omp_set_num_threads(3);
    auto const three = c.forward();
    omp_set_num_threads(threads);
    EXPECT_EQ(one, three);
}

TEST(CausalAttention, BucketsOfPositions) {
    EXPECT_EQ(position_bucket(0), 0U);
    EXPECT_EQ(position_bucket(15), 15U);
    EXPECT_EQ(position_bucket(18), 16U);
    EXPECT_EQ(position_bucket(19), 17U);
    EXPECT_EQ(position_bucket(127), 31U);
    EXPECT_EQ(position_bucket(100'000), 31U);
}

}  // namespace
}  // namespace ckvsim::train
