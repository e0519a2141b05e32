#include "train/adam.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace ckvsim::train {
namespace {

struct State {
    explicit State(std::size_t size) : first(size, 0.0F), second(size, 0.0F) {}
    AdamArrays of(std::vector<float>& values) {
        return {values.data(), first.data(), second.data()};
    }
    std::vector<float> first;
    std::vector<float> second;
};

TEST(Adam, FollowsTheFormula) {
    // 19 values: vector lanes and remainder.
    std::vector<float> value(19, 0.5F);
    std::vector<double> expected(19, 0.5), m(19, 0), v(19, 0);
    State state(19);
    for (std::uint64_t t = 1; t <= 20; ++t) {
        std::vector<float> gradient;
        for (std::size_t i = 0; i < 19; ++i) {
            gradient.push_back(static_cast<float>(std::sin(double(t * (i + 1)))));
            double const g = gradient[i] + 0.1 * expected[i];
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            double const m_hat = m[i] / (1 - std::pow(0.9, double(t)));
            double const v_hat = v[i] / (1 - std::pow(0.999, double(t)));
            expected[i] -= 0.01 * m_hat / (std::sqrt(v_hat) + 1e-8);
        }
        adam_update({0.01, t, 0.1}, 19, gradient.data(), state.of(value));
    }
    for (std::size_t i = 0; i < 19; ++i) EXPECT_NEAR(value[i], expected[i], 2e-5) << i;
}

TEST(Adam, MovesOnlyTouchedRows) {
    std::vector<float> table = {0, 0, 1, 1, 2, 2, 3, 3};
    State state(8);
    std::vector<std::int64_t> const ids = {0, 2, 3};
    std::vector<float> const gradients = {1, 1, 1, -1, 0, 0};
    adam_update_rows({0.5, 1, 0.1}, ids, 2, gradients.data(), state.of(table), 0);
    EXPECT_EQ(table[0], 0.0F) << "padding";
    EXPECT_EQ(table[2], 1.0F) << "not in the batch";
    EXPECT_NEAR(table[4], 1.5F, 1e-5);
    EXPECT_NEAR(table[5], 2.5F, 1e-5);
    EXPECT_EQ(table[6], 3.0F) << "in the batch without a gradient";
    EXPECT_EQ(state.second[6], 0.0F);
}

}  // namespace
}  // namespace ckvsim::train
