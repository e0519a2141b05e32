// Vector kernel of a search over pool codes: from scores of pool rows to scores of tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {

/// scores[t] = row_scores[places[t]] + sum_u q[u] * user[u][t]: the pool part of q . k, taken from
/// the token's pool row, and the part of the token's own dimensions. Whole vectors: places [padded(
/// tokens)] are valid throughout, user is [user_dims, padded(tokens)], scores has room for
/// padded(tokens).
struct CodeScores {
    float const* row_scores = nullptr;
    std::uint32_t const* places = nullptr;
    std::size_t tokens = 0;
    float const* q = nullptr;  ///< the query's last user_dims values
    float const* user = nullptr;
    std::size_t user_dims = 0;
    float* scores = nullptr;
};
void code_scores(CodeScores const& call);

}  // namespace ckvsim::device::cpu
