// `ckvsim prepare`: the trainer's sample file.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "app/commands.hpp"
#include "app/machine.hpp"
#include "app/run_context.hpp"
#include "core/error.hpp"
#include "engine/training_samples.hpp"

namespace ckvsim::app {

namespace {

std::string join(std::vector<std::uint32_t> const& values) {
    std::string text;
    for (auto const value : values) text += (text.empty() ? "" : ",") + std::to_string(value);
    return text;
}
std::string join(std::vector<std::uint64_t> const& values) {
    std::string text;
    for (auto const value : values) text += (text.empty() ? "" : ",") + std::to_string(value);
    return text;
}

void set_shape(model::SimShape const& shape, TensorFile& out) {
    // Samples of SIM stay as they were, and the weights trained from them up to date.
    if (shape.kind != model::ModelKind::sim) out.set("model", model::to_string(shape.kind));
    out.set("feature_dim", std::int64_t{shape.feature_dim});
    out.set("attention_dim", std::int64_t{shape.attention_dim});
    out.set("heads", std::int64_t{shape.heads});
    if (shape.stack_layers() > 0) {
        out.set("layers", std::int64_t{shape.layers});
    } else {
        out.set("short_tokens", std::int64_t{shape.short_tokens});
    }
    if (shape.has_long_attention()) out.set("top_k", std::int64_t{shape.top_k});
    if (shape.search_width() > 0) out.set("search_dim", std::int64_t{shape.search_dim});
    if (shape.hash_planes() > 0) out.set("hash_bits", std::int64_t{shape.hash_bits});
    if (shape.bucket_hashes() > 0) out.set("hashes", std::int64_t{shape.hashes});
    out.set("max_tokens", std::int64_t{shape.max_tokens});
    out.set("context_dim", std::int64_t{shape.context_dim});
    out.set("tower", join(shape.tower));
}

void set_training(config::TrainingSpec const& training, TensorFile& out) {
    out.set("epochs", std::int64_t{training.epochs});
    out.set("batch", std::int64_t{training.batch});
    out.set_real("learning_rate", training.learning_rate);
    out.set_real("embedding_l2", training.embedding_l2);
    out.set_real("dropout", training.dropout);
    out.set_real("peak_weight", training.peak_weight);
    out.set_real("balance_weight", training.balance_weight);
    out.set("straight_through", std::int64_t{training.straight_through ? 1 : 0});
    out.set("seeds", join(training.seeds));
}

/// Files without a teacher stay as they were before there could be one.
void set_distillation(config::Spec const& spec, TensorFile& out) {
    auto const variants = config::variants_to_train(spec);
    auto const taught = [](auto const& of) { return of.teacher != model::Teacher::none; };
    if (std::none_of(variants.begin(), variants.end(), taught)) return;
    out.set_real("distil_weight", spec.training.distil_weight);
    out.set_real("distil_temperature", spec.training.distil_temperature);
}

void set_variants(config::Spec const& spec, TensorFile& out) {
    auto const variants = config::variants_to_train(spec);
    out.set("variants", static_cast<std::int64_t>(variants.size()));
    for (std::size_t i = 0; i < variants.size(); ++i) {
        auto const prefix = "variant." + std::to_string(i) + ".";
        out.set(prefix + "kind", model::to_string(variants[i].variant));
        out.set(prefix + "scope", model::to_string(variants[i].scope));
        // Files without one-sided variants, warm starts and teachers stay as they were before there
        // was a choice.
        if (variants[i].sides != model::Sides::both)
            out.set(prefix + "sides", model::to_string(variants[i].sides));
        if (variants[i].start != model::Start::random)
            out.set(prefix + "start", model::to_string(variants[i].start));
        if (variants[i].teacher != model::Teacher::none)
            out.set(prefix + "teacher", model::to_string(variants[i].teacher));
        out.set(prefix + "d_u", std::int64_t{variants[i].d_u});
        out.set(prefix + "m", std::int64_t{variants[i].m});
        out.set(prefix + "stem", model::weights_stem(variants[i]));
    }
}

std::string weights_dir(config::Spec const& spec) {
    model::VariantParams const any;
    return std::filesystem::path(config::weights_path(spec, any, spec.training.seeds.front()))
        .parent_path()
        .string();
}

}  // namespace

int prepare_command(SpecOptions const& options, std::string const& output) {
    auto const spec = config::load_spec(options.spec, options.overrides);
    Progress progress(options.quiet);
    auto const population = make_population(spec);
    TensorFile out;
    progress.begin("collect training samples", "users");
    engine::collect_samples(
        *population,
        {spec.training.max_train_samples, spec.training.max_tune_samples,
         spec.training.reference_samples},
        spec.seed, options.spec, out,
        [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
    progress.end();
    if (out.tensors.at("timeline.items").elements() == 0) {
        throw DataError(
            population->describe(), 0,
            "every history is empty, so that there is nothing to learn from; give "
            "users events (synthetic: /workload/synthetic/history_min, history_median)");
    }
    auto const& catalogue = population->catalogue();
    out.set("format", std::string("ckvsim-samples-1"));
    out.set("weights_dir", weights_dir(spec));
    out.set("catalogue_digest", to_hex(model::catalogue_digest(catalogue)));
    out.set("features", static_cast<std::int64_t>(catalogue.features.size()));
    out.set("items", std::int64_t{catalogue.items});
    out.set("context_vocabulary", std::int64_t{population->context_vocabulary()});
    set_shape(spec.model, out);
    out.set("samples_digest",
            to_hex(out.digest()));  // data and shapes, not the list of variants or the schedule
    set_training(spec.training, out);
    set_distillation(spec, out);
    set_variants(spec, out);
    auto const path = output.empty() ? "results/local/" + spec.name + ".samples.ckvt" : output;
    out.write(path);
    std::printf(
        "%s: %zu training, %zu tuning, %zu reference samples of %zu users; train with: "
        "ckvsim-train %s\n",
        path.c_str(), out.tensor("train.label").elements(), out.tensor("tune.label").elements(),
        out.tensor("reference.label").elements(), out.tensor("timeline.offsets").elements() - 1,
        path.c_str());
    return 0;
}

}  // namespace ckvsim::app
