#include "train/compute.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"

namespace ckvsim::train {
namespace {

std::string refusal(Compute const& compute) {
    try {
        require_consistent(compute);
    } catch (Error const& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::usage);
        return error.what();
    }
    return "";
}

TEST(Compute, AutomaticIsKernelsOnTheCpuAlone) {
    EXPECT_FALSE(Compute{}.portable());
    EXPECT_TRUE((Compute{.device = "cuda"}.portable()));
    EXPECT_TRUE((Compute{.operations = OperationKind::portable}.portable()));
    EXPECT_FALSE((Compute{.operations = OperationKind::kernels}.portable()));
}

TEST(Compute, RefusesWhatContradictsItself) {
    EXPECT_EQ(refusal({}), "");
    EXPECT_EQ(refusal({.device = "cuda:12", .precision = Precision::bf16}), "");
    for (char const* const name : {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "cuda:100", "CPU"}) {
        EXPECT_NE(refusal({.device = name}).find("no device has this name"), std::string::npos)
            << name;
    }
    EXPECT_NE(refusal({.device = "cuda", .operations = OperationKind::kernels})
                  .find("run on the CPU alone"),
              std::string::npos);
    EXPECT_NE(refusal({.precision = Precision::bf16}).find("Add --ops portable"),
              std::string::npos);
}

TEST(Compute, WordsComeBack) {
    for (char const* const word : {"auto", "kernels", "portable"})
        EXPECT_EQ(to_string(operation_kind_of(word)), word);
    for (char const* const word : {"fp32", "bf16"}) EXPECT_EQ(to_string(precision_of(word)), word);
    EXPECT_THROW(operation_kind_of("fast"), Error);
    EXPECT_THROW(precision_of("fp16"), Error);
}

TEST(Compute, RanksShareDevices) {
    EXPECT_EQ(device_of_rank("cuda", 5, 8, 4), "cuda:1");
    EXPECT_EQ(device_of_rank("cuda", 0, 1, 4), "cuda") << "alone: whatever libtorch takes";
    EXPECT_EQ(device_of_rank("cuda:2", 5, 8, 4), "cuda:2");
    EXPECT_EQ(device_of_rank("cuda", 1, 2, 0), "cuda") << "require_device has the words";
    EXPECT_EQ(device_of_rank("cpu", 1, 2, 0), "cpu");
}

}  // namespace
}  // namespace ckvsim::train
