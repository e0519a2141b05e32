#include "app/analyze_command.hpp"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "app/row.hpp"
#include "app/run_context.hpp"
#include "app/spec_options.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "engine/weight_analysis.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::app {

namespace {

using kv::Section;

/// One side of one attention site.
struct Side {
    std::string site;
    std::string side;
    Section values;
    Section indices;
};

std::vector<Side> sides_of(model::SimShape const& shape) {
    using kv::LayerPart;
    if (shape.stack_layers() == 0) {
        return {{"short", "k", Section::short_k, Section::short_k_index},
                {"short", "v", Section::short_v, Section::short_v_index},
                {"long", "k", Section::long_k, Section::long_k_index},
                {"long", "v", Section::long_v, Section::long_v_index}};
    }
    std::vector<Side> sides;
    for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
        auto const at = [&](LayerPart part) { return kv::layer_section(layer, part); };
        auto const site = model::layer_name(layer);
        sides.push_back({site, "k", at(LayerPart::k), at(LayerPart::k_index)});
        sides.push_back({site, "v", at(LayerPart::v), at(LayerPart::v_index)});
    }
    return sides;
}

/// Ranks of the energy curve: 1, 2, 3, 4, 6, 8, 12, ... and the width.
std::vector<std::size_t> shown_ranks(std::size_t width) {
    std::vector<std::size_t> ranks = {1, 2, 3};
    for (std::size_t r = 4; r < width; r *= 2) {
        ranks.push_back(r);
        if (r + r / 2 < width) ranks.push_back(r + r / 2);
    }
    std::erase_if(ranks, [&](std::size_t r) { return r >= width; });
    ranks.push_back(width);
    return ranks;
}

/// The variants whose weights keep something to analyse.
std::vector<model::VariantParams> analysed_variants(config::Spec const& spec) {
    auto variants = config::variants_to_train(spec);
    std::erase_if(variants, [](auto const& v) { return !model::has_attention(v.variant); });
    return variants;
}

class Analysis {
  public:
    Analysis(RunContext& context, AnalyzeOptions const& options)
        : context_(context),
          stack_(context.spec.model.stack_layers() > 0),
          sides_(sides_of(context.spec.model)) {
        params_.energy_share = options.energy_share;
        params_.sample = options.users;
        params_.max_tokens = context.spec.model.max_tokens;
        params_.seed = context.spec.seed;
        if (!stack_) return;
        histories_ = engine::sampled_histories(*context.population, params_);
        for (auto const& history : histories_)
            items_.insert(items_.end(), history.begin(), history.end());
    }

    void run() {
        auto const variants = analysed_variants(context_.spec);
        auto const& seeds = context_.spec.training.seeds;
        std::size_t done = 0;
        for (auto const& variant : variants) {
            for (auto const seed : seeds) {
                analyse(variant, seed);
                context_.progress.update(++done, variants.size() * seeds.size());
            }
        }
    }

  private:
    Row row(char const* table, std::string const& stem, std::uint64_t seed, Side const& side) {
        Row row(context_.report.table(table));
        row.set("weights", stem).set("seed", seed).set("site", side.site).set("side", side.side);
        return row;
    }

    void analyse(model::VariantParams const& variant, std::uint64_t seed) {
        bool const collective = variant.variant == model::Variant::collective;
        kv::StrategyParams strategy;
        strategy.kind = collective ? kv::StrategyKind::collective : kv::StrategyKind::full;
        strategy.index_bytes = 4;
        auto const backend = context_.backend(variant, strategy, seed);
        for (auto const& side : sides_) {
            if (backend->layout().has(side.indices)) {
                analyse_pool(variant, seed, side, *backend);
            } else if (!collective && backend->layout().has(side.values)) {
                analyse_rows(model::weights_stem(variant), seed, side, *backend);
            }
        }
    }

    void analyse_rows(std::string const& stem, std::uint64_t seed, Side const& side,
                      decode::Backend const& backend) {
        auto const& counts = context_.scan.item_events;
        std::size_t const width = context_.spec.model.attention_dim;
        // Rows are an item's, or a token's.
        auto const table = stack_ ? std::vector<float>{} : engine::item_rows(backend, side.values);
        auto const rows_of =
            stack_ ? engine::layer_rows(backend, side.values) : engine::table_rows(table, width);
        auto const directions = stack_ ? engine::principal_directions(histories_, rows_of, width)
                                       : engine::principal_directions(table, width, counts);
        double sum = 0.0;
        std::size_t next = 0;
        for (std::size_t const rank : shown_ranks(directions.width)) {
            for (; next < rank; ++next) sum += directions.energy[next];
            row("analysis_energy", stem, seed, side)
                .set("rank", rank)
                .set("energy_share", std::min(sum, 1.0))
                .add();
        }
        auto const found =
            engine::user_agreement(*context_.population, directions, rows_of, counts, params_);
        row("analysis_users", stem, seed, side)
            .set("energy_share", params_.energy_share)
            .set("rank", found.rank)
            .set("users", found.users)
            .set("leading_cosine", found.leading_cosine)
            .set("leading_cosine_chance", found.leading_cosine_chance)
            .set("rest_cosine", found.rest_cosine)
            .set("rest_cosine_chance", found.rest_cosine_chance)
            .set("leading_between", found.leading_between)
            .set("rest_between", found.rest_between)
            .add();
    }

    void analyse_pool(model::VariantParams const& variant, std::uint64_t seed, Side const& side,
                      decode::Backend const& backend) {
        auto const& counts = context_.scan.item_events;
        auto const stem = model::weights_stem(variant);
        auto indices = stack_ ? engine::layer_indices(backend, side.indices, histories_)
                              : engine::item_indices(backend, side.indices);
        auto const use = stack_ ? engine::token_pool_use(indices, variant.m)
                                : engine::pool_use(indices, counts, variant.m);
        row("analysis_pools", stem, seed, side)
            .set("rows", use.rows)
            .set("rows_of_items", use.rows_of_items)
            .set("rows_of_tokens", use.rows_of_tokens)
            .set("dead_share", 1.0 - static_cast<double>(use.rows_of_tokens) / use.rows)
            .set("effective_rows", use.effective_rows)
            .set("top_share", use.top_share)
            .add();
        auto& before = first_[stem + side.site + side.side];
        if (before.indices.empty()) {
            before = {seed, std::move(indices)};
            return;
        }
        auto const change = stack_ ? engine::token_router_change(before.indices, indices, items_)
                                   : engine::router_change(before.indices, indices, counts);
        row("analysis_routers", stem, before.seed, side)
            .set("other_seed", seed)
            .set("items_changed", change.items_changed)
            .set("tokens_changed", change.tokens_changed)
            .set("same_groups", change.same_groups)
            .add();
    }

    struct First {
        std::uint64_t seed = 0;
        std::vector<std::uint32_t> indices;
    };
    RunContext& context_;
    bool stack_;  ///< HSTU: rows and indices are those of the tokens of `histories_`
    std::vector<Side> sides_;
    engine::AgreementParams params_;
    std::vector<std::vector<ItemId>> histories_;
    std::vector<ItemId> items_;           ///< of the histories, back to back
    std::map<std::string, First> first_;  ///< routers of the first seed
};

/// All weights must be there before anything is scanned.
void require_weights(config::Spec const& spec, std::string const& path) {
    std::string missing;
    for (auto const& variant : analysed_variants(spec)) {
        for (auto const seed : spec.training.seeds) {
            auto const file = config::weights_path(spec, variant, seed);
            if (!std::filesystem::exists(file)) missing += "\n  " + file;
        }
    }
    if (missing.empty()) return;
    throw DataError(path, 0,
                    "weights to analyse are missing:" + missing +
                        "\nmake them with:\n  ckvsim prepare " + path + "\n  ckvsim-train");
}

}  // namespace

CLI::App* declare_analyze(CLI::App& parent, AnalyzeOptions& options) {
    auto* command = parent.add_subcommand(
        "analyze",
        "What trained weights look like: energy of K and V by rank, whether users agree in it, use "
        "of pools, and how much a retraining changes");
    add_spec_options(*command, options);
    command->add_option("-o,--output", options.output,
                        "Report (default: results/local/<name>-analysis.h5)");
    command->add_option("--users", options.users, "Users to compare with each other")
        ->check(CLI::Range(2, 1'000'000))
        ->capture_default_str();
    command
        ->add_option("--energy-share", options.energy_share,
                     "Energy of the leading directions, in which users are compared")
        ->check(CLI::Range(0.01, 1.0))
        ->capture_default_str();
    command->footer(
        "Examples: ckvsim analyze workloads/specs/quickstart.json\n"
        "          ckvsim show results/local/quickstart-analysis.h5 analysis_users\n"
        "          scripts/report results/local/quickstart-analysis.h5 -o analysis.html");
    return command;
}

int analyze_command(comm::Communicator& comm, AnalyzeOptions const& options) {
    config::Spec spec;
    comm.run_phase("reading the spec", [&] {
        spec = config::load_spec(options.spec, options.overrides);
        require_weights(spec, options.spec);
    });
    auto const text = config::dump_spec(spec);
    comm.require_equal(hash_bytes(text.data(), text.size()), "the resolved spec");
    RunContext context(spec, comm, options.quiet);
    comm.run_phase("opening the workload", [&] { context.population = make_population(spec); });
    comm.require_equal(context.population->digest(), "the workload");
    context.owned =
        engine::owned_users(context.population->users(), spec.shards, comm.rank(), comm.size());
    context.users = engine::flatten(context.owned);
    report_arms(context);
    run_workload_phase(context);
    context.progress.begin("analyse weights", "weight files");
    comm.run_phase("analysis of the weights", [&] {
        if (comm.is_root()) Analysis(context, options).run();
    });
    finish_report(context, "none");
    auto const output =
        options.output.empty() ? "results/local/" + spec.name + "-analysis.h5" : options.output;
    context.progress.begin("write " + output);
    report::write_report(comm, output, context.report, context.bulk);
    context.progress.end();
    if (comm.is_root()) std::printf("report %s\n", output.c_str());
    return 0;
}

}  // namespace ckvsim::app
