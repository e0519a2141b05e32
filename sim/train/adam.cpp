#include "train/adam.hpp"

#include <algorithm>
#include <cmath>

#include "train/vector_clones.hpp"

namespace ckvsim::train {

namespace {

CKVSIM_VECTOR_CLONES
void update(AdamFactors const& factors, std::size_t count, float const* gradient, float* value,
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

AdamFactors factors_of(AdamStep const& step) {
    auto const t = static_cast<double>(step.step);
    return {static_cast<float>(step.learning_rate / (1.0 - std::pow(double{kBeta1}, t))),
            static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(double{kBeta2}, t))),
            static_cast<float>(step.l2)};
}

void adam_update(AdamStep const& step, std::size_t count, float const* gradient,
                 AdamArrays const& arrays) {
    update(factors_of(step), count, gradient, arrays.value, arrays.first, arrays.second);
}

void adam_update_rows(AdamStep const& step, std::span<std::int64_t const> ids, std::size_t width,
                      float const* gradients, AdamArrays const& table, std::int64_t frozen_row) {
    AdamFactors const factors = factors_of(step);
    for (std::size_t r = 0; r < ids.size(); ++r) {
        auto const* const gradient = gradients + r * width;
        bool const touched =
            std::any_of(gradient, gradient + width, [](float g) { return g != 0; });
        if (!touched || ids[r] == frozen_row) continue;
        std::size_t const at = static_cast<std::size_t>(ids[r]) * width;
        update(factors, width, gradient, table.value + at, table.first + at, table.second + at);
    }
}

}  // namespace ckvsim::train
