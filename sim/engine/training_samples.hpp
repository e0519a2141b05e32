// The trainer's sample file (sim/train/README.md) from a population.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/tensor_file.hpp"
#include "workload/population.hpp"

namespace ckvsim::engine {

struct SampleLimits {
    std::uint64_t train = 0;  ///< at most so many, kept by hash; 0 = all
    std::uint64_t tune = 0;
    std::uint64_t reference =
        64;  ///< forward passes stored with the weights, drawn from the tune split
};

/// Local, OpenMP-parallel. Fills the tensors of the sample file (attributes are the caller's). The
/// choice of samples is a pure function of (population, limits, seed). Throws DataError when a
/// split has no samples or the training labels are all equal; `origin` names the workload in
/// messages.
void collect_samples(workload::Population const& population, SampleLimits const& limits,
                     std::uint64_t seed, std::string const& origin, TensorFile& out,
                     std::function<void(std::uint64_t, std::uint64_t)> const& progress);

}  // namespace ckvsim::engine
