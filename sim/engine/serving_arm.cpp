#include "decode/cost_key.hpp"
#include "engine/serving.hpp"

namespace ckvsim::engine {

ServingArm make_serving_arm(std::string name, model::SimShape const& shape,
                            model::VariantParams const& variant, kv::StrategyParams const& strategy,
                            workload::Catalogue const& catalogue,
                            std::uint32_t context_vocabulary) {
    auto const features = static_cast<std::uint32_t>(catalogue.features.size());
    std::uint64_t shared = 0;
    for (auto const& part :
         kv::shared_bytes(shape, variant, strategy, catalogue, context_vocabulary)) {
        shared += part.bytes;
    }
    return {std::move(name),
            kv::EntryLayout(shape, variant, strategy, features),
            shared,
            decode::cost_key(shape, variant, strategy, features),
            nullptr,
            decode::nominal_work(shape, variant, strategy, catalogue),
            strategy.kind != kv::StrategyKind::recompute};
}

}  // namespace ckvsim::engine
