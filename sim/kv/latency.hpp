// Which strategies may be timed.
#pragma once

#include <optional>
#include <string>

#include "kv/strategy.hpp"

namespace ckvsim::kv {

/// Why the latency of a strategy that serves the model must not be measured or predicted; nullopt =
/// it may be. `low_rank` and `vq` of HSTU: entries and scores are those of the strategy, but
/// whole rows are put together for them, which a server would not do.
std::optional<std::string> latency_refusal(StrategyParams const& params, model::ModelKind model);

}  // namespace ckvsim::kv
