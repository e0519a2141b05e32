#include "train/ragged_attention.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "core/rng.hpp"

namespace ckvsim::train {
namespace {

struct Problem {
    AttentionShape shape{2, 6, 10, 0.7F};
    Ragged tokens;
    std::vector<float> queries, keys, values, grad_out;
    std::size_t rows = 5;

    Problem() {
        for (auto const& list : std::vector<std::vector<std::uint32_t>>{
                 {0, 1, 1, 4}, {}, {3}, {2, 2, 2, 0, 1, 4, 3}}) {
            tokens.rows.insert(tokens.rows.end(), list.begin(), list.end());
            tokens.close_list();
        }
        CounterRng rng(3, Purpose::test, 0);
        auto const fill = [&](std::vector<float>& values_, std::size_t size) {
            for (std::size_t i = 0; i < size; ++i)
                values_.push_back(static_cast<float>(rng.normal()));
        };
        fill(queries, tokens.lists() * shape.key_width);
        fill(keys, rows * shape.key_width);
        fill(values, rows * shape.value_width);
        fill(grad_out, tokens.lists() * shape.value_width);
    }
    /// The definition in double precision; returns sum(out * grad_out).
    double objective(std::vector<double>* out = nullptr) const {
        double sum = 0;
        std::size_t const kh = shape.key_width / shape.heads, vh = shape.value_width / shape.heads;
        for (std::size_t b = 0; b < tokens.lists(); ++b) {
            for (std::size_t h = 0; h < shape.heads; ++h) {
                auto const list = tokens.list(b);
                std::vector<double> weight(list.size());
                double total = 0;
                for (std::size_t j = 0; j < list.size(); ++j) {
                    double dot = 0;
                    for (std::size_t i = h * kh; i < (h + 1) * kh; ++i)
                        dot += double{queries[b * shape.key_width + i]} *
                               keys[list[j] * shape.key_width + i];
                    weight[j] = std::exp(dot * shape.scale);
                    total += weight[j];
                }
                for (std::size_t i = h * vh; i < (h + 1) * vh; ++i) {
                    double mixed = 0;
                    for (std::size_t j = 0; j < list.size(); ++j)
                        mixed += weight[j] / total * values[list[j] * shape.value_width + i];
                    if (out != nullptr) out->push_back(mixed);
                    sum += mixed * grad_out[b * shape.value_width + i];
                }
            }
        }
        return sum;
    }
    struct Gradients {
        std::vector<float> out, weights, queries, keys, values;
    };
    Gradients run() const {
        Gradients g;
        g.out.resize(grad_out.size());
        g.weights.resize(tokens.rows.size() * shape.heads);
        g.queries.assign(queries.size(), 0);
        g.keys.assign(keys.size(), 0);
        g.values.assign(values.size(), 0);
        attention_forward(shape, tokens, queries.data(), keys.data(), values.data(), g.out.data(),
                          g.weights.data());
        attention_backward(shape, tokens, queries.data(), keys.data(), values.data(),
                           g.weights.data(), grad_out.data(), g.queries.data(), g.keys.data(),
                           g.values.data());
        return g;
    }
};

TEST(RaggedAttention, ForwardIsTheDefinition) {
    Problem const problem;
    std::vector<double> expected;
    problem.objective(&expected);
    auto const got = problem.run().out;
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
    for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(got[10 + i], 0.0F) << "the empty list";
}

TEST(RaggedAttention, GradientsAreDifferenceQuotients) {
    Problem problem;
    auto const gradients = problem.run();
    auto const check = [&](std::vector<float>& inputs, std::vector<float> const& gradient) {
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            float const kept = inputs[i];
            constexpr float kStep = 1.0F / 1024;
            inputs[i] = kept + kStep;
            double const high = problem.objective();
            inputs[i] = kept - kStep;
            double const low = problem.objective();
            inputs[i] = kept;
            EXPECT_NEAR(gradient[i], (high - low) / (2 * kStep), 2e-5) << i;
        }
    };
    check(problem.queries, gradients.queries);
    check(problem.keys, gradients.keys);
    check(problem.values, gradients.values);
}

TEST(RaggedAttention, ResultsDoNotDependOnThreads) {
    Problem const problem;
    int const threads = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const one = problem.run();
    omp_set_num_threads(3);
    auto const three = problem.run();
    omp_set_num_threads(threads);
    EXPECT_EQ(one.out, three.out);
    EXPECT_EQ(one.queries, three.queries);
    EXPECT_EQ(one.keys, three.keys);
    EXPECT_EQ(one.values, three.values);
}

TEST(RaggedAttention, ZeroQueryGivesTheMean) {
    Problem problem;
    problem.shape.heads = 1;
    problem.queries.assign(problem.queries.size(), 0.0F);
    auto const out = problem.run().out;
    auto const* const v = problem.values.data();
    for (std::size_t i = 0; i < 10; ++i) {
        EXPECT_NEAR(out[i], (v[i] + 2 * v[10 + i] + v[40 + i]) / 4, 1e-6);
    }
}

TEST(SelectTopK, NewerTokensWinTies) {
    Ragged tokens;
    tokens.rows = {0, 1, 0, 2, 0, 3, /**/ 3, 0};
    tokens.offsets = {0, 6, 8};
    // Width 1: the score of row r is keys[r] * query.
    std::vector<float> const queries = {1.0F, 1.0F};
    std::vector<float> const keys = {0.5F, 0.9F, 0.1F, -1.0F};
    std::vector<std::uint32_t> positions;
    auto const chosen = select_top_k(1, tokens, queries.data(), keys.data(), 3, &positions);
    // Row 1 first, then two of the three equal tokens of row 0: those at 2 and 4.
    EXPECT_EQ(positions, (std::vector<std::uint32_t>{1, 2, 4, 0, 1}));
    EXPECT_EQ(chosen.rows, (std::vector<std::uint32_t>{1, 0, 0, 3, 0}));
    EXPECT_EQ(chosen.offsets, (std::vector<std::uint32_t>{0, 3, 5}));
}

TEST(SelectNearest, FewestDifferingBitsThenTheNewerToken) {
    Ragged tokens;
    tokens.rows = {0, 1, 0, 2, 0, 3, /**/ 3, 0,
                   /**/};
    tokens.offsets = {0, 6, 8, 8};
    std::vector<std::uint64_t> const queries = {0b0011, 0, 7};
    // Distances to the first query: 1, 0, 2, 64 - 2.
    std::vector<std::uint64_t> const signatures = {0b0111, 0b0011, 0b1111, ~std::uint64_t{0}};
    std::vector<std::uint32_t> positions;
    auto const chosen = select_nearest(tokens, queries.data(), signatures.data(), 3, &positions);
    EXPECT_EQ(positions, (std::vector<std::uint32_t>{1, 2, 4, 0, 1}));
    EXPECT_EQ(chosen.rows, (std::vector<std::uint32_t>{1, 0, 0, 3, 0}));
    EXPECT_EQ(chosen.offsets, (std::vector<std::uint32_t>{0, 3, 5, 5}));
    auto const one = select_nearest(tokens, queries.data(), signatures.data(), 1, &positions);
    EXPECT_EQ(positions, (std::vector<std::uint32_t>{1, 1}));
    EXPECT_EQ(one.offsets, (std::vector<std::uint32_t>{0, 1, 2, 2}));
}

}  // namespace
}  // namespace ckvsim::train
