// The CPU's attention and the GPU's, run in emulation, on the same entries: both are within their
// bounds of the truth, so they agree with each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "cuda_emulated_attention.hpp"
#include "device/cpu/attention.hpp"
#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cuda {
namespace {

/// Rows of one side as the CPU takes them: shared part with zeros behind, own part by dimension.
struct CpuRows {
    CpuRows(test::CudaBatch const& batch, std::size_t request, bool value_side) {
        std::uint32_t const tokens = batch.made_from().tokens[request];
        std::uint32_t const width = batch.shape().width();
        std::uint32_t const own = batch.shape().user_dims;
        std::size_t const step = cpu::padded(tokens);
        values.resize(std::size_t{tokens} * width);
        users.resize(own * step);
        for (std::uint32_t t = 0; t < tokens; ++t) {
            auto const row = batch.joined_row(request, value_side, t);
            for (std::uint32_t i = 0; i < width - own; ++i)
                values[std::size_t{t} * width + i] = static_cast<float>(row[i]);
            for (std::uint32_t u = 0; u < own; ++u)
                users[u * step + t] = static_cast<float>(row[width - own + u]);
        }
        halves.resize(values.size());
        cpu::to_half(values.data(), values.size(), halves.data());
        bool const half = batch.made_from().row_type == kv::ValueType::fp16;
        for (std::size_t slot = 0; slot < cpu::row_slots(tokens); ++slot) {
            std::size_t const at = std::min<std::size_t>(slot, tokens - 1) * width;
            rows.push_back(half ? static_cast<void const*>(halves.data() + at)
                                : static_cast<void const*>(values.data() + at));
        }
    }
    std::vector<float> values;
    std::vector<std::uint16_t> halves;
    std::vector<float> users;
    std::vector<void const*> rows;
};

std::vector<float> attend_on_cpu(test::CudaBatch const& batch, std::size_t request) {
    CpuRows const k(batch, request, false);
    CpuRows const v(batch, request, true);
    std::uint32_t const tokens = batch.made_from().tokens[request];
    cpu::AttentionCall call;
    call.q = batch.query(request, 0);
    call.q_step = batch.shape().q_step;
    call.count = batch.made_from().candidates[request];
    call.heads = batch.shape().heads;
    call.head_dim = batch.shape().head_dim;
    call.row_type = batch.made_from().row_type;
    call.k = {k.rows.data(), k.users.data()};
    call.v = {v.rows.data(), v.users.data()};
    call.tokens = tokens;
    call.k.user_dims = call.v.user_dims = batch.shape().user_dims;
    call.user_step = cpu::padded(tokens);
    std::vector<float> out(call.count * batch.shape().width());
    call.out = out.data();
    call.out_step = batch.shape().width();
    if (batch.shape().weighting == Weighting::silu) {
        call.weighting = cpu::Weighting::silu;
        call.divisor = batch.shape().silu_divisor;
    }
    std::vector<float> scratch(cpu::attention_scratch(call));
    cpu::attend(call, scratch.data());
    return out;
}

void expect_agreement(test::CudaCase const& made, AttentionKernel kernel) {
    test::CudaBatch const batch(made);
    test::attend_emulated(batch, test::plan_for(batch, {kernel, {}}));
    std::uint32_t const width = batch.shape().width();
    for (std::size_t r = 0; r < made.tokens.size(); ++r) {
        auto const expected = attend_on_cpu(batch, r);
        for (std::uint32_t c = 0; c < made.candidates[r]; ++c) {
            for (std::uint32_t i = 0; i < width; ++i)
                EXPECT_NEAR(batch.output(r, c)[i], expected[c * width + i], 2e-5)
                    << made.describe();
        }
    }
}

TEST(DevicesAgree, OnEveryKindOfEntry) {
    for (kv::ValueType const type : {kv::ValueType::fp32, kv::ValueType::fp16}) {
        for (std::uint32_t const index_bytes : {0U, 2U, 4U}) {
            for (std::uint32_t const user_dims : {0U, 3U}) {
                test::CudaCase made;
                made.heads = 2;
                made.head_dim = 32;
                made.user_dims = user_dims;
                made.index_bytes = index_bytes;
                made.row_type = type;
                made.weighting = user_dims == 0 ? Weighting::softmax : Weighting::silu;
                made.tokens = {61, 1};
                made.candidates = {3, 2};
                for (auto const kernel : {AttentionKernel::split, AttentionKernel::tile})
                    expect_agreement(made, kernel);
                made.weighting = Weighting::softmax;
                expect_agreement(made, AttentionKernel::split);
            }
        }
    }
}

}  // namespace
}  // namespace ckvsim::device::cuda
