#include "train/router_rows.hpp"

#include <algorithm>
#include <cmath>

#include "train/vector_clones.hpp"

namespace ckvsim::train {

namespace {

/// exp(x) for x <= 0, 0 < exp(-87) for what lies below: x = n ln 2 + f, |f| <= ln 2 / 2, and the
/// polynomial of the Cephes library's expf (Moshier, 1992). No branch and no call of the standard
/// library, which GCC does not inline into clones for other processors: loops over it vectorise.
[[gnu::always_inline]] inline float exp_of_negative(float x) {
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
    x = x < -87.0F ? -87.0F : x;           // a NaN stays
    float const shifted = x * 1.44269504F + kRound;
    float const n = shifted - kRound;
    float const f = (x - n * 0.693359375F) + n * 2.12194440e-4F;
    float sum = 1.9875691500e-4F;
    sum = sum * f + 1.3981999507e-3F;
    sum = sum * f + 8.3334519073e-3F;
    sum = sum * f + 4.1665795894e-2F;
    sum = sum * f + 1.6666665459e-1F;
    sum = sum * f + 5.0000001201e-1F;
    sum = sum * f * f + f + 1.0F;
    auto const exponent =
        __builtin_bit_cast(std::int32_t, shifted) - __builtin_bit_cast(std::int32_t, kRound);
    return sum * __builtin_bit_cast(float, (exponent + 127) << 23);
}

/// A NaN where any value is one.
CKVSIM_VECTOR_CLONES
float largest_of(float const* row, std::size_t count) {
    float largest = -INFINITY;
    std::int32_t numbers = -1;
#pragma omp simd reduction(max : largest) reduction(& : numbers)
    for (std::size_t i = 0; i < count; ++i) {
        largest = row[i] > largest ? row[i] : largest;
        numbers &= -static_cast<std::int32_t>(row[i] == row[i]);
    }
    return numbers != 0 ? largest : NAN;
}

CKVSIM_VECTOR_CLONES
void softmax_row(float largest, float* row, std::size_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = 0; i < count; ++i) {
        float const value = exp_of_negative(row[i] - largest);
        row[i] = value;
        sum += value;
    }
    float const share = 1.0F / sum;
#pragma omp simd
    for (std::size_t i = 0; i < count; ++i) row[i] *= share;
}

CKVSIM_VECTOR_CLONES
void gradient_row(float const* softmax, float const* slope, std::size_t count, float weight,
                  float* out) {
    float mean = 0;
#pragma omp simd reduction(+ : mean)
    for (std::size_t i = 0; i < count; ++i) mean += softmax[i] * slope[i];
#pragma omp simd
    for (std::size_t i = 0; i < count; ++i) out[i] = weight * softmax[i] * (slope[i] - mean);
}

}  // namespace

void find_winners(RouterBlock const& block, float const* logits, float* winner,
                  std::int64_t* index) {
#pragma omp parallel for schedule(static)
    for (std::size_t r = 0; r < block.rows; ++r) {
        float const* const row = logits + r * block.pool;
        winner[r] = largest_of(row, block.pool);
        // A NaN anywhere is the winner: the loss is none, either, which ends the training.
        auto const* const found = std::find(row, row + block.pool, winner[r]);
        index[r] = found != row + block.pool ? found - row : 0;
    }
}

void softmax_in_place(RouterBlock const& block, float const* winner, float* logits) {
#pragma omp parallel for schedule(static)
    for (std::size_t r = 0; r < block.rows; ++r)
        softmax_row(winner[r], logits + r * block.pool, block.pool);
}

void balance_gradient(RouterBlock const& block, float const* softmax, float const* slope,
                      float const* counts, float const* grad_winner, std::int64_t const* index,
                      float* out) {
#pragma omp parallel for schedule(static)
    for (std::size_t r = 0; r < block.rows; ++r) {
        float* const row = out + r * block.pool;
        gradient_row(softmax + r * block.pool, slope, block.pool, counts[r], row);
        row[index[r]] += grad_winner[r];
    }
}

}  // namespace ckvsim::train
