// Table arms: what every arm of a spec keeps, and where its pools make no claim of sharing.
#include "app/row.hpp"
#include "app/run_context.hpp"
#include "core/error.hpp"

namespace ckvsim::app {

namespace {

std::string model_name(model::ModelKind kind) {
    switch (kind) {
        case model::ModelKind::sim:
            return "SIM";
        case model::ModelKind::twin:
            return "TWIN";
        case model::ModelKind::eta:
            return "ETA";
        case model::ModelKind::sdim:
            return "SDIM";
        case model::ModelKind::hstu:
            return "HSTU";
    }
    throw InternalError("report_arms: unknown model");
}

/// Where an arm's search keys live, or SDIM's sums.
std::string search_keys(model::SimShape const& shape, kv::StrategyParams const& strategy) {
    if (shape.bucket_hashes() > 0) {
        if (strategy.kind == kv::StrategyKind::recompute) return "-";
        return kv::to_string(kv::keeps_sums(shape, strategy) ? kv::SearchKeys::stored
                                                             : kv::SearchKeys::item_table);
    }
    return shape.has_search_keys() ? kv::to_string(strategy.search_keys) : "-";
}

}  // namespace

void report_arms(RunContext& context) {
    double const catalogue = context.population->catalogue().items;
    auto const& shape = context.spec.model;
    for (auto const& arm : context.spec.arms) {
        bool const collective = arm.strategy.kind == kv::StrategyKind::collective;
        bool const low_rank = arm.strategy.kind == kv::StrategyKind::low_rank;
        bool const vq = arm.strategy.kind == kv::StrategyKind::vq;
        bool const blocks = arm.window.policy == kv::WindowPolicy::reencode ||
                            arm.window.policy == kv::WindowPolicy::drop_block;
        auto const refused = kv::refusal(arm.strategy, arm.weights, shape.kind);
        Row(context.report.table("arms"))
            .set("arm", arm.name)
            .set("model", model_name(shape.kind))
            .set("weights", model::weights_stem(arm.weights))
            .set("strategy", kv::to_string(arm.strategy.kind))
            .set("keying", collective ? kv::to_string(arm.strategy.keying) : std::string("-"))
            .set("value_type", kv::to_string(arm.strategy.value_type))
            .set("index_bytes", collective ? arm.strategy.index_bytes : 0)
            .set("search_keys", search_keys(shape, arm.strategy))
            .set("rank", low_rank ? arm.strategy.rank : 0)
            .set("subspaces", vq ? arm.strategy.subspaces : 0)
            .set("code_bits", vq ? arm.strategy.code_bits : 0)
            .set("scope", collective ? model::to_string(arm.weights.scope) : std::string("all"))
            .set("sides", collective ? model::to_string(arm.weights.sides) : std::string("-"))
            .set("start", collective ? model::to_string(arm.weights.start) : std::string("-"))
            .set("teacher", collective ? model::to_string(arm.weights.teacher) : std::string("-"))
            .set("d_u", collective ? arm.weights.d_u : 0)
            .set("m", collective ? arm.weights.m : 0)
            .set("pool_share_of_catalogue", collective ? arm.weights.m / catalogue : 0.0)
            .set("window", kv::to_string(arm.window.policy))
            .set("window_block", blocks ? arm.window.block_tokens : 0)
            .set("exact", kv::is_exact(arm.strategy) ? 1 : 0)
            .set("applies", refused ? 0 : 1)
            .set("refusal", refused.value_or(""))
            .add();
        bool const always_fresh =
            arm.window.policy == kv::WindowPolicy::reencode && arm.window.block_tokens == 1;
        if (!refused && !always_fresh &&
            kv::append_rule(arm.strategy, shape) == kv::AppendRule::stale_after_window) {
            context.report.notes.push_back(
                arm.name + ": appended events are exact until a history outgrows max_tokens = " +
                std::to_string(shape.max_tokens) +
                "; from then on K and V beyond the first layer remember tokens that fell out, "
                "those "
                "of recompute do not, and their scores differ");
        }
        if (collective && arm.weights.m >= catalogue) {
            context.report.notes.push_back(
                arm.name + ": pool larger than catalogue (m = " + std::to_string(arm.weights.m) +
                " >= V): an item table would be smaller and exact");
        } else if (collective && arm.weights.m > catalogue / 8) {
            context.report.notes.push_back(
                arm.name + ": m > V/8; no claim of compression by sharing is made for it");
        }
    }
}

}  // namespace ckvsim::app
