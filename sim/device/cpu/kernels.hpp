// Vector kernels, dispatched at run time to the best instruction set of the machine. Every result
// depends only on its own row: block sizes and the number of rows change nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "device/cpu/aligned.hpp"

namespace ckvsim::device::cpu {

/// Rows of scratch matrices are padded to this many floats, the lanes of the widest vector used
/// (512 bits).
inline constexpr std::size_t kLanePad = 16;
constexpr std::size_t padded(std::size_t floats) {
    return (floats + kLanePad - 1) / kLanePad * kLanePad;
}

/// y = W x with W [out, in], kept transposed: data [in, stride], stride = padded(out), padding
/// zero.
struct PackedMatrix {
    PackedMatrix() = default;
    /// `row_major` is [out, in].
    PackedMatrix(std::span<float const> row_major, std::size_t outputs, std::size_t inputs);

    std::size_t out = 0;
    std::size_t in = 0;
    std::size_t stride = 0;
    AlignedVector<float> data;
    [[nodiscard]] std::size_t bytes() const { return data.size() * sizeof(float); }
};

/// y[r, 0 .. stride) = W x[r]; x [rows, in] with row step x_step, y with row step y_step >= stride.
/// `transposed` is [in, stride]. Sums run over `in` in ascending order.
void multiply(float const* x, std::size_t x_step, std::size_t rows, float const* transposed,
              std::size_t in, std::size_t stride, float* y, std::size_t y_step);
inline void multiply(float const* x, std::size_t x_step, std::size_t rows, PackedMatrix const& w,
                     float* y, std::size_t y_step) {
    multiply(x, x_step, rows, w.data.data(), w.in, w.stride, y, y_step);
}

/// x * sigmoid(x) in place; `count` is a multiple of kLanePad.
void silu(float* values, std::size_t count);

/// (x - mean) / sqrt(variance + epsilon) of each row [width]; in and out may be the same rows. Rows
/// are read and written up to padded(width) <= step; what stands there does not matter.
void normalise(float const* in, std::size_t step, std::size_t rows, std::size_t width, float* out,
               float epsilon);

float dot(float const* a, float const* b, std::size_t count);
/// out += factor * row
void add_scaled(float factor, float const* row, std::size_t count, float* out);

/// max(x + bias, 0) on rows [rows, stride]; bias padded to stride.
void add_bias_relu(float* values, std::size_t rows, std::size_t stride, float const* bias);

/// Position of the largest value; the first one wins. count >= 1.
std::uint32_t arg_max(float const* values, std::size_t count);

/// Round to nearest even; magnitudes beyond the largest half become that half, so that no infinity
/// is stored.
void to_half(float const* from, std::size_t count, std::uint16_t* to);
void from_half(std::uint16_t const* from, std::size_t count, float* to);

/// Name of the instruction set that the calls above use.
char const* dispatched_target();

}  // namespace ckvsim::device::cpu
