#include "app/run_context.hpp"

#include <filesystem>

#include "core/error.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "engine/fit_histories.hpp"
#include "report/dataset_file.hpp"
#include "workload/dataset.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::app {

namespace {

/// One width or count that weights and spec must agree on, with its key.
struct ShapeFact {
    char const* key;
    std::uint32_t held;
    std::uint32_t wanted;
};

/// Of two shapes of one model, those that it has a use for.
std::vector<ShapeFact> shape_facts(model::SimShape const& held, model::SimShape const& wanted) {
    std::vector<ShapeFact> facts = {
        {"feature_dim", held.feature_dim, wanted.feature_dim},
        {"attention_dim", held.attention_dim, wanted.attention_dim},
        {"heads", held.heads, wanted.heads},
        {"layers", held.stack_layers(), wanted.stack_layers()},
        {"search_dim", held.search_width(), wanted.search_width()},
        {"hashes", held.bucket_hashes(), wanted.bucket_hashes()},
        {"max_tokens", held.max_tokens, wanted.max_tokens},
        {"context_dim", held.context_dim, wanted.context_dim},
    };
    if (held.signature_bits() + held.bucket_hashes() > 0)
        facts.push_back({"hash_bits", held.hash_bits, wanted.hash_bits});
    if (held.stack_layers() > 0) return facts;
    facts.push_back({"short_tokens", held.short_tokens, wanted.short_tokens});
    if (held.bucket_hashes() == 0) facts.push_back({"top_k", held.top_k, wanted.top_k});
    return facts;
}

/// Weights of another model or shape would be served, and predicted as something else.
void require_model(config::Spec const& spec, std::string const& path,
                   model::SimWeights const& weights) {
    if (weights.shape.kind != spec.model.kind) {
        std::string const held = model::to_string(weights.shape.kind);
        std::string const wanted = model::to_string(spec.model.kind);
        throw DataError(path, 0,
                        "holds weights of model '" + held + "', the spec's /model/kind is '" +
                            wanted + "'. set /model/kind=" + held + ", or prepare and train '" +
                            wanted + "' into another /files/weights_dir");
    }
    for (ShapeFact const& fact : shape_facts(weights.shape, spec.model)) {
        if (fact.held == fact.wanted) continue;
        std::string const key = fact.key;
        std::string const held = std::to_string(fact.held);
        throw DataError(path, 0,
                        "holds weights with " + key + " " + held + ", the spec's /model/" + key +
                            " is " + std::to_string(fact.wanted) + ". set /model/" + key + "=" +
                            held + ", or prepare and train again into another /files/weights_dir");
    }
    if (weights.shape.tower != spec.model.tower) {
        throw DataError(path, 0,
                        "holds weights with another /model/tower than the spec's. set the tower "
                        "that was trained, or train again into another /files/weights_dir");
    }
}

/// A file that was renamed.
void require_variant(std::string const& path, model::VariantParams const& held,
                     model::VariantParams const& wanted) {
    if (model::weights_stem(held) == model::weights_stem(wanted)) return;
    throw DataError(path, 0,
                    "holds weights of variant '" + model::weights_stem(held) + "', not '" +
                        model::weights_stem(wanted) +
                        "' as its name says. give it its name back, or train again");
}

}  // namespace

std::unique_ptr<workload::Population> make_population(config::Spec const& spec) {
    if (spec.workload.kind == config::WorkloadKind::synthetic) {
        return workload::make_synthetic(spec.workload.synthetic);
    }
    auto const& path = spec.workload.dataset_path;
    if (!std::filesystem::exists(path)) {
        throw DataError(
            path, 0,
            "the dataset does not exist; make it with: ckvsim import <format> <folder> -o " + path);
    }
    auto dataset = report::read_dataset(path);
    if (spec.workload.kind == config::WorkloadKind::expanded) {
        if (spec.workload.expansion.items != 0 &&
            spec.workload.expansion.items < dataset.catalogue.items) {
            throw ConfigError(
                spec.name, {{"/workload/expansion/items",
                             std::to_string(spec.workload.expansion.items) + " items, but " + path +
                                 " has " + std::to_string(dataset.catalogue.items),
                             "a catalogue can only grow; 0 keeps the dataset's"}});
        }
        return std::make_unique<workload::ExpandedPopulation>(std::move(dataset),
                                                              spec.workload.expansion);
    }
    return workload::make_dataset_population(std::move(dataset));
}

std::string calibration_path(config::Spec const& spec) {
    return spec.calibration_path.empty() ? "results/local/calibration-" + spec.name + ".json"
                                         : spec.calibration_path;
}

std::shared_ptr<model::SimWeights const> RunContext::weights(model::VariantParams const& variant,
                                                             std::uint64_t seed) {
    auto const path = config::weights_path(spec, variant, seed);
    auto& slot = weights_[path];
    if (!slot) {
        auto loaded = model::load_sim_weights(path, population->catalogue());
        require_model(spec, path, loaded);
        require_variant(path, loaded.variant, variant);
        slot = std::make_shared<model::SimWeights const>(std::move(loaded));
    }
    return slot;
}

std::span<std::vector<ItemId> const> RunContext::fit_histories() {
    if (!fit_histories_)
        fit_histories_ = engine::fit_histories(*population, spec.model.max_tokens, spec.seed);
    if (fit_histories_->empty() && spec.model.stack_layers() > 0) {
        throw DataError(population->describe(), 0,
                        "every history is empty; low_rank and vq of model 'hstu' have no tokens "
                        "to be fitted to");
    }
    return *fit_histories_;
}

std::shared_ptr<decode::Backend const> RunContext::backend(model::VariantParams const& variant,
                                                           kv::StrategyParams const& strategy,
                                                           std::uint64_t seed) {
    device::cpu::BackendOptions options;
    if (strategy.kind == kv::StrategyKind::low_rank || strategy.kind == kv::StrategyKind::vq ||
        strategy.mean_keys) {
        options.histories = fit_histories();
    }
    return device::cpu::make_backend(weights(variant, seed), strategy, population->catalogue(),
                                     options);
}

kv::EntryLayout RunContext::layout(config::ArmSpec const& arm) const {
    return {spec.model, arm.weights, arm.strategy,
            static_cast<std::uint32_t>(population->catalogue().features.size())};
}

}  // namespace ckvsim::app
