// Adam (Kingma and Ba, ICLR 2015, arXiv 1412.6980) over plain arrays, dense and for touched rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ckvsim::train {

struct AdamStep {
    double learning_rate = 1e-3;
    std::uint64_t step = 1;  ///< counts from 1, for the bias correction
    double l2 = 0;           ///< l2 * w is added to the gradient: the penalty l2 / 2 * |w|^2
};

/// First and second moments of one parameter array.
struct AdamState {
    std::vector<float> first;
    std::vector<float> second;
    explicit AdamState(std::size_t size = 0) : first(size, 0.0F), second(size, 0.0F) {}
};

/// Updates `count` values.
void adam_update(AdamStep const& step, std::size_t count, float const* gradient, float* value,
                 float* first, float* second);

/// Updates the rows `ids` of a table of `width` columns; `gradients` [ids.size(), width]. Rows
/// whose gradient is zero throughout count as untouched: neither their moments nor the penalty move
/// them (under Adam a penalty without a gradient would shrink a row by a full learning rate per
/// step, and arms that look at fewer tokens would lose their embeddings). `frozen_row` is skipped
/// (the padding row, which must stay zero); -1 = none.
void adam_update_rows(AdamStep const& step, std::span<std::int64_t const> ids, std::size_t width,
                      float const* gradients, float* table, AdamState& state,
                      std::int64_t frozen_row);

}  // namespace ckvsim::train
