#include "kv/latency.hpp"

namespace ckvsim::kv {

std::optional<std::string> latency_refusal(StrategyParams const& params, model::ModelKind model) {
    bool const coded = params.kind == StrategyKind::low_rank || params.kind == StrategyKind::vq;
    if (model != model::ModelKind::hstu || !coded) return std::nullopt;
    return "strategy '" + to_string(params.kind) +
           "' serves model 'hstu' for its accuracy and bytes alone (whole rows are put together "
           "from what is stored, before anything attends to them; a server would attend to " +
           (params.kind == StrategyKind::vq ? "codes" : "coefficients") +
           ", and its time would be another)";
}

}  // namespace ckvsim::kv
