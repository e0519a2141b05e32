// Exponential and SiLU of vectors, compiled once per instruction set: include it after
// hwy/foreach_target.h, inside no namespace.
// NOLINTBEGIN: Highway's include guard, toggled for every instruction set.
#if defined(CKVSIM_DEVICE_CPU_EXP_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef CKVSIM_DEVICE_CPU_EXP_INL
#undef CKVSIM_DEVICE_CPU_EXP_INL
#else
#define CKVSIM_DEVICE_CPU_EXP_INL
#endif
// NOLINTEND

#include <hwy/highway.h>

#include "device/cpu/kernels.hpp"

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, kLanePad>;
using FloatVec = hn::Vec<FloatTag>;

/// exp(x) of x <= 0, to about an ulp; zero where it would be no normal number. A softmax with
/// it takes 0.6 times as long as with hn::Exp, which takes any x. NaN stays NaN.
HWY_INLINE FloatVec exp_of_negative(FloatVec x) {
    FloatTag const d;
    hn::RebindToSigned<FloatTag> const di;
    // x = k ln 2 + r: adding 1.5 * 2^23 rounds k to the low bits of the sum.
    auto const magic = hn::Set(d, 12582912.0F);
    auto const shifted = hn::MulAdd(x, hn::Set(d, 1.44269504F), magic);
    auto const k = hn::Sub(shifted, magic);
    auto r = hn::NegMulAdd(k, hn::Set(d, 0.693359375F), x);
    r = hn::NegMulAdd(k, hn::Set(d, -2.12194440e-4F), r);
    // Taylor's coefficients serve: |r| <= ln(2) / 2, and r^8 / 8! is below half an ulp there.
    auto p = hn::MulAdd(r, hn::Set(d, 1.0F / 5040.0F), hn::Set(d, 1.0F / 720.0F));
    p = hn::MulAdd(p, r, hn::Set(d, 1.0F / 120.0F));
    p = hn::MulAdd(p, r, hn::Set(d, 1.0F / 24.0F));
    p = hn::MulAdd(p, r, hn::Set(d, 1.0F / 6.0F));
    p = hn::MulAdd(p, r, hn::Set(d, 0.5F));
    p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0F));
    auto const exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
    auto const result = hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
    return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.0F)), result);
}

/// x * sigmoid(x). The exponential is of -|x|: it cannot overflow.
HWY_INLINE FloatVec silu_of(FloatVec x) {
    FloatTag const d;
    auto const one = hn::Set(d, 1.0F);
    auto const e = exp_of_negative(hn::Neg(hn::Abs(x)));
    auto const share = hn::Div(x, hn::Add(one, e));
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(share, e), share);
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
