// Tests of vector kernels on every instruction set that the machine has and the kernels were
// compiled for: TEST_P on a class derived from EveryTarget, instantiated over compiled_targets().
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/rng.hpp"
#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {

inline constexpr float kPoison = -12345.0F;

inline std::vector<float> random_floats(std::size_t count, std::uint64_t stream,
                                        double scale = 1.0) {
    CounterRng rng(2, Purpose::test, stream);
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(scale * rng.normal());
    return values;
}

/// Makes the kernels use one instruction set; 0 = the best again.
inline void choose_target(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
}

/// Runs the tests once per instruction set.
class EveryTarget : public ::testing::TestWithParam<std::int64_t> {
  protected:
    void SetUp() override { choose_target(GetParam()); }
    void TearDown() override { choose_target(0); }
};

/// Targets that the machine supports and kernels.cpp was compiled for.
inline std::vector<std::int64_t> compiled_targets() {
    std::vector<std::int64_t> targets;
    std::set<std::string> names;
    std::int64_t const supported = hwy::SupportedTargets();
    for (std::int64_t rest = supported; rest != 0; rest &= rest - 1) {
        std::int64_t const target = rest & ~(rest - 1);
        choose_target(target);
        if (names.insert(dispatched_target()).second) targets.push_back(target);
    }
    choose_target(0);
    return targets;
}

/// The code that the target leads to ("Scalar" for a target that was not compiled).
inline std::string target_name(::testing::TestParamInfo<std::int64_t> const& info) {
    choose_target(info.param);
    std::string const name = dispatched_target();
    choose_target(0);
    return name;
}

}  // namespace ckvsim::device::cpu
