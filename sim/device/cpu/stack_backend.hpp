// decode::Backend of HSTU on the CPU. Apart from CpuBackend: K and V of a token depend on the
// tokens before it, so that entries are written layer by layer and nothing is made per item.
#pragma once

#include <memory>

#include "decode/backend.hpp"
#include "workload/population.hpp"

namespace ckvsim::device::cpu {

/// Weights, strategy and catalogue as make_backend() has checked them.
std::unique_ptr<decode::Backend> make_stack_backend(
    std::shared_ptr<model::SimWeights const> weights, kv::StrategyParams const& strategy,
    workload::Catalogue const& catalogue);

}  // namespace ckvsim::device::cpu
