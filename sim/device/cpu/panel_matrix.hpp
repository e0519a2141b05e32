// Products with a matrix of many outputs: a router's m, a layer's projections. Rows of a
// PackedMatrix lie far apart there, so that every column of it comes from another page and few of
// them from the L1 cache; a panel lies in one piece.
#pragma once

#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {

/// The same W in panels of kLanePad outputs: data [stride / kLanePad, in, kLanePad]. A panel lies
/// in one piece and in the L1 cache, whatever the number of outputs: for products of many outputs
/// or rows.
struct PanelMatrix {
    PanelMatrix() = default;
    /// `row_major` is [out, in].
    PanelMatrix(std::span<float const> row_major, std::size_t outputs, std::size_t inputs);

    std::size_t out = 0;
    std::size_t in = 0;
    std::size_t stride = 0;
    AlignedVector<float> data;
    [[nodiscard]] std::size_t bytes() const { return data.size() * sizeof(float); }
};

/// The same bits as with a PackedMatrix.
void multiply(float const* x, std::size_t x_step, std::size_t rows, PanelMatrix const& w, float* y,
              std::size_t y_step);
/// best[r] = position of the largest output of row r, the first of equal ones. No output is
/// written. w.out >= 1.
void arg_max_products(float const* x, std::size_t x_step, std::size_t rows, PanelMatrix const& w,
                      std::uint32_t* best);

}  // namespace ckvsim::device::cpu
