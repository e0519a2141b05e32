// Kernels of the router: what is done to a block of logits [rows, m], each row in few passes that
// stay in the cache. Rows do not depend on each other, so that the results do not depend on the
// number of OpenMP threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ckvsim::train {

/// Logits of `rows` tokens or items over a pool of `pool` rows.
struct RouterBlock {
    std::size_t rows = 0;
    std::size_t pool = 0;
};

/// winner[r], index[r]: the largest logit of row r and its place, the first where several are.
void find_winners(RouterBlock const& block, float const* logits, float* winner,
                  std::int64_t* index);

/// Puts the softmax of every row in its place; `winner` holds the rows' largest logits. The
/// exponential is within 2e-7 of the exact one, relatively; NaN stays NaN.
void softmax_in_place(RouterBlock const& block, float const* winner, float* logits);

/// Gradient of balance_loss and of the winning logits with respect to the logits:
/// out[r, j] = counts[r] p[r, j] (slope[j] - sum_i p[r, i] slope[i]), plus grad_winner[r] at
/// j = index[r]. `softmax` p and `out` are [rows, pool] and may be the same memory.
void balance_gradient(RouterBlock const& block, float const* softmax, float const* slope,
                      float const* counts, float const* grad_winner, std::int64_t const* index,
                      float* out);

}  // namespace ckvsim::train
