#include "device/cpu/quantised_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.hpp"

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/quantised_rows.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include "device/cpu/attention_inl.hpp"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;

/// Codes of a byte each after one scale and zero.
struct Int8Form {
    static constexpr bool kNibbles = false;
    static constexpr float kTop = 255.0F;
    static std::size_t header(std::size_t) { return 4; }
    static std::size_t group(std::size_t) { return 0; }
    static std::size_t group_end(std::size_t, std::size_t width) { return width; }
    static float code(std::uint8_t const* codes, std::size_t i) { return codes[i]; }
    static HWY_INLINE FloatVec vector(std::uint8_t const* codes, std::size_t i) {
        hn::Rebind<std::uint8_t, FloatTag> const bytes;
        return hn::ConvertTo(FloatTag(), hn::PromoteTo(IntTag(), hn::LoadU(bytes, codes + i)));
    }
};

/// Codes of half a byte in groups, all scales and zeros in front.
struct Int4Form {
    static constexpr bool kNibbles = true;
    static constexpr float kTop = 15.0F;
    static std::size_t header(std::size_t width) {
        return 4 * ((width + kv::kInt4Group - 1) / kv::kInt4Group);
    }
    static std::size_t group(std::size_t i) { return i / kv::kInt4Group; }
    static std::size_t group_end(std::size_t i, std::size_t width) {
        return std::min(width, (group(i) + 1) * kv::kInt4Group);
    }
    static float code(std::uint8_t const* codes, std::size_t i) {
        return static_cast<float>((codes[i / 2] >> (4 * (i % 2))) & 15);
    }
    /// From an even position.
    static HWY_INLINE FloatVec vector(std::uint8_t const* codes, std::size_t i) {
#if HWY_TARGET == HWY_SCALAR
        return hn::Set(FloatTag(), code(codes, i));
#else
        hn::Rebind<std::uint8_t, FloatTag> const bytes;
        hn::Half<decltype(bytes)> const pairs;
        hn::Rebind<std::uint16_t, decltype(pairs)> const wide;
        auto const both = hn::PromoteTo(wide, hn::LoadU(pairs, codes + i / 2));
        auto const apart = hn::And(hn::Or(both, hn::ShiftLeft<4>(both)), hn::Set(wide, 0x0F0F));
        return hn::ConvertTo(FloatTag(), hn::PromoteTo(IntTag(), hn::BitCast(bytes, apart)));
#endif
    }
};

HWY_INLINE float half_at(std::uint8_t const* from) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, from, sizeof bits);
    return load_one(&bits);
}

/// Scale and zero of one group of a row.
struct Steps {
    float scale;
    float zero;
};
template <class Form>
HWY_INLINE Steps steps_of(std::uint8_t const* row, std::size_t i) {
    std::uint8_t const* from = row + 4 * Form::group(i);
    return {half_at(from), half_at(from + 2)};
}

/// Scale and zero, in turn, of the same group of four rows: a conversion for two rows, because
/// single ones would take longer than the group's codes.
template <class Form>
HWY_INLINE void steps_of(std::uint8_t const* const (&rows)[kTokenBlock], std::size_t i,
                         float* steps) {
#if HWY_TARGET == HWY_SCALAR
    for (std::size_t t = 0; t < kTokenBlock; ++t) {
        Steps const own = steps_of<Form>(rows[t], i);
        steps[2 * t] = own.scale;
        steps[2 * t + 1] = own.zero;
    }
#else
    FewTag const few;
    hn::Rebind<hwy::float16_t, FewTag> const halves;
    hn::Repartition<std::uint64_t, decltype(halves)> const pair;
    for (std::size_t t = 0; t < kTokenBlock; t += 2) {
        std::uint32_t first = 0;
        std::uint32_t second = 0;
        std::memcpy(&first, rows[t] + 4 * Form::group(i), sizeof first);
        std::memcpy(&second, rows[t + 1] + 4 * Form::group(i), sizeof second);
        auto const both = hn::Set(pair, first | std::uint64_t{second} << 32);
        hn::StoreU(hn::PromoteTo(few, hn::BitCast(halves, both)), few, steps + 2 * t);
    }
#endif
}

/// One value of a row of `width` values; zero beyond it.
template <class Form>
HWY_INLINE float value_at(std::uint8_t const* row, std::size_t width, std::size_t i) {
    if (i >= width) return 0.0F;
    Steps const steps = steps_of<Form>(row, i);
    return multiply_add(Form::code(row + Form::header(width), i), steps.scale, steps.zero);
}

/// How many values from `i` on share scale and zero and can be read as vectors; 0 where `i` cannot
/// start a vector.
template <class Form>
HWY_INLINE std::size_t run_from(std::size_t i, std::size_t width) {
    if (i >= width || (Form::kNibbles && hn::Lanes(FloatTag()) > 1 && i % 2 != 0)) return 0;
    return Form::group_end(i, width) - i;
}

/// A vector of values across groups, from an odd half byte or beyond the row.
template <class Form>
HWY_NOINLINE FloatVec gathered(std::uint8_t const* row, std::size_t width, std::size_t i) {
    HWY_ALIGN float values[kLanePad];
    for (std::size_t lane = 0; lane < hn::Lanes(FloatTag()); ++lane)
        values[lane] = value_at<Form>(row, width, i + lane);
    return hn::Load(FloatTag(), values);
}

/// Scales, zeros and codes of four rows within one run.
template <class Form>
struct RunOfRows {
    HWY_INLINE RunOfRows(std::uint8_t const* const (&rows)[kTokenBlock], std::size_t width,
                         std::size_t i) {
        HWY_ALIGN float steps[2 * kTokenBlock];
        steps_of<Form>(rows, i, steps);
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            scale[t] = hn::Set(FloatTag(), steps[2 * t]);
            zero[t] = hn::Set(FloatTag(), steps[2 * t + 1]);
            codes[t] = rows[t] + Form::header(width);
        }
    }
    HWY_INLINE FloatVec values(std::size_t t, std::size_t i) const {
        return hn::MulAdd(Form::vector(codes[t], i), scale[t], zero[t]);
    }
    FloatVec scale[kTokenBlock];
    FloatVec zero[kTokenBlock];
    std::uint8_t const* codes[kTokenBlock];
};

/// out[t] = q . values [first, first + count) of rows[t], in the order of the sums of dots() in
/// attention_inl.hpp.
template <class Form>
HWY_INLINE void dots(float const* q, std::uint8_t const* const (&rows)[kTokenBlock],
                     std::size_t width, std::size_t first, std::size_t count, float* out) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    FloatVec sums[kTokenBlock];
    for (auto& sum : sums) sum = hn::Zero(d);
    std::size_t i = 0;
    while (i + lanes <= count) {
        std::size_t const end = i + std::min(run_from<Form>(first + i, width), count - i);
        if (end < i + lanes) {
            auto const x = hn::LoadU(d, q + i);
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                sums[t] = hn::MulAdd(x, gathered<Form>(rows[t], width, first + i), sums[t]);
            i += lanes;
            continue;
        }
        RunOfRows<Form> const run(rows, width, first + i);
        for (; i + lanes <= end; i += lanes) {
            auto const x = hn::LoadU(d, q + i);
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                sums[t] = hn::MulAdd(x, run.values(t, first + i), sums[t]);
        }
    }
    sum_lanes(sums, out);
    for (; i < count; ++i) {
        for (std::size_t t = 0; t < kTokenBlock; ++t)
            out[t] = multiply_add(q[i], value_at<Form>(rows[t], width, first + i), out[t]);
    }
}

/// out[0 .. count) += sum_t p[t] * values [first, first + count) of rows[t], as accumulate() in
/// target_attention.cpp.
template <class Form>
HWY_INLINE void accumulate(float const* p, std::uint8_t const* const (&rows)[kTokenBlock],
                           std::size_t width, std::size_t first, std::size_t count, float* out) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    FloatVec weights[kTokenBlock];
    for (std::size_t t = 0; t < kTokenBlock; ++t) weights[t] = hn::Set(d, p[t]);
    std::size_t i = 0;
    while (i + lanes <= count) {
        std::size_t const end = i + std::min(run_from<Form>(first + i, width), count - i);
        if (end < i + lanes) {
            auto sum = hn::LoadU(d, out + i);
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                sum = hn::MulAdd(weights[t], gathered<Form>(rows[t], width, first + i), sum);
            hn::StoreU(sum, d, out + i);
            i += lanes;
            continue;
        }
        RunOfRows<Form> const run(rows, width, first + i);
        for (; i + lanes <= end; i += lanes) {
            auto sum = hn::LoadU(d, out + i);
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                sum = hn::MulAdd(weights[t], run.values(t, first + i), sum);
            hn::StoreU(sum, d, out + i);
        }
    }
    for (; i < count; ++i) {
        for (std::size_t t = 0; t < kTokenBlock; ++t)
            out[i] = multiply_add(p[t], value_at<Form>(rows[t], width, first + i), out[i]);
    }
}

/// Rows of the block at `first`; asks for those that are read kAheadRows later.
HWY_INLINE void rows_at(TokenRows const& side, std::size_t slots, std::size_t first,
                        std::size_t bytes, std::uint8_t const* (&rows)[kTokenBlock]) {
    constexpr std::size_t kAheadRows = 32;
    for (std::size_t t = 0; t < kTokenBlock; ++t) {
        rows[t] = static_cast<std::uint8_t const*>(side.rows[first + t]);
        if (first + kAheadRows >= slots) continue;
        auto const* next = static_cast<char const*>(side.rows[first + kAheadRows + t]);
        for (std::size_t b = 0; b < bytes; b += kLineBytes) hwy::Prefetch(next + b);
    }
}

/// K of query c: weights of its heads at `base`.
template <class Form>
HWY_INLINE void read_keys(AttentionCall const& call, std::size_t c, float* base) {
    std::size_t const width = call.heads * call.head_dim - call.k.user_dims;
    std::size_t const bytes = kv::row_bytes(call.row_type, static_cast<std::uint32_t>(width));
    float const* q = call.q + c * call.q_step;
    std::uint8_t const* rows[kTokenBlock];
    std::size_t const slots = row_slots(call.k.count(call.tokens));
    for (std::size_t t = 0; t < slots; t += kTokenBlock) {
        rows_at(call.k, slots, t, bytes, rows);
        for (std::size_t h = 0; h < call.heads; ++h) {
            std::size_t const first = h * call.head_dim;
            dots<Form>(q + first, rows, width, first, call.head_dim,
                       scores_at(call, base, h).products(call) + t);
        }
    }
    for (std::size_t h = 0; h < call.heads; ++h)
        weigh(call, c, q, h, scores_at(call, base, h), call.out + c * call.out_step);
}

/// V of query c, added to what weigh() left in the user dimensions.
template <class Form>
HWY_INLINE void read_values(AttentionCall const& call, std::size_t c, float* base) {
    std::size_t const width = call.heads * call.head_dim - call.v.user_dims;
    std::size_t const bytes = kv::row_bytes(call.row_type, static_cast<std::uint32_t>(width));
    float* out = call.out + c * call.out_step;
    std::fill_n(out, width, 0.0F);
    std::uint8_t const* rows[kTokenBlock];
    std::size_t const slots = row_slots(call.v.count(call.tokens));
    for (std::size_t t = 0; t < slots; t += kTokenBlock) {
        rows_at(call.v, slots, t, bytes, rows);
        for (std::size_t h = 0; h < call.heads; ++h) {
            std::size_t const first = h * call.head_dim;
            accumulate<Form>(scores_at(call, base, h).weights(call) + t, rows, width, first,
                             call.head_dim, out + first);
        }
    }
}

void quantised_keys(AttentionCall const& call, float* weights) {
    for (std::size_t c = 0; c < call.count; ++c) {
        float* base = weights + c * call.heads * score_floats(call);
        if (call.row_type == kv::ValueType::int8) {
            read_keys<Int8Form>(call, c, base);
        } else {
            read_keys<Int4Form>(call, c, base);
        }
    }
}

void quantised_values(AttentionCall const& call, float* weights) {
    for (std::size_t c = 0; c < call.count; ++c) {
        float* base = weights + c * call.heads * score_floats(call);
        if (call.row_type == kv::ValueType::int8) {
            read_values<Int8Form>(call, c, base);
        } else {
            read_values<Int4Form>(call, c, base);
        }
    }
}

template <class Form>
HWY_INLINE void search_query(SearchCall const& call, std::size_t c) {
    auto const* keys = static_cast<std::uint8_t const*>(call.keys);
    std::size_t const held = call.held == 0 ? call.width : call.held;
    std::size_t const bytes = kv::row_bytes(call.key_type, static_cast<std::uint32_t>(held));
    std::size_t const step = call.key_bytes == 0 ? bytes : call.key_bytes;
    auto const key = [&](std::size_t token) {
        std::size_t const last = std::min(token, call.tokens - 1);
        return keys + (call.ids != nullptr ? call.ids[last] : last) * step;
    };
    /// Far enough ahead to hide the memory latency of keys that lie scattered in a table.
    constexpr std::size_t kAhead = 32;
    for (std::size_t first = 0; first < call.tokens; first += kTokenBlock) {
        std::uint8_t const* rows[kTokenBlock];
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            rows[t] = key(first + t);
            if (call.ids == nullptr) continue;
            std::uint8_t const* next = key(first + kAhead + t);
            for (std::size_t b = 0; b < bytes; b += kLineBytes) hwy::Prefetch(next + b);
        }
        dots<Form>(call.q + c * call.q_step, rows, held, 0, call.width,
                   call.scores + c * call.scores_step + first);
    }
}

void search_rows(SearchCall const& call) {
    for (std::size_t c = 0; c < call.count; ++c) {
        if (call.key_type == kv::ValueType::int8) {
            search_query<Int8Form>(call, c);
        } else {
            search_query<Int4Form>(call, c);
        }
    }
}

template <class Form>
HWY_INLINE void load_values(std::uint8_t const* row, std::size_t width, float* out) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    std::uint8_t const* codes = row + Form::header(width);
    std::size_t i = 0;
    while (i < width) {
        std::size_t const end = Form::group_end(i, width);
        Steps const steps = steps_of<Form>(row, i);
        auto const scale = hn::Set(d, steps.scale);
        auto const zero = hn::Set(d, steps.zero);
        for (; i + lanes <= end; i += lanes)
            hn::StoreU(hn::MulAdd(Form::vector(codes, i), scale, zero), d, out + i);
        for (; i < end; ++i) out[i] = value_at<Form>(row, width, i);
    }
}

void load_quantised(kv::ValueType type, std::uint8_t const* row, std::size_t width, float* out) {
    if (type == kv::ValueType::int8) {
        load_values<Int8Form>(row, width, out);
    } else {
        load_values<Int4Form>(row, width, out);
    }
}

/// The least and the largest of `count` >= 1 values; of zeros the positive one.
void bounds_of(float const* values, std::size_t count, float* bounds) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    if (count < lanes) {
        auto const [least, largest] = std::minmax_element(values, values + count);
        bounds[0] = *least + 0.0F;
        bounds[1] = *largest + 0.0F;
        return;
    }
    // The last vector may overlap the one before.
    auto least = hn::LoadU(d, values + count - lanes);
    auto largest = least;
    for (std::size_t i = 0; i + lanes < count; i += lanes) {
        auto const x = hn::LoadU(d, values + i);
        least = hn::Min(least, x);
        largest = hn::Max(largest, x);
    }
    bounds[0] = hn::GetLane(hn::MinOfLanes(d, least)) + 0.0F;
    bounds[1] = hn::GetLane(hn::MaxOfLanes(d, largest)) + 0.0F;
}

/// codes[0 .. count) = round((values - zero) / scale), between 0 and top. count <= kInt4Group.
void codes_of(float const* values, std::size_t count, float zero, float inverse, float top,
              std::uint8_t* codes) {
    FloatTag const d;
    hn::Rebind<std::uint8_t, FloatTag> const bytes;
    HWY_ALIGN float whole[kv::kInt4Group];
    std::uint8_t rounded[kv::kInt4Group];
    std::copy_n(values, count, whole);
    std::fill(whole + count, whole + kv::kInt4Group, zero);
    for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
        auto const x = hn::Sub(hn::Load(d, whole + i), hn::Set(d, zero));
        auto const code = hn::Mul(x, hn::Set(d, inverse));
        auto const bounded = hn::Min(hn::Max(code, hn::Zero(d)), hn::Set(d, top));
        hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(bounded)), bytes, rounded + i);
    }
    std::copy_n(rounded, count, codes);
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(quantised_keys);
HWY_EXPORT(quantised_values);
HWY_EXPORT(search_rows);
HWY_EXPORT(load_quantised);
HWY_EXPORT(bounds_of);
HWY_EXPORT(codes_of);

namespace {

constexpr std::uint16_t kSign = 0x8000;
constexpr std::uint16_t kLargest = 0x7BFF;

float value_of(std::uint16_t half) {
    float value = 0.0F;
    from_half(&half, 1, &value);
    return value;
}

/// The largest half that is not above `value`; the least finite one where none is.
std::uint16_t half_below(float value) {
    std::uint16_t half = 0;
    to_half(&value, 1, &half);
    if (value_of(half) <= value || half == (kSign | kLargest)) return half;
    if ((half & ~kSign) == 0) return kSign | 1;
    return static_cast<std::uint16_t>((half & kSign) != 0 ? half + 1 : half - 1);
}

/// The least half that is not below `value` >= 0; the largest finite one where none is.
std::uint16_t half_above(float value) {
    std::uint16_t half = 0;
    to_half(&value, 1, &half);
    return value_of(half) >= value || half == kLargest ? half
                                                       : static_cast<std::uint16_t>(half + 1);
}

/// Writes scale and zero of a group to `steps` and codes of a byte each to `codes`.
void quantise(float const* values, std::size_t count, float top, std::byte* steps,
              std::uint8_t* codes) {
    float bounds[2];
    HWY_DYNAMIC_DISPATCH(bounds_of)(values, count, bounds);
    std::uint16_t const zero = half_below(bounds[0]);
    std::uint16_t const scale = half_above(std::max(0.0F, (bounds[1] - value_of(zero)) / top));
    std::memcpy(steps, &scale, sizeof scale);
    std::memcpy(steps + sizeof scale, &zero, sizeof zero);
    float const inverse = scale == 0 ? 0.0F : 1.0F / value_of(scale);
    for (std::size_t i = 0; i < count; i += kv::kInt4Group) {
        HWY_DYNAMIC_DISPATCH(codes_of)
        (values + i, std::min<std::size_t>(count - i, kv::kInt4Group), value_of(zero), inverse, top,
         codes + i);
    }
}

void store_int4(float const* row, std::size_t width, std::byte* out) {
    std::size_t const groups = (width + kv::kInt4Group - 1) / kv::kInt4Group;
    std::byte* packed = out + 4 * groups;
    for (std::size_t g = 0; g < groups; ++g) {
        std::size_t const first = g * kv::kInt4Group;
        std::size_t const count = std::min<std::size_t>(width - first, kv::kInt4Group);
        std::uint8_t codes[kv::kInt4Group + 1] = {};
        quantise(row + first, count, 15.0F, out + 4 * g, codes);
        for (std::size_t i = 0; i < count; i += 2)
            packed[(first + i) / 2] = static_cast<std::byte>(codes[i] | (codes[i + 1] << 4));
    }
}

}  // namespace

void store_row(kv::ValueType type, float const* row, std::size_t width, std::byte* out) {
    if (width == 0) return;
    switch (type) {
        case kv::ValueType::fp32:
            std::memcpy(out, row, width * sizeof(float));
            return;
        case kv::ValueType::fp16:
            to_half(row, width, reinterpret_cast<std::uint16_t*>(out));
            return;
        case kv::ValueType::int8:
            quantise(row, width, 255.0F, out, reinterpret_cast<std::uint8_t*>(out + 4));
            return;
        case kv::ValueType::int4:
            store_int4(row, width, out);
            return;
    }
    throw InternalError("device/cpu: store_row of an unknown type");
}

void load_row(kv::ValueType type, std::byte const* from, std::size_t width, float* row) {
    if (width == 0) return;
    if (type == kv::ValueType::fp32) {
        std::memcpy(row, from, width * sizeof(float));
    } else if (type == kv::ValueType::fp16) {
        from_half(reinterpret_cast<std::uint16_t const*>(from), width, row);
    } else {
        HWY_DYNAMIC_DISPATCH(load_quantised)
        (type, reinterpret_cast<std::uint8_t const*>(from), width, row);
    }
}

void attend_quantised(AttentionCall const& call, float* scratch) {
    attend_quantised_keys(call, scratch);
    attend_quantised_values(call, scratch);
}

void attend_quantised_keys(AttentionCall const& call, float* weights) {
    validate(is_quantised(call.row_type), "device/cpu: attend_quantised needs int8 or int4 rows");
    if (call.tokens == 0) {
        for (std::size_t c = 0; c < call.count; ++c)
            std::fill_n(call.out + c * call.out_step, call.heads * call.head_dim, 0.0F);
        return;
    }
    HWY_DYNAMIC_DISPATCH(quantised_keys)(call, weights);
}

void attend_quantised_values(AttentionCall const& call, float* weights) {
    if (call.tokens != 0) HWY_DYNAMIC_DISPATCH(quantised_values)(call, weights);
}

void search_quantised(SearchCall const& call) {
    validate(is_quantised(call.key_type), "device/cpu: search_quantised needs int8 or int4 keys");
    HWY_DYNAMIC_DISPATCH(search_rows)(call);
}

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
