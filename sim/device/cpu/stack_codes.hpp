// What low_rank and vq learn from K and V of HSTU. From the second layer on these depend on the
// tokens before, so that the catalogue has no rows to learn from: they are taken from histories,
// run through the layers as `full` keeps them in fp32.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "core/ids.hpp"
#include "device/cpu/row_codes.hpp"
#include "model/sim.hpp"

namespace ckvsim::device::cpu {

/// Rows per side and layer that codes are fitted to, at most (one more for every history).
inline constexpr std::size_t kFittedRows = std::size_t{128} * 256;

/// Fitted to K and V of every layer; empty for strategies that fit nothing.
using StackCodes = std::vector<std::array<SideCodes, 2>>;

/// Fits `strategy` to the tokens of `histories` (oldest first; their last max_tokens), SiLU
/// included. Of each history as many evenly spaced tokens count, all of them where there are fewer;
/// a token counts as often as it occurs. OpenMP-parallel, the same for any number of threads. Needs
/// room for the rows of all layers. Throws InternalError when there is no token or an item lies
/// beyond the catalogue.
StackCodes fit_stack_codes(model::SimWeights const& weights, kv::StrategyParams const& strategy,
                           std::span<std::vector<ItemId> const> histories);

}  // namespace ckvsim::device::cpu
