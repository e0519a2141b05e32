// ckvsim_test_weights: writes random but valid weight files for specs, with the reference block
// computed by the double-precision reference model, so that whole runs can be tested without
// training.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "app/run_context.hpp"
#include "config/spec.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "reference_model.hpp"

namespace {

using namespace ckvsim;

constexpr std::uint32_t kNone = 0xFFFFFFFF;

/// The first impression of each of the first users that have one.
struct Sample {
    std::vector<ItemId> history;
    ItemId candidate = 0;
    std::uint32_t context = 0;
};

std::vector<Sample> collect(workload::Population const& population, std::size_t count,
                            std::uint32_t max_tokens) {
    std::vector<Sample> samples;
    workload::UserRecord record;
    for (UserId user = 0; user < population.users() && samples.size() < count; ++user) {
        population.load(user, record);
        if (record.impressions.empty()) continue;
        auto const& impression = record.impressions.front();
        std::uint32_t const end = impression.history_end;
        std::uint32_t const begin = end - std::min(end, max_tokens);
        samples.push_back({{record.timeline.begin() + begin, record.timeline.begin() + end},
                           impression.item,
                           impression.context});
    }
    return samples;
}

model::ReferenceBlock reference_block(model::SimWeights const& weights,
                                      std::vector<Sample> const& samples) {
    model::ReferenceBlock block;
    test::ReferenceOptions options;
    test::ReferenceModel const router(weights);
    auto const add = [&](std::string const& name, model::SideWeights const& side,
                         std::vector<std::uint32_t>& table) {
        table = router.arg_max_table(side);
        if (!table.empty()) block.indices[name] = table;
    };
    add("short.k", weights.short_site.k, options.indices.short_k);
    add("short.v", weights.short_site.v, options.indices.short_v);
    add("long.k", weights.long_site.k, options.indices.long_k);
    add("long.v", weights.long_site.v, options.indices.long_v);
    test::ReferenceModel const reference(weights, options);
    block.signatures = reference.bucket_table();
    std::uint32_t const top_k = weights.shape.has_long_attention() ? weights.shape.top_k : 0;
    for (Sample const& sample : samples) {
        auto result = reference.score(sample.history, sample.candidate, sample.context);
        block.tokens.insert(block.tokens.end(), sample.history.begin(), sample.history.end());
        block.offsets.push_back(block.tokens.size());
        block.candidates.push_back(sample.candidate);
        block.contexts.push_back(sample.context);
        block.logits.push_back(static_cast<float>(result.logit));
        result.top_k.resize(top_k, kNone);
        block.top_k.insert(block.top_k.end(), result.top_k.begin(), result.top_k.end());
    }
    return block;
}

void write_weights(config::Spec const& spec, workload::Population const& population,
                   std::vector<Sample> const& samples, model::VariantParams const& variant,
                   std::uint64_t seed) {
    auto const& catalogue = population.catalogue();
    std::string const stem = model::weights_stem(variant);
    auto weights =
        model::random_sim_weights(spec.model, variant, catalogue, population.context_vocabulary(),
                                  hash_bytes(stem.data(), stem.size(), seed));
    weights.training_seed = seed;
    TensorFile file = model::weights_file_from(weights, catalogue);
    file.set("train.method", std::string("random, not trained"));
    file.set("train.epochs", std::int64_t{0});
    model::add_reference_block(reference_block(weights, samples), spec.model, file);
    std::string const path = config::weights_path(spec, variant, seed);
    file.write(path);
    std::printf("%s\n", path.c_str());
}

void write_all(std::string const& path, std::vector<std::string> const& overrides) {
    auto const spec = config::load_spec(path, overrides);
    auto const population = app::make_population(spec);
    auto const samples =
        collect(*population, spec.training.reference_samples, spec.model.max_tokens);
    for (auto const& variant : config::variants_to_train(spec)) {
        for (std::uint64_t const seed : spec.training.seeds)
            write_weights(spec, *population, samples, variant, seed);
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Writes random weight files for every variant and seed of the given specs.");
    std::vector<std::string> specs;
    std::vector<std::string> overrides;
    app.add_option("specs", specs, "Spec files (JSON)")->required();
    app.add_option("--set", overrides, "Override one value: /json/pointer=value; repeatable");
    CLI11_PARSE(app, argc, argv);
    try {
        for (std::string const& spec : specs) write_all(spec, overrides);
    } catch (Error const& error) {
        std::fprintf(stderr, "ckvsim_test_weights: %s\n", error.what());
        return static_cast<int>(error.exit_code());
    }
    return 0;
}
