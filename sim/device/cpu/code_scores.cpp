#include "device/cpu/code_scores.hpp"

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/code_scores.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void code_scores(CodeScores const& call) {
    hn::CappedTag<float, kLanePad> const d;
    hn::RebindToSigned<decltype(d)> const di;
    std::size_t const end = padded(call.tokens);
    for (std::size_t t = 0; t < end; t += hn::Lanes(d)) {
        auto const places = hn::LoadU(di, reinterpret_cast<std::int32_t const*>(call.places + t));
        auto sum = hn::GatherIndex(d, call.row_scores, places);
        for (std::size_t u = 0; u < call.user_dims; ++u)
            sum = hn::MulAdd(hn::Set(d, call.q[u]), hn::LoadU(d, call.user + u * end + t), sum);
        hn::StoreU(sum, d, call.scores + t);
    }
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(code_scores);

void code_scores(CodeScores const& call) { HWY_DYNAMIC_DISPATCH(code_scores)(call); }

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
