#include "device/cpu/kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.hpp"

// AVX3, AVX2 and the compiler's baseline (Highway's scalar code on x86-64) cover the machines in
// use; every further target costs compile time.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/kernels.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include "device/cpu/exp_inl.hpp"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {

/// kRows rows times kVectors output vectors: the accumulators stay in registers over the whole sum.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void multiply_block(float const* x, std::size_t x_step, float const* transposed,
                               std::size_t in, std::size_t stride, float* y, std::size_t y_step) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    hn::Vec<FloatTag> sum[kRows][kVectors];
    for (auto& row : sum) {
        for (auto& vector : row) vector = hn::Zero(d);
    }
    for (std::size_t i = 0; i < in; ++i) {
        hn::Vec<FloatTag> w[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v)
            w[v] = hn::LoadU(d, transposed + i * stride + v * lanes);
        for (std::size_t r = 0; r < kRows; ++r) {
            auto const value = hn::Set(d, x[r * x_step + i]);
            for (std::size_t v = 0; v < kVectors; ++v)
                sum[r][v] = hn::MulAdd(value, w[v], sum[r][v]);
        }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t v = 0; v < kVectors; ++v)
            hn::StoreU(sum[r][v], d, y + r * y_step + v * lanes);
    }
}

/// Vectors of output per block: with kBlockRows rows the accumulators, the weights and one
/// broadcast fill the registers (32 of them on AVX3, else 16).
constexpr std::size_t kBlockVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
constexpr std::size_t kBlockRows = 6;

template <std::size_t kRows>
HWY_INLINE void multiply_rows(float const* x, std::size_t x_step, float const* transposed,
                              std::size_t in, std::size_t stride, float* y, std::size_t y_step) {
    std::size_t const lanes = hn::Lanes(FloatTag());
    std::size_t o = 0;
    for (; o + kBlockVectors * lanes <= stride; o += kBlockVectors * lanes) {
        multiply_block<kRows, kBlockVectors>(x, x_step, transposed + o, in, stride, y + o, y_step);
    }
    for (; o < stride; o += lanes)
        multiply_block<kRows, 1>(x, x_step, transposed + o, in, stride, y + o, y_step);
}

/// y += the terms of kTerms inputs, in ascending order.
template <std::size_t kTerms>
HWY_INLINE void add_terms(float const* x, float const* transposed, std::size_t stride, float* y) {
    FloatTag const d;
    hn::Vec<FloatTag> value[kTerms];
    for (std::size_t i = 0; i < kTerms; ++i) value[i] = hn::Set(d, x[i]);
    for (std::size_t o = 0; o < stride; o += hn::Lanes(d)) {
        auto sum = hn::LoadU(d, y + o);
        for (std::size_t i = 0; i < kTerms; ++i)
            sum = hn::MulAdd(value[i], hn::LoadU(d, transposed + i * stride + o), sum);
        hn::StoreU(sum, d, y + o);
    }
}

/// One row alone: the weights are read once and in the order of memory, because they often come
/// from beyond the L2 cache; the sums stay in the L1 cache. Same bits as a block.
HWY_INLINE void multiply_one(float const* x, float const* transposed, std::size_t in,
                             std::size_t stride, float* y) {
    std::fill_n(y, stride, 0.0F);
    std::size_t i = 0;
    for (; i + 8 <= in; i += 8) add_terms<8>(x + i, transposed + i * stride, stride, y);
    for (; i < in; ++i) add_terms<1>(x + i, transposed + i * stride, stride, y);
}

void multiply(float const* x, std::size_t x_step, std::size_t rows, float const* transposed,
              std::size_t in, std::size_t stride, float* y, std::size_t y_step) {
    std::size_t r = 0;
    for (; r + kBlockRows <= rows; r += kBlockRows) {
        multiply_rows<kBlockRows>(x + r * x_step, x_step, transposed, in, stride, y + r * y_step,
                                  y_step);
    }
    switch (rows - r) {
        case 5:
            multiply_rows<3>(x + r * x_step, x_step, transposed, in, stride, y + r * y_step,
                             y_step);
            r += 3;
            [[fallthrough]];
        case 2:
            return multiply_rows<2>(x + r * x_step, x_step, transposed, in, stride, y + r * y_step,
                                    y_step);
        case 4:
            return multiply_rows<4>(x + r * x_step, x_step, transposed, in, stride, y + r * y_step,
                                    y_step);
        case 3:
            return multiply_rows<3>(x + r * x_step, x_step, transposed, in, stride, y + r * y_step,
                                    y_step);
        case 1:
            return multiply_one(x + r * x_step, transposed, in, stride, y + r * y_step);
        default:
            return;
    }
}

void silu(float* values, std::size_t count) {
    FloatTag const d;
    for (std::size_t i = 0; i < count; i += hn::Lanes(d))
        hn::StoreU(silu_of(hn::LoadU(d, values + i)), d, values + i);
}

/// Sum of value(x) over a row; its lanes' sums are added at the end.
template <class Value>
HWY_INLINE FloatVec row_sum(float const* row, std::size_t width, Value const& value) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    auto even = hn::Zero(d);
    auto odd = hn::Zero(d);
    std::size_t i = 0;
    for (; i + 2 * lanes <= width; i += 2 * lanes) {
        even = hn::Add(even, value(hn::LoadU(d, row + i)));
        odd = hn::Add(odd, value(hn::LoadU(d, row + i + lanes)));
    }
    for (; i < width; i += lanes) {
        auto const rest = value(hn::LoadU(d, row + i));
        even = hn::Add(even, hn::IfThenElseZero(hn::FirstN(d, std::min(lanes, width - i)), rest));
    }
    return hn::SumOfLanes(d, hn::Add(even, odd));
}

void normalise(float const* in, std::size_t step, std::size_t rows, std::size_t width, float* out,
               float epsilon) {
    FloatTag const d;
    auto const share = hn::Set(d, 1.0F / static_cast<float>(width));
    for (std::size_t r = 0; r < rows; ++r) {
        float const* x = in + r * step;
        float* y = out + r * step;
        auto const mean = hn::Mul(row_sum(x, width, [](FloatVec value) { return value; }), share);
        auto const square = [mean](FloatVec value) {
            auto const distance = hn::Sub(value, mean);
            return hn::Mul(distance, distance);
        };
        auto const variance = hn::Mul(row_sum(x, width, square), share);
        auto const scale =
            hn::Div(hn::Set(d, 1.0F), hn::Sqrt(hn::Add(variance, hn::Set(d, epsilon))));
        for (std::size_t i = 0; i < width; i += hn::Lanes(d))
            hn::StoreU(hn::Mul(hn::Sub(hn::LoadU(d, x + i), mean), scale), d, y + i);
    }
}

float dot(float const* a, float const* b, std::size_t count) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    auto even = hn::Zero(d);
    auto odd = hn::Zero(d);
    std::size_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
        even = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), even);
        odd = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), odd);
    }
    float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
    for (; i < count; ++i) sum += a[i] * b[i];
    return sum;
}

void add_scaled(float factor, float const* row, std::size_t count, float* out) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    auto const scale = hn::Set(d, factor);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, row + i), hn::LoadU(d, out + i)), d, out + i);
    for (; i < count; ++i) out[i] += factor * row[i];
}

void add_bias_relu(float* values, std::size_t rows, std::size_t stride, float const* bias) {
    FloatTag const d;
    for (std::size_t r = 0; r < rows; ++r) {
        float* row = values + r * stride;
        for (std::size_t i = 0; i < stride; i += hn::Lanes(d)) {
            auto const sum = hn::Add(hn::LoadU(d, row + i), hn::LoadU(d, bias + i));
            hn::StoreU(hn::Max(sum, hn::Zero(d)), d, row + i);
        }
    }
}

std::uint32_t arg_max(float const* values, std::size_t count) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    auto best_vector = hn::Set(d, values[0]);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        best_vector = hn::Max(best_vector, hn::LoadU(d, values + i));
    float best = hn::GetLane(hn::MaxOfLanes(d, best_vector));
    for (; i < count; ++i) best = std::max(best, values[i]);
    auto const wanted = hn::Set(d, best);
    for (i = 0; i + lanes <= count; i += lanes) {
        auto const found = hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, values + i), wanted));
        if (found >= 0) return static_cast<std::uint32_t>(i + static_cast<std::size_t>(found));
    }
    while (i + 1 < count && values[i] != best) ++i;
    return static_cast<std::uint32_t>(i);
}

#if HWY_TARGET == HWY_SCALAR
/// Highway truncates where the machine has no instruction for it; stored halves must not depend on
/// the machine.
std::uint16_t round_to_half(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    std::uint32_t const sign = (bits >> 16) & 0x8000U;
    bits &= 0x7FFFFFFFU;
    constexpr std::uint32_t kSmallestNormal = 113U << 23;  // 2^-14
    if (bits < kSmallestNormal) {
        // Adding 1/2 moves the subnormal half to the low mantissa bits, rounded by the addition.
        float magnitude = 0.0F;
        std::memcpy(&magnitude, &bits, sizeof bits);
        magnitude += 0.5F;
        std::memcpy(&bits, &magnitude, sizeof bits);
        return static_cast<std::uint16_t>(sign | (bits - (126U << 23)));
    }
    std::uint32_t const odd = (bits >> 13) & 1U;
    bits += 0xFFFU + odd;                // half of the last kept bit, ties to even
    bits = (bits - (112U << 23)) >> 13;  // exponent bias 127 -> 15
    return static_cast<std::uint16_t>(sign | bits);
}

void to_half(float const* from, std::size_t count, std::uint16_t* to) {
    for (std::size_t i = 0; i < count; ++i)
        to[i] = round_to_half(std::min(std::max(from[i], -65504.0F), 65504.0F));
}
#else
void to_half(float const* from, std::size_t count, std::uint16_t* to) {
    FloatTag const d;
    hn::Rebind<hwy::float16_t, FloatTag> const half;
    hn::Rebind<std::uint16_t, FloatTag> const bits;
    std::size_t const lanes = hn::Lanes(d);
    auto const largest = hn::Set(d, 65504.0F);
    auto const convert = [&](hn::Vec<FloatTag> x) {
        auto const bounded = hn::Max(hn::Min(x, largest), hn::Neg(largest));
        return hn::BitCast(bits, hn::DemoteTo(half, bounded));
    };
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        hn::StoreU(convert(hn::LoadU(d, from + i)), bits, to + i);
    if (i == count) return;
    float tail_in[kLanePad] = {};
    std::uint16_t tail_out[kLanePad];
    std::memcpy(tail_in, from + i, (count - i) * sizeof(float));
    hn::StoreU(convert(hn::LoadU(d, tail_in)), bits, tail_out);
    std::memcpy(to + i, tail_out, (count - i) * sizeof(std::uint16_t));
}
#endif

void from_half(std::uint16_t const* from, std::size_t count, float* to) {
    FloatTag const d;
    hn::Rebind<hwy::float16_t, FloatTag> const half;
    hn::Rebind<std::uint16_t, FloatTag> const bits;
    std::size_t const lanes = hn::Lanes(d);
    auto const convert = [&](std::uint16_t const* source) {
        return hn::PromoteTo(d, hn::BitCast(half, hn::LoadU(bits, source)));
    };
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) hn::StoreU(convert(from + i), d, to + i);
    if (i == count) return;
    std::uint16_t tail_in[kLanePad] = {};
    float tail_out[kLanePad];
    std::memcpy(tail_in, from + i, (count - i) * sizeof(std::uint16_t));
    hn::StoreU(convert(tail_in), d, tail_out);
    std::memcpy(to + i, tail_out, (count - i) * sizeof(float));
}

char const* dispatched_target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(multiply);
HWY_EXPORT(silu);
HWY_EXPORT(normalise);
HWY_EXPORT(dot);
HWY_EXPORT(add_scaled);
HWY_EXPORT(add_bias_relu);
HWY_EXPORT(arg_max);
HWY_EXPORT(to_half);
HWY_EXPORT(from_half);
HWY_EXPORT(dispatched_target);

PackedMatrix::PackedMatrix(std::span<float const> row_major, std::size_t outputs,
                           std::size_t inputs)
    : out(outputs), in(inputs), stride(padded(outputs)), data(stride * inputs, 0.0F) {
    validate(row_major.size() == outputs * inputs,
             "PackedMatrix: the matrix does not have out * in elements");
    for (std::size_t o = 0; o < out; ++o) {
        for (std::size_t i = 0; i < in; ++i) data[i * stride + o] = row_major[o * in + i];
    }
}

void multiply(float const* x, std::size_t x_step, std::size_t rows, float const* transposed,
              std::size_t in, std::size_t stride, float* y, std::size_t y_step) {
    HWY_DYNAMIC_DISPATCH(multiply)(x, x_step, rows, transposed, in, stride, y, y_step);
}
void silu(float* values, std::size_t count) { HWY_DYNAMIC_DISPATCH(silu)(values, count); }
void normalise(float const* in, std::size_t step, std::size_t rows, std::size_t width, float* out,
               float epsilon) {
    HWY_DYNAMIC_DISPATCH(normalise)(in, step, rows, width, out, epsilon);
}
float dot(float const* a, float const* b, std::size_t count) {
    return HWY_DYNAMIC_DISPATCH(dot)(a, b, count);
}
void add_scaled(float factor, float const* row, std::size_t count, float* out) {
    HWY_DYNAMIC_DISPATCH(add_scaled)(factor, row, count, out);
}
void add_bias_relu(float* values, std::size_t rows, std::size_t stride, float const* bias) {
    HWY_DYNAMIC_DISPATCH(add_bias_relu)(values, rows, stride, bias);
}
std::uint32_t arg_max(float const* values, std::size_t count) {
    validate(count > 0, "arg_max: nothing to choose from");
    return HWY_DYNAMIC_DISPATCH(arg_max)(values, count);
}
void to_half(float const* from, std::size_t count, std::uint16_t* to) {
    HWY_DYNAMIC_DISPATCH(to_half)(from, count, to);
}
void from_half(std::uint16_t const* from, std::size_t count, float* to) {
    HWY_DYNAMIC_DISPATCH(from_half)(from, count, to);
}
char const* dispatched_target() { return HWY_DYNAMIC_DISPATCH(dispatched_target)(); }

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
