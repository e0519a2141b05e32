// The suite of attention_test.cpp on a GPU. Skips itself where there is none.
#include <gtest/gtest.h>

#include "cuda_device_attention.hpp"

namespace ckvsim::test {
namespace {

DeviceRunner const kDevice;

INSTANTIATE_TEST_SUITE_P(Device, AttentionKernels, ::testing::Values(&kDevice));

}  // namespace
}  // namespace ckvsim::test
