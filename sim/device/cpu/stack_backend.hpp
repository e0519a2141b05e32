// decode::Backend of HSTU on the CPU. Apart from CpuBackend: K and V of a token depend on the
// tokens before it, so that entries are written layer by layer and nothing is made per item.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "decode/backend.hpp"
#include "workload/population.hpp"

namespace ckvsim::device::cpu {

/// Weights, strategy and catalogue as make_backend() has checked them; `histories` as
/// BackendOptions has them.
std::unique_ptr<decode::Backend> make_stack_backend(
    std::shared_ptr<model::SimWeights const> weights, kv::StrategyParams const& strategy,
    workload::Catalogue const& catalogue, std::span<std::vector<ItemId> const> histories);

}  // namespace ckvsim::device::cpu
