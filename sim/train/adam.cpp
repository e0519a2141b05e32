#include "train/adam.hpp"

#include <algorithm>
#include <cmath>

#include "train/vector_clones.hpp"

namespace ckvsim::train {

namespace {

// Defaults of the paper.
constexpr float kBeta1 = 0.9F;
constexpr float kBeta2 = 0.999F;
constexpr float kEpsilon = 1e-8F;

struct Factors {
    float rate;    ///< learning rate / (1 - beta1^t)
    float second;  ///< 1 / sqrt(1 - beta2^t)
    float l2;
};

Factors factors_of(AdamStep const& step) {
    auto const t = static_cast<double>(step.step);
    return {static_cast<float>(step.learning_rate / (1.0 - std::pow(double{kBeta1}, t))),
            static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(double{kBeta2}, t))),
            static_cast<float>(step.l2)};
}

CKVSIM_VECTOR_CLONES
void update(Factors const& factors, std::size_t count, float const* gradient, float* value,
            float* first, float* second) {
#pragma omp simd
    for (std::size_t i = 0; i < count; ++i) {
        float const g = gradient[i] + factors.l2 * value[i];
        first[i] = kBeta1 * first[i] + (1.0F - kBeta1) * g;
        second[i] = kBeta2 * second[i] + (1.0F - kBeta2) * g * g;
        value[i] -= factors.rate * first[i] / (std::sqrt(second[i]) * factors.second + kEpsilon);
    }
}

}  // namespace

void adam_update(AdamStep const& step, std::size_t count, float const* gradient, float* value,
                 float* first, float* second) {
    update(factors_of(step), count, gradient, value, first, second);
}

void adam_update_rows(AdamStep const& step, std::span<std::int64_t const> ids, std::size_t width,
                      float const* gradients, float* table, AdamState& state,
                      std::int64_t frozen_row) {
    Factors const factors = factors_of(step);
    for (std::size_t r = 0; r < ids.size(); ++r) {
        auto const* const gradient = gradients + r * width;
        bool const touched =
            std::any_of(gradient, gradient + width, [](float g) { return g != 0; });
        if (!touched || ids[r] == frozen_row) continue;
        std::size_t const at = static_cast<std::size_t>(ids[r]) * width;
        update(factors, width, gradient, table + at, state.first.data() + at,
               state.second.data() + at);
    }
}

}  // namespace ckvsim::train
