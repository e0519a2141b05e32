// Names the set of measured costs that a (weights, strategy) pair uses in a platform file.
#pragma once

#include <string>

#include "kv/strategy.hpp"

namespace ckvsim::decode {

/// For example "collective/user_token/fp16/idx2/search=item_table/scope=all/du1/m512/d64/h2/de32".
/// Keys of a model other than SIM begin with its name. Two arms with equal keys run the same
/// kernels on the same shapes.
std::string cost_key(model::SimShape const& shape, model::VariantParams const& variant,
                     kv::StrategyParams const& strategy, std::uint32_t features);

}  // namespace ckvsim::decode
