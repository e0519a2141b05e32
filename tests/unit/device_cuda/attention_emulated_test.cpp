// The suite of attention_test.cpp in emulation, and what only the emulation can vary.
#include <gtest/gtest.h>

#include <vector>

#include "cuda_attention_suite.hpp"
#include "cuda_emulated_attention.hpp"

namespace ckvsim::device::cuda {
namespace {

using test::attend_emulated;
using test::CudaBatch;
using test::CudaCase;
using test::CudaSchedule;
using test::plan_for;

/// Backwards and with late copies: the order that differs most from what code is written for.
class EmulatedRunner final : public test::AttentionRunner {
  public:
    void attend(CudaBatch const& batch, PlanWishes const& wishes) const override {
        attend_emulated(batch, plan_for(batch, wishes),
                        {CudaSchedule::Order::backward, CudaSchedule::Copies::at_wait, 0});
    }
};
EmulatedRunner const kEmulation;

using test::AttentionKernels;
INSTANTIATE_TEST_SUITE_P(Emulated, AttentionKernels, ::testing::Values(&kEmulation));

/// A missing barrier or wait would show as a difference between orders of threads and of copies.
TEST(AttentionEmulated, ScheduleChangesNoBit) {
    for (AttentionKernel const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
        for (std::uint32_t const index_bytes : {0U, 2U}) {
            CudaCase made;
            made.head_dim = 64;
            made.index_bytes = index_bytes;
            made.user_dims = index_bytes;
            made.row_type = index_bytes == 0 ? kv::ValueType::fp32 : kv::ValueType::fp16;
            made.tokens = {100};
            made.candidates = {18};
            CudaBatch const batch(made);
            auto const plan = plan_for(batch, {kernel, 2});
            std::vector<std::byte> first;
            auto const& output = batch.blocks()[batch.output_block()];
            for (auto const order : {CudaSchedule::Order::forward, CudaSchedule::Order::backward,
                                     CudaSchedule::Order::shuffled}) {
                for (auto const copies :
                     {CudaSchedule::Copies::at_issue, CudaSchedule::Copies::at_wait}) {
                    attend_emulated(batch, plan, {order, copies, 9});
                    EXPECT_EQ(batch.check(), "") << made.describe();
                    std::vector<std::byte> const now(output.data(), output.data() + output.size());
                    if (first.empty()) first = now;
                    EXPECT_EQ(first, now);
                }
            }
        }
    }
}

}  // namespace
}  // namespace ckvsim::device::cuda
