#include "app/serving_check.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <span>

#include "app/row.hpp"
#include "core/error.hpp"
#include "core/tensor_file.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::app {

namespace {

struct CheckResult {
    std::uint64_t samples = 0;
    double max_abs_difference = 0;  ///< of the score (probability); of those not in `flipped`
    std::uint64_t flipped = 0;      ///< samples beyond the tolerance whose choices were not forced
    std::uint64_t index_disagreements = 0;
    std::uint64_t index_total = 0;
    std::uint64_t top_k_disagreements = 0;
    std::uint64_t top_k_total = 0;
};

kv::StrategyParams exact_strategy(model::VariantParams const& variant) {
    kv::StrategyParams strategy;
    switch (variant.variant) {
        case model::Variant::collective:
            strategy.kind = kv::StrategyKind::collective;
            strategy.index_bytes = 4;
            break;
        case model::Variant::mean_pool:
        case model::Variant::no_history:
            strategy.kind = kv::StrategyKind::recompute;
            break;
        default:
            strategy.kind = kv::StrategyKind::full;
    }
    return strategy;
}

template <class Index>
std::vector<Index> index_table(TensorFile const& file, std::string const& name) {
    if (!file.has(name)) return {};
    auto const view = file.tensor(name).as<Index>();
    return {view.begin(), view.end()};
}

/// `width` choices an item; the padding item is left out.
template <class Index>
void count_indices(std::vector<Index> const& reference, std::vector<Index> const& own,
                   std::size_t width, CheckResult& result) {
    for (std::size_t i = width; i < reference.size() && i < own.size(); ++i) {
        ++result.index_total;
        result.index_disagreements += reference[i] != own[i] ? 1 : 0;
    }
}

/// HSTU with pools routes states, not items, so that a weight file holds no choices to force. A
/// near tie then goes the other way now and then (about 10^5 choices in a file), which moves its
/// sample's score far more than rounding does; kernels that computed something else would move all.
bool free_choices(model::SimWeights const& weights) {
    return weights.shape.stack_layers() > 0 &&
           weights.variant.variant == model::Variant::collective;
}
constexpr double kMostFlipped = 0.05;  ///< of the samples; at least one

double score_of(float logit) { return 1.0 / (1.0 + std::exp(-static_cast<double>(logit))); }

/// Reference samples through the backend, once with forced and once with free choices.
void compare_samples(TensorFile const& file, decode::Backend const& backend, CheckResult& result) {
    auto const offsets = file.tensor("ref.offsets").as<std::uint64_t>();
    auto const tokens = file.tensor("ref.tokens").as<std::uint32_t>();
    auto const candidates = file.tensor("ref.candidate").as<std::uint32_t>();
    auto const contexts = file.tensor("ref.context").as<std::uint32_t>();
    auto const logits = file.tensor("ref.logit").as<float>();
    auto const& shape = backend.weights().shape;
    bool const searches =
        model::has_attention(backend.weights().variant.variant) && shape.has_long_attention();
    std::span<std::uint32_t const> top_k;
    if (searches) top_k = file.tensor("ref.topk").as<std::uint32_t>();
    auto const scratch = backend.make_scratch();
    std::vector<std::byte> entry(backend.layout().entry_bytes(shape.max_tokens));
    std::vector<float> features(backend.feature_width());
    std::vector<std::uint32_t> chosen(shape.top_k);
    for (std::size_t sample = 0; sample < logits.size(); ++sample) {
        auto const history = tokens.subspan(offsets[sample], offsets[sample + 1] - offsets[sample]);
        auto const stored = backend.encode(history, shape.max_tokens, decode::EncodeMode::compute,
                                           entry.data(), *scratch);
        decode::ScoreRequest request;
        request.entry = {entry.data(), stored, shape.max_tokens};
        request.candidates = &candidates[sample];
        request.contexts = &contexts[sample];
        request.count = 1;
        std::span<std::uint32_t const> forced;
        if (searches) forced = top_k.subspan(sample * shape.top_k, shape.top_k);
        if (searches) request.forced_top_k = forced.data();
        backend.decode(request, features.data(), *scratch);
        float logit = 0;
        backend.tower(features.data(), 1, &logit, *scratch);
        double const difference = std::abs(score_of(logit) - score_of(logits[sample]));
        if (difference > kServingTolerance && free_choices(backend.weights())) {
            ++result.flipped;
        } else {
            result.max_abs_difference = std::max(result.max_abs_difference, difference);
        }
        ++result.samples;
        if (!searches) continue;
        request.forced_top_k = nullptr;
        request.chosen_top_k = chosen.data();
        backend.decode(request, features.data(), *scratch);
        for (std::uint32_t k = 0; k < shape.top_k; ++k) {
            if (forced[k] == UINT32_MAX) continue;
            ++result.top_k_total;
            result.top_k_disagreements +=
                std::find(chosen.begin(), chosen.end(), forced[k]) == chosen.end() ? 1 : 0;
        }
    }
}

CheckResult check(RunContext& context, model::VariantParams const& variant, std::uint64_t seed) {
    auto const path = config::weights_path(context.spec, variant, seed);
    TensorFile const file = TensorFile::read(path);
    auto const weights = context.weights(variant, seed);
    auto const pool_rows = [&](char const* side) {
        return index_table<std::uint32_t>(file, std::string("ref.") + side + ".index");
    };
    device::cpu::ForcedIndices forced{pool_rows("short.k"), pool_rows("short.v"),
                                      pool_rows("long.k"), pool_rows("long.v"),
                                      index_table<std::uint8_t>(file, "ref.signature")};
    device::cpu::BackendOptions options;
    options.memo_tables = false;
    options.forced = &forced;
    auto const backend = device::cpu::make_backend(weights, exact_strategy(variant),
                                                   context.population->catalogue(), options);
    CheckResult result;
    compare_samples(file, *backend, result);
    if (free_choices(*weights)) {
        result.index_disagreements = result.flipped;
        result.index_total = result.samples;
    }
    for (auto const& [reference, side] : {std::pair{&forced.short_k, &weights->short_site.k},
                                          std::pair{&forced.short_v, &weights->short_site.v},
                                          std::pair{&forced.long_k, &weights->long_site.k},
                                          std::pair{&forced.long_v, &weights->long_site.v}}) {
        if (!reference->empty())
            count_indices(*reference, device::cpu::arg_max_indices(*weights, *side), 1, result);
    }
    if (!forced.buckets.empty()) {
        count_indices(forced.buckets, device::cpu::item_buckets(weights),
                      weights->shape.bucket_hashes(), result);
    }
    return result;
}

void require_agreement(CheckResult const& result, std::string const& path) {
    auto const allowed = std::max(1.0, kMostFlipped * static_cast<double>(result.samples));
    if (static_cast<double>(result.flipped) > allowed) {
        throw DataError(path, 0,
                        "served scores differ from the trained model's by more than 1e-5 in " +
                            std::to_string(result.flipped) + " of " +
                            std::to_string(result.samples) +
                            " samples (allowed for near ties of the routers: 5 %); train again "
                            "with this version of ckvsim-train");
    }
    if (!(result.max_abs_difference <= kServingTolerance)) {
        throw DataError(path, 0,
                        "served scores differ from the trained model's by " +
                            std::to_string(result.max_abs_difference) +
                            " (allowed 1e-5); train again with this version of ckvsim-train");
    }
}

/// "portable operations, cuda, bf16"; what a weight file does not say is the default.
std::string computed_by(TensorFile const& file) {
    auto const said = [&](char const* key, char const* otherwise) {
        auto const found = file.attributes.find(key);
        return found == file.attributes.end() ? std::string(otherwise) : found->second;
    };
    return said("train.operations", "kernels") + ", " + said("train.device", "cpu") + ", " +
           said("train.precision", "fp32");
}

/// Arms whose weights were computed in different ways are not compared like for like.
void note_ways(std::map<std::string, std::string> const& first_by_way, metrics::Report& report) {
    if (first_by_way.size() < 2) return;
    std::string note = "Weights were not all computed in one way (operations, device, precision):";
    for (auto const& [way, first] : first_by_way) note += " " + way + " (" + first + " first);";
    report.notes.push_back(note + " what sets their arms apart may be that. Train all alike.");
}

/// Whether the limit of epochs ended a training that its early stop (two epochs without a better
/// tune AUC) had not: it may have been learning still.
bool ended_by_limit(TensorFile const& file) {
    for (char const* const key : {"train.max_epochs", "train.epochs", "train.best_epoch"}) {
        if (!file.attributes.contains(key)) return false;  // made by another program
    }
    auto const limit = file.integer("train.max_epochs");
    return file.integer("train.epochs") == limit && file.integer("train.best_epoch") + 2 > limit;
}

/// By stem, the seeds of trainings that the limit of epochs ended.
void note_limits(std::map<std::string, std::vector<std::uint64_t>> const& limited,
                 metrics::Report& report) {
    if (limited.empty()) return;
    std::string note = "Trainings that the limit of epochs ended, not their early stop:";
    for (auto const& [stem, seeds] : limited) {
        note += " " + stem + " (seed";
        for (auto const seed : seeds) note += " " + std::to_string(seed);
        note += ");";
    }
    report.notes.push_back(note +
                           " they may have been learning still. Raise /training/epochs "
                           "before their arms are called worse than others.");
}

/// What the trainer wrote about its run; returns how it computed.
std::string report_training(RunContext& context, model::VariantParams const& variant,
                            std::uint64_t seed,
                            std::map<std::string, std::vector<std::uint64_t>>& limited) {
    TensorFile const file = TensorFile::read(config::weights_path(context.spec, variant, seed));
    for (auto const& [key, text] : file.attributes) {
        if (!key.starts_with("train.")) continue;
        char* end = nullptr;
        double const value = std::strtod(text.c_str(), &end);
        if (end == text.c_str() || *end != '\0') continue;
        Row(context.report.table("training"))
            .set("weights", model::weights_stem(variant))
            .set("seed", seed)
            .set("fact", key.substr(6))
            .set("value", value)
            .add();
    }
    if (ended_by_limit(file)) limited[model::weights_stem(variant)].push_back(seed);
    return computed_by(file);
}

}  // namespace

void run_serving_check(RunContext& context) {
    context.progress.begin("serving against training");
    context.comm.run_phase("serving check", [&] {
        if (!context.comm.is_root()) return;
        std::map<std::string, std::string> first_by_way;
        std::map<std::string, std::vector<std::uint64_t>> limited;
        for (auto const& variant : config::variants_to_train(context.spec)) {
            for (auto const seed : context.spec.training.seeds) {
                CheckResult const result = check(context, variant, seed);
                auto const way = report_training(context, variant, seed, limited);
                first_by_way.try_emplace(
                    way, model::weights_stem(variant) + " seed " + std::to_string(seed));
                Row(context.report.table("serving_check"))
                    .set("arm", model::to_string(variant.variant))
                    .set("weights", model::weights_stem(variant))
                    .set("seed", seed)
                    .set("samples", result.samples)
                    .set("max_abs_difference", result.max_abs_difference)
                    .set("index_disagreements", result.index_disagreements)
                    .set("index_total", result.index_total)
                    .set("top_k_disagreements", result.top_k_disagreements)
                    .set("top_k_total", result.top_k_total)
                    .add();
                require_agreement(result, config::weights_path(context.spec, variant, seed));
            }
        }
        note_ways(first_by_way, context.report);
        note_limits(limited, context.report);
    });
    context.progress.end();
}

}  // namespace ckvsim::app
