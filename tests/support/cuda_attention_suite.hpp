// The tests of tests/unit/device_cuda/attention_test.cpp, to be instantiated with what runs the
// kernels: the emulation or a GPU.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "cuda_cases.hpp"

namespace ckvsim::test {

/// Runs a batch and leaves the results in its output block.
class AttentionRunner {
  public:
    AttentionRunner() = default;
    AttentionRunner(AttentionRunner const&) = delete;
    AttentionRunner& operator=(AttentionRunner const&) = delete;
    virtual ~AttentionRunner() = default;
    /// Why nothing can run here; empty when it can.
    [[nodiscard]] virtual std::string missing() const { return {}; }
    virtual void attend(CudaBatch const& batch, device::cuda::PlanWishes const& wishes) const = 0;
};

class AttentionKernels : public ::testing::TestWithParam<AttentionRunner const*> {
  protected:
    void SetUp() override {
        std::string const missing = GetParam()->missing();
        if (!missing.empty()) GTEST_SKIP() << "skipped: " << missing;
    }
    static void expect_right(CudaCase const& made_from,
                             device::cuda::PlanWishes const& wishes = {}) {
        CudaBatch const batch(made_from);
        GetParam()->attend(batch, wishes);
        EXPECT_EQ(batch.check(), "") << made_from.describe();
    }
};

}  // namespace ckvsim::test
