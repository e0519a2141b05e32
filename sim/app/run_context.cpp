#include "app/run_context.hpp"

#include <filesystem>

#include "core/error.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "report/dataset_file.hpp"
#include "workload/dataset.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::app {

namespace {

void require_model(config::Spec const& spec, std::string const& path,
                   model::SimWeights const& weights) {
    if (weights.shape.kind == spec.model.kind) return;
    std::string const held = model::to_string(weights.shape.kind);
    std::string const wanted = model::to_string(spec.model.kind);
    throw DataError(path, 0,
                    "holds weights of model '" + held + "', the spec's /model/kind is '" + wanted +
                        "'. set /model/kind=" + held + ", or prepare and train '" + wanted +
                        "' into another /files/weights_dir");
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
        slot = std::make_shared<model::SimWeights const>(std::move(loaded));
    }
    return slot;
}

std::shared_ptr<decode::Backend const> RunContext::backend(model::VariantParams const& variant,
                                                           kv::StrategyParams const& strategy,
                                                           std::uint64_t seed) {
    return device::cpu::make_backend(weights(variant, seed), strategy, population->catalogue());
}

kv::EntryLayout RunContext::layout(config::ArmSpec const& arm) const {
    return {spec.model, arm.weights, arm.strategy,
            static_cast<std::uint32_t>(population->catalogue().features.size())};
}

}  // namespace ckvsim::app
