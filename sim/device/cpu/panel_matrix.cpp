#include "device/cpu/panel_matrix.hpp"

#include <algorithm>
#include <limits>

#include "core/error.hpp"

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/panel_matrix.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, kLanePad>;

/// As in kernels.cpp: sums, weights and one broadcast fill the registers.
constexpr std::size_t kBlockVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
constexpr std::size_t kBlockRows = 6;

/// Where outputs of a PanelMatrix go: to y.
struct ToRows {
    float* y;
    std::size_t y_step;
    [[nodiscard]] HWY_INLINE float* place(std::size_t row, std::size_t output) const {
        return y + row * y_step + output;
    }
    [[nodiscard]] HWY_INLINE std::size_t step() const { return y_step; }
    HWY_INLINE void written(std::size_t, std::size_t, std::size_t, std::size_t) const {}
};

/// ... or only the largest of each lane and its panel, [rows, kLanePad] each. (Sums are looked at
/// in memory: registers of a loop that others read leave it at every turn.)
struct ToBest {
    static constexpr std::size_t kStep = 8 * kLanePad;
    float* best;
    std::int32_t* panels;
    std::size_t outputs;
    float* block;  ///< [kBlockRows, kStep]
    [[nodiscard]] HWY_INLINE float* place(std::size_t, std::size_t) const { return block; }
    [[nodiscard]] HWY_INLINE std::size_t step() const { return kStep; }
    HWY_NOINLINE void written(std::size_t row, std::size_t rows, std::size_t output,
                              std::size_t width) const {
        FloatTag const d;
        hn::RebindToSigned<FloatTag> const di;
        for (std::size_t o = 0; o < width; o += hn::Lanes(d)) {
            std::size_t const first = output + o;
            auto const panel = hn::Set(di, static_cast<std::int32_t>(first / kLanePad));
            auto const real =
                hn::FirstN(d, outputs > first ? std::min(outputs - first, hn::Lanes(d)) : 0);
            for (std::size_t r = 0; r < rows; ++r) {
                std::size_t const at = (row + r) * kLanePad + first % kLanePad;
                auto const sums = hn::LoadU(d, block + r * kStep + o);
                auto const before = hn::LoadU(d, best + at);
                auto const larger = hn::And(hn::Gt(sums, before), real);  // the padding is none
                hn::StoreU(hn::IfThenElse(larger, sums, before), d, best + at);
                auto const place = hn::LoadU(di, panels + at);
                hn::StoreU(hn::IfThenElse(hn::RebindMask(di, larger), panel, place), di,
                           panels + at);
            }
        }
    }
};

/// `kStreams`: what follows these panels is asked for.
template <std::size_t kRows, std::size_t kVectors, bool kStreams, class Sink>
HWY_INLINE void panel_block(float const* x, std::size_t x_step, PanelMatrix const& matrix,
                            std::size_t row, std::size_t output, Sink const& sink) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    float const* w[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
        std::size_t const at = output + v * lanes;
        w[v] = matrix.data.data() + at / kLanePad * (matrix.in * kLanePad) + at % kLanePad;
    }
    hn::Vec<FloatTag> sum[kRows][kVectors];
    for (auto& sums : sum) {
        for (auto& vector : sums) vector = hn::Zero(d);
    }
    x += row * x_step;
    for (std::size_t i = 0; i < matrix.in; ++i) {
        hn::Vec<FloatTag> values[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v) values[v] = hn::LoadU(d, w[v] + i * kLanePad);
        for (std::size_t v = 0; kStreams && v < kVectors; v += kLanePad / lanes)
            hwy::Prefetch(w[v] + i * kLanePad + kVectors * lanes * matrix.in);
        for (std::size_t r = 0; r < kRows; ++r) {
            auto const value = hn::Set(d, x[r * x_step + i]);
            for (std::size_t v = 0; v < kVectors; ++v)
                sum[r][v] = hn::MulAdd(value, values[v], sum[r][v]);
        }
    }
    float* y = sink.place(row, output);
    for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t v = 0; v < kVectors; ++v)
            hn::StoreU(sum[r][v], d, y + r * sink.step() + v * lanes);
    }
    sink.written(row, kRows, output, kVectors * lanes);
}

/// All rows, four at least, of a few outputs: these stay in the L1 cache.
template <std::size_t kVectors, class Sink>
HWY_INLINE void panel_rows(float const* x, std::size_t x_step, std::size_t rows,
                           PanelMatrix const& matrix, std::size_t output, Sink const& sink) {
    // No block of one or two rows, which would wait for its own additions, but for five rows.
    std::size_t r = 0;
    for (; rows - r > 8 || rows - r == kBlockRows; r += kBlockRows)
        panel_block<kBlockRows, kVectors, false>(x, x_step, matrix, r, output, sink);
    for (; rows - r >= 7 || rows - r == 4; r += 4)
        panel_block<4, kVectors, false>(x, x_step, matrix, r, output, sink);
    if (rows - r == 5 || rows - r == 3) {
        panel_block<3, kVectors, false>(x, x_step, matrix, r, output, sink);
        r += 3;
    }
    if (rows - r == 2) panel_block<2, kVectors, false>(x, x_step, matrix, r, output, sink);
}

/// One row or a few: as many outputs at a time as hide the latency of the additions. W is hardly
/// used again: it passes through from beyond the L2 cache.
template <std::size_t kRows, std::size_t kVectors, class Sink>
HWY_INLINE void panel_few(float const* x, std::size_t x_step, PanelMatrix const& matrix,
                          Sink const& sink) {
    std::size_t const lanes = hn::Lanes(FloatTag());
    std::size_t o = 0;
    for (; o + kVectors * lanes <= matrix.stride; o += kVectors * lanes)
        panel_block<kRows, kVectors, true>(x, x_step, matrix, 0, o, sink);
    for (; o < matrix.stride; o += lanes)
        panel_block<kRows, 1, false>(x, x_step, matrix, 0, o, sink);
}

template <class Sink>
HWY_INLINE void panel_products(float const* x, std::size_t x_step, std::size_t rows,
                               PanelMatrix const& matrix, Sink const& sink) {
    if (rows == 1) return panel_few<1, 8>(x, x_step, matrix, sink);
    if (rows == 2) return panel_few<2, 4>(x, x_step, matrix, sink);
    if (rows == 3) return panel_few<3, 4>(x, x_step, matrix, sink);
    std::size_t const lanes = hn::Lanes(FloatTag());
    std::size_t o = 0;
    for (; o + kBlockVectors * lanes <= matrix.stride; o += kBlockVectors * lanes)
        panel_rows<kBlockVectors>(x, x_step, rows, matrix, o, sink);
    for (; o < matrix.stride; o += lanes) panel_rows<1>(x, x_step, rows, matrix, o, sink);
}

void multiply_panels(float const* x, std::size_t x_step, std::size_t rows, PanelMatrix const& w,
                     float* y, std::size_t y_step) {
    panel_products(x, x_step, rows, w, ToRows{y, y_step});
}

void arg_max_panels(float const* x, std::size_t x_step, std::size_t rows, PanelMatrix const& w,
                    std::uint32_t* result) {
    // Rows that share a pass over W: they stay in the L2 cache.
    constexpr std::size_t kPassRows = 20 * kBlockRows;
    float best[kPassRows * kLanePad];
    std::int32_t panels[kPassRows * kLanePad];
    float block[kBlockRows * ToBest::kStep];
    for (std::size_t first = 0; first < rows; first += kPassRows) {
        std::size_t const count = std::min(kPassRows, rows - first);
        std::fill_n(best, count * kLanePad, -std::numeric_limits<float>::infinity());
        std::fill_n(panels, count * kLanePad, 0);
        panel_products(x + first * x_step, x_step, count, w, ToBest{best, panels, w.out, block});
        for (std::size_t r = 0; r < count; ++r) {
            std::size_t top = r * kLanePad;
            auto const position = [&](std::size_t at) {
                return static_cast<std::size_t>(panels[at]) * kLanePad + at % kLanePad;
            };
            for (std::size_t at = top + 1; at < (r + 1) * kLanePad; ++at) {
                if (best[at] > best[top] || (best[at] == best[top] && position(at) < position(top)))
                    top = at;
            }
            result[first + r] = static_cast<std::uint32_t>(position(top));
        }
    }
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(multiply_panels);
HWY_EXPORT(arg_max_panels);

PanelMatrix::PanelMatrix(std::span<float const> row_major, std::size_t outputs, std::size_t inputs)
    : out(outputs), in(inputs), stride(padded(outputs)), data(stride * inputs, 0.0F) {
    validate(row_major.size() == outputs * inputs,
             "PanelMatrix: the matrix does not have out * in elements");
    for (std::size_t o = 0; o < out; ++o) {
        float* column = data.data() + o / kLanePad * (in * kLanePad) + o % kLanePad;
        for (std::size_t i = 0; i < in; ++i) column[i * kLanePad] = row_major[o * in + i];
    }
}

void multiply(float const* x, std::size_t x_step, std::size_t rows, PanelMatrix const& w, float* y,
              std::size_t y_step) {
    HWY_DYNAMIC_DISPATCH(multiply_panels)(x, x_step, rows, w, y, y_step);
}
void arg_max_products(float const* x, std::size_t x_step, std::size_t rows, PanelMatrix const& w,
                      std::uint32_t* best) {
    validate(w.out > 0, "arg_max_products: nothing to choose from");
    HWY_DYNAMIC_DISPATCH(arg_max_panels)(x, x_step, rows, w, best);
}

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
