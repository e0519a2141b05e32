// The accuracy phase: every arm and control scored on the same test impressions through the cache
// as served.
#include <algorithm>
#include <cmath>
#include <optional>

#include "app/accuracy_leakage.hpp"
#include "app/accuracy_notes.hpp"
#include "app/accuracy_splits.hpp"
#include "app/logical_order.hpp"
#include "app/row.hpp"
#include "app/run_context.hpp"
#include "app/serving_check.hpp"
#include "engine/evaluation.hpp"
#include "metrics/accuracy.hpp"

namespace ckvsim::app {

namespace {

using config::Control;
using engine::HistorySource;

/// One row of the accuracy table: what to score.
struct Contestant {
    std::string name;
    bool control = false;
    bool popularity = false;  ///< logit from training click rates, no model
    model::VariantParams weights;
    kv::StrategyParams strategy;
    HistorySource source = HistorySource::own;
    kv::WindowParams window = {};
};

kv::StrategyParams strategy_of(kv::StrategyKind kind) {
    kv::StrategyParams strategy;
    strategy.kind = kind;
    return strategy;
}

Contestant control(std::string name, model::Variant variant, kv::StrategyKind kind) {
    Contestant contestant;
    contestant.name = std::move(name);
    contestant.control = true;
    contestant.weights.variant = variant;
    contestant.strategy = strategy_of(kind);
    return contestant;
}

std::optional<Contestant> control_contestant(config::Spec const& spec, Control kind) {
    auto const* collective = first_collective(spec);
    auto const name = "control." + config::to_string(kind);
    switch (kind) {
        case Control::popularity: {
            Contestant contestant;
            contestant.name = name;
            contestant.control = contestant.popularity = true;
            return contestant;
        }
        case Control::no_history:
            return control(name, model::Variant::no_history, kv::StrategyKind::recompute);
        case Control::mean_pool:
            return control(name, model::Variant::mean_pool, kv::StrategyKind::recompute);
        case Control::mean_keys: {
            auto contestant = control(name, model::Variant::full, kv::StrategyKind::full);
            contestant.strategy.mean_keys = true;
            if (kv::refusal(contestant.strategy, contestant.weights, spec.model.kind))
                return std::nullopt;
            return contestant;
        }
        case Control::other_history: {
            auto contestant = control(name, model::Variant::full, kv::StrategyKind::full);
            contestant.source = HistorySource::other_user;
            return contestant;
        }
        case Control::random_indices:
        case Control::m1:
        case Control::du0: {
            if (collective == nullptr) return std::nullopt;
            Contestant contestant{name,
                                  true,
                                  false,
                                  collective->weights,
                                  collective->strategy,
                                  HistorySource::own,
                                  collective->window};
            if (kind == Control::random_indices) contestant.strategy.random_indices = true;
            contestant.weights = config::reduced(kind, contestant.weights);
            return contestant;
        }
    }
    return std::nullopt;
}

/// Reference (full KV, fp32) first, then no_history (both anchor the lift), then the arms and the
/// other controls.
std::vector<Contestant> contestants(config::Spec const& spec) {
    std::vector<Contestant> list;
    for (auto const& arm : spec.arms) {
        if (arm.accuracy)
            list.push_back({arm.name, false, false, arm.weights, arm.strategy, HistorySource::own,
                            arm.window});
    }
    auto const is_reference = [](Contestant const& c) {
        return c.strategy.kind == kv::StrategyKind::full &&
               c.strategy.value_type == kv::ValueType::fp32 &&
               c.weights.variant == model::Variant::full && !c.control &&
               c.window.policy == kv::WindowPolicy::encoded;
    };
    std::stable_partition(list.begin(), list.end(), is_reference);
    if (list.empty() || !is_reference(list.front())) {
        Contestant reference;
        reference.name = "full_fp32 (reference)";
        list.insert(list.begin(), reference);
    }
    list.insert(list.begin() + 1, *control_contestant(spec, Control::no_history));
    for (auto const kind : spec.accuracy.controls) {
        if (kind == Control::no_history) continue;
        if (auto contestant = control_contestant(spec, kind)) list.push_back(*contestant);
    }
    return list;
}

/// Click log-odds of an item in the training impressions, shrunk to the mean by one pseudo-click
/// per class share.
std::vector<float> popularity_logits(RunContext const& context, engine::EvaluationSet const& set) {
    auto const& views = context.scan.train_views;
    auto const& clicks = context.scan.train_clicks;
    double all_views = 2;
    double all_clicks = 1;
    for (std::size_t i = 0; i < views.size(); ++i) {
        all_views += static_cast<double>(views[i]);
        all_clicks += static_cast<double>(clicks[i]);
    }
    double const rate = all_clicks / all_views;
    constexpr double kPseudoViews =
        10.0;  // shrinkage: an item with 10 views weighs as much as the prior
    std::vector<float> logits;
    logits.reserve(set.items.size());
    for (ItemId const item : set.items) {
        double const p = (static_cast<double>(clicks[item]) + kPseudoViews * rate) /
                         (static_cast<double>(views[item]) + kPseudoViews);
        logits.push_back(static_cast<float>(std::log(p / (1.0 - p))));
    }
    return logits;
}

double mean_probability(std::vector<float> const& logits) {
    double sum = 0;
    for (float const logit : logits) sum += 1.0 / (1.0 + std::exp(-static_cast<double>(logit)));
    return logits.empty() ? std::nan("") : sum / static_cast<double>(logits.size());
}

/// Scores contestants and keeps what rank 0 needs for the table.
class AccuracyRun {
  public:
    AccuracyRun(RunContext& context, engine::EvaluationSet const& set)
        : context_(context),
          set_(set),
          order_(context.comm, set),
          predictions_(order_.gather_labels(context.comm, set)) {
        if (context.spec.accuracy.splits) splits_.emplace(context, set, order_, predictions_);
        if (context.spec.accuracy.leakage) leakage_.emplace(context, set, order_, predictions_);
    }

    metrics::ArmSamples run(Contestant const& contestant, double& calibration) {
        auto const& training_seeds = context_.spec.training.seeds;
        auto const seeds = contestant.popularity ? std::vector<std::uint64_t>{0} : training_seeds;
        metrics::ArmSamples samples;
        double probability = 0;
        for (auto const seed : seeds) {
            context_.progress.begin("score " + contestant.name + " seed " + std::to_string(seed),
                                    "users");
            std::vector<float> logits;
            context_.comm.run_phase("scoring " + contestant.name,
                                    [&] { logits = local_logits(contestant, seed); });
            auto const key = hash_bytes(contestant.name.data(), contestant.name.size(), seed);
            context_.scores_hash.merge_raw(engine::hash_scores(set_, logits, key));
            predictions_.logits = order_.gather(context_.comm, std::span<float const>(logits));
            context_.comm.run_phase("accuracy of " + contestant.name, [&] {
                if (context_.comm.is_root()) evaluate(contestant, seed, samples, probability);
            });
            if (context_.spec.accuracy.write_predictions)
                add_bulk(contestant, seed, std::move(logits));
            context_.progress.end();
        }
        calibration = probability / static_cast<double>(seeds.size()) / label_rate();
        return samples;
    }
    /// Collective. The true logits as an arm of one seed (rank 0), without replicates where nobody
    /// asks for them; nothing where the truth is unknown.
    std::optional<metrics::ArmSamples> oracle() {
        if (!context_.population->has_true_logits()) return std::nullopt;
        predictions_.logits =
            order_.gather(context_.comm, std::span<float const>(set_.true_logits));
        metrics::ArmSamples samples;
        context_.comm.run_phase("accuracy of the oracle", [&] {
            if (!context_.comm.is_root()) return;
            samples.points.push_back(metrics::evaluate(predictions_));
            if (leakage_) samples.replicates.push_back(replicates());
        });
        return samples;
    }
    [[nodiscard]] std::optional<AccuracySplits>& splits() { return splits_; }
    [[nodiscard]] std::optional<AccuracyLeakage>& leakage() { return leakage_; }

  private:
    std::vector<float> local_logits(Contestant const& contestant, std::uint64_t seed) {
        if (contestant.popularity) return popularity_logits(context_, set_);
        auto const backend = context_.backend(contestant.weights, contestant.strategy, seed);
        return engine::score(
            *context_.population, set_, *backend, contestant.source, context_.spec.seed,
            [&](std::uint64_t done, std::uint64_t total) { context_.progress.update(done, total); },
            contestant.window);
    }
    metrics::ReplicateMetrics replicates() const {
        return metrics::bootstrap_users(predictions_, context_.spec.seed,
                                        context_.spec.accuracy.bootstrap_replicates);
    }
    void evaluate(Contestant const& contestant, std::uint64_t seed, metrics::ArmSamples& samples,
                  double& probability) {
        samples.points.push_back(metrics::evaluate(predictions_));
        samples.replicates.push_back(replicates());
        if (splits_) splits_->add(contestant.name, predictions_.logits);
        probability += mean_probability(predictions_.logits);
        Row(context_.report.table("accuracy_seeds"))
            .set("arm", contestant.name)
            .set("seed", seed)
            .set("auc", samples.points.back().auc)
            .set("gauc", samples.points.back().gauc)
            .set("logloss", samples.points.back().logloss)
            .add();
    }
    void add_bulk(Contestant const& contestant, std::uint64_t seed, std::vector<float> logits) {
        report::BulkArray array;
        array.path = "/predictions/" + contestant.name + "/seed" + std::to_string(seed) + "/logit";
        array.unit = "1";
        array.meaning = "logit of every test impression in logical order (shard, user, time)";
        array.provenance = "measured";
        array.total = order_.total();
        array.segments = order_.segments();
        array.values = std::move(logits);
        context_.bulk.push_back(std::move(array));
    }
    [[nodiscard]] double label_rate() const {
        double const clicks = static_cast<double>(
            std::count(predictions_.labels.begin(), predictions_.labels.end(), 1));
        return clicks / static_cast<double>(std::max<std::size_t>(predictions_.labels.size(), 1));
    }

    RunContext& context_;
    engine::EvaluationSet const& set_;
    LogicalOrder order_;
    metrics::Predictions predictions_;
    std::optional<AccuracySplits> splits_;
    std::optional<AccuracyLeakage> leakage_;
};

void report_contestant(RunContext& context, Contestant const& contestant,
                       metrics::ArmSamples const& samples, metrics::LiftResult const& result,
                       double calibration) {
    auto const& point = samples.points.front();
    auto const bytes = context.bytes_per_interaction.find(contestant.name);
    Row(context.report.table("accuracy"))
        .set("arm", contestant.name)
        .set("kind", std::string(contestant.control ? "control" : "arm"))
        .set("seeds", samples.points.size())
        .set("impressions", point.impressions)
        .set("users_with_both", point.users_with_both)
        .set_interval("auc", result.auc)
        .set_interval("gauc", result.gauc)
        .set_interval("logloss", result.logloss)
        .set("calibration", calibration)
        .set_interval("lift_kept", "lift", result.lift_kept)
        .set_interval("auc_difference", result.auc_difference)
        .set("verdict", metrics::to_string(result.verdict))
        .set("detectable_margin", result.detectable_margin)
        .set("bytes_per_interaction",
             bytes == context.bytes_per_interaction.end() ? std::nan("") : bytes->second)
        .add();
}

void report_oracle(RunContext& context, metrics::AccuracyPoint const& oracle) {
    for (auto const& [name, value] :
         {std::pair{"oracle_auc", oracle.auc}, std::pair{"oracle_gauc", oracle.gauc},
          std::pair{"oracle_logloss", oracle.logloss}}) {
        Row(context.report.table("oracle"))
            .set("metric", std::string(name))
            .set("value", value)
            .add();
    }
}

}  // namespace

void run_accuracy_phase(RunContext& context) {
    if (!context.spec.accuracy.enabled) return;
    auto& comm = context.comm;
    run_serving_check(context);
    engine::EvaluationSet set;
    context.progress.begin("test impressions", "users");
    comm.run_phase("collecting test impressions", [&] {
        set = engine::make_evaluation_set(
            *context.population, context.owned, context.spec.accuracy.max_users, context.spec.seed,
            context.spec.model.max_tokens,
            [&](std::uint64_t done, std::uint64_t total) { context.progress.update(done, total); });
    });
    context.progress.end();
    AccuracyRun run(context, set);
    auto const list = contestants(context.spec);
    std::vector<metrics::ArmSamples> samples;
    std::vector<double> calibrations;
    for (auto const& contestant : list) {
        double calibration = 0;
        samples.push_back(run.run(contestant, calibration));
        calibrations.push_back(calibration);
    }
    auto const oracle = run.oracle();
    comm.run_phase("accuracy intervals", [&] {
        if (!comm.is_root()) return;
        if (oracle) report_oracle(context, oracle->points.front());
        std::vector<Compared> compared;
        std::vector<std::string> names;
        for (std::size_t i = 0; i < list.size(); ++i) {
            auto const result = metrics::compare(samples[i], samples[0], samples[1],
                                                 context.spec.accuracy.margin, context.spec.seed);
            report_contestant(context, list[i], samples[i], result, calibrations[i]);
            compared.push_back({list[i].name, result, &samples[i]});
            names.push_back(list[i].name);
        }
        for (auto& note : accuracy_notes(context.spec, compared))
            context.report.notes.push_back(std::move(note));
        if (run.splits()) run.splits()->report(names, names[0], names[1]);
        if (run.leakage()) run.leakage()->report(names, samples, oracle ? &*oracle : nullptr);
    });
}

}  // namespace ckvsim::app
