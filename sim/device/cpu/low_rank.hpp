// Low-rank rows: a row of K or V is mean + B c, with B the principal axes of the rows that they
// were fitted to and c the r stored coefficients. Attention never makes the row: scores need B^T q
// once per query and head (q . mean is the same for all tokens and drops out of the softmax),
// outputs need mean + B (sum of p c) once, because the weights p add up to one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {

/// Mean and principal axes of one side (K or V) of one attention site, fp32.
struct RowBasis {
    std::size_t rank = 0;
    std::size_t width = 0;
    AlignedVector<float> mean;  ///< [width]
    /// Axes as rows [rank, width]: coefficients of a centred row. Its data are B, [width, stride].
    PackedMatrix axes;
    /// V: B of each head's part of a row, [head_dim, rank]; empty for K.
    std::vector<PackedMatrix> heads;

    /// Coefficients [rows, axes.stride] of `rows` rows [width] (step in floats), which are centred
    /// in place.
    void coefficients(float* rows, std::size_t step, std::size_t count, float* out) const;
    /// Rows [count, heads[0].stride], of which [width] are the row, of `count` rows of coefficients
    /// (step in floats). For a basis that was made for the outputs of one head.
    void rows(float const* coefficients, std::size_t step, std::size_t count, float* out) const;
    [[nodiscard]] std::size_t bytes() const;
};

/// Weighted mean of `rows` [., width], summed in double precision in the order of rows; zeros
/// without a row. A row counts as often as `weights` [rows] say, once where these are empty.
std::vector<double> mean_row(std::span<float const> rows, std::size_t width,
                             std::span<std::uint32_t const> weights = {});

/// Fits the basis to `rows` [., width], which count as in mean_row(). The axes are the eigenvectors
/// of the covariance (in double precision) with the `rank` highest eigenvalues; of each, the first
/// component of the largest magnitude is positive. With `heads` > 0, made for outputs, too. Throws
/// InternalError for ranks beyond the width and for weights that are not one a row.
RowBasis fit_basis(std::span<float const> rows, std::size_t width, std::size_t rank,
                   std::size_t heads, std::span<std::uint32_t const> weights = {});

}  // namespace ckvsim::device::cpu
