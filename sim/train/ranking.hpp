// What a tune pass is judged by.
#pragma once

#include <cstdint>
#include <span>

namespace ckvsim::train {

/// Area under the ROC curve, ties counted half; NaN when one class is missing.
double auc(std::span<float const> scores, std::span<std::uint8_t const> labels);

/// Mean of -log p(label) for logits.
double logloss(std::span<float const> logits, std::span<std::uint8_t const> labels);

}  // namespace ckvsim::train
