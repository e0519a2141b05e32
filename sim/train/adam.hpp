// Adam (Kingma and Ba, ICLR 2015, arXiv 1412.6980) over plain arrays, dense and for touched rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ckvsim::train {

struct AdamStep {
    double learning_rate = 1e-3;
    std::uint64_t step = 1;  ///< counts from 1, for the bias correction
    double l2 = 0;           ///< l2 * w is added to the gradient: the penalty l2 / 2 * |w|^2
};

// Defaults of the paper.
inline constexpr float kBeta1 = 0.9F;
inline constexpr float kBeta2 = 0.999F;
inline constexpr float kEpsilon = 1e-8F;

/// What a step makes of these: w -= rate * m / (sqrt(v) * second + kEpsilon).
struct AdamFactors {
    float rate = 0;    ///< learning rate / (1 - beta1^t)
    float second = 0;  ///< 1 / sqrt(1 - beta2^t)
    float l2 = 0;
};
AdamFactors factors_of(AdamStep const& step);

/// One parameter array and its moments, all of one length.
struct AdamArrays {
    float* value = nullptr;
    float* first = nullptr;
    float* second = nullptr;
};

/// Updates `count` values.
void adam_update(AdamStep const& step, std::size_t count, float const* gradient,
                 AdamArrays const& arrays);

/// Updates the rows `ids` of a table of `width` columns; `gradients` [ids.size(), width]. Rows
/// whose gradient is zero throughout count as untouched: neither their moments nor the penalty move
/// them (under Adam a penalty without a gradient would shrink a row by a full learning rate per
/// step, and arms that look at fewer tokens would lose their embeddings). `frozen_row` is skipped
/// (the padding row, which must stay zero); -1 = none.
void adam_update_rows(AdamStep const& step, std::span<std::int64_t const> ids, std::size_t width,
                      float const* gradients, AdamArrays const& table, std::int64_t frozen_row);

}  // namespace ckvsim::train
