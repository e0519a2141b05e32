#include "config/spec_checks.hpp"

#include <algorithm>
#include <cmath>

#include "config/key_text.hpp"
#include "config/spec_keys.hpp"
#include "kv/latency.hpp"

namespace ckvsim::config {

namespace {

std::string text(double value) { return number_text(value); }
template <std::unsigned_integral I>
std::string text(I value) {
    return std::to_string(value);
}

class Checker {
  public:
    explicit Checker(Problems& problems) : problems_(problems), broken_(problems) {}

    /// Reports at the first pointer unless the rule holds or one of its values is broken.
    void require(bool holds, std::vector<std::string> const& pointers, std::string const& message,
                 std::string const& suggestion) {
        if (holds || any_broken(pointers)) return;
        problems_.add(pointers, message, suggestion);
    }

  private:
    [[nodiscard]] bool any_broken(std::vector<std::string> const& pointers) const {
        return std::any_of(pointers.begin(), pointers.end(),
                           [&](auto const& pointer) { return broken_.touches(pointer); });
    }
    Problems& problems_;
    Problems const broken_;  ///< as it was before the rules
};

void check_synthetic(Checker& checker, Spec const& spec) {
    auto const& p = spec.workload.synthetic;
    std::string const at = "/workload/synthetic/";
    auto const pair = [&](char const* a, char const* b) {
        return std::vector<std::string>{at + a, at + b};
    };
    checker.require(p.clusters <= p.items, pair("clusters", "items"),
                    text(p.clusters) + " clusters, but only " + text(p.items) + " items",
                    "allowed: 1 .. " + text(p.items));
    checker.require(p.history_min <= p.history_cap, pair("history_min", "history_cap"),
                    text(p.history_min) + " is above history_cap " + text(p.history_cap),
                    "allowed: 0 .. " + text(p.history_cap));
    checker.require(p.interests_min <= p.interests_max, pair("interests_min", "interests_max"),
                    text(p.interests_min) + " is above interests_max " + text(p.interests_max),
                    "allowed: 1 .. " + text(p.interests_max));
    checker.require(p.interests_max <= p.clusters, pair("interests_max", "clusters"),
                    text(p.interests_max) + " interests, but only " + text(p.clusters) +
                        " clusters to choose from",
                    "allowed: 1 .. " + text(p.clusters));
    checker.require(p.repeat_probability + p.noise_probability <= 1.0,
                    pair("repeat_probability", "noise_probability"),
                    text(p.repeat_probability) + " and noise_probability " +
                        text(p.noise_probability) + " add up to more than 1",
                    "lower one of them");
    checker.require(
        p.train_share + p.tune_share <= 1.0, pair("train_share", "tune_share"),
        text(p.train_share) + " and tune_share " + text(p.tune_share) + " add up to more than 1",
        "lower one of them; what is left of 1 is tested");
    if (!spec.accuracy.enabled || p.train_share + p.tune_share > 1.0) return;
    std::string const enabled = "/measurements/accuracy/enabled";
    checker.require(p.train_share > 0.0, {at + "train_share", enabled},
                    "0 leaves no user to train on", "raise it or switch the accuracy off");
    checker.require(p.tune_share > 0.0, {at + "tune_share", enabled},
                    "0 leaves no user for early stopping", "raise it or switch the accuracy off");
    checker.require(
        p.train_share + p.tune_share < 1.0, {at + "train_share", at + "tune_share", enabled},
        text(p.train_share) + " and tune_share " + text(p.tune_share) + " leave no user to test on",
        "lower one of them or switch the accuracy off");
}

void check_model(Checker& checker, model::SimShape const& shape) {
    checker.require(
        shape.attention_dim % shape.heads == 0, {"/model/heads", "/model/attention_dim"},
        text(shape.heads) + " heads do not divide attention_dim " + text(shape.attention_dim),
        "choose a divisor of it");
    checker.require(!shape.has_long_attention() || shape.top_k <= shape.max_tokens,
                    {"/model/top_k", "/model/max_tokens"},
                    text(shape.top_k) + " is above max_tokens " + text(shape.max_tokens),
                    "allowed: 1 .. " + text(shape.max_tokens));
}

/// The key that a refusal or a misfit is about.
std::string culprit(kv::StrategyParams const& strategy, model::VariantParams const& weights,
                    model::ModelKind model) {
    auto other_type = strategy;
    other_type.value_type = kv::ValueType::fp32;
    if (kv::refusal(strategy, weights, model) && !kv::refusal(other_type, weights, model))
        return "value_type";
    if (model == model::ModelKind::hstu && strategy.kind == kv::StrategyKind::collective &&
        strategy.keying == kv::Keying::item)
        return "keying";
    bool const no_search_keys = model == model::ModelKind::twin || model == model::ModelKind::hstu;
    if (no_search_keys && strategy.search_keys == kv::SearchKeys::item_table) return "search_keys";
    bool const pools = weights.variant == model::Variant::collective;
    return pools && strategy.kind == kv::StrategyKind::collective ? "index_bytes" : "kind";
}

/// The key that a refusal of the variant is about.
std::string unknown_key(model::VariantParams const& weights, model::ModelKind model) {
    if (weights.variant != model::Variant::collective) return "variant";
    auto plain = weights;
    plain.teacher = model::Teacher::none;
    if (!model::variant_refusal(plain, model)) return "teacher";
    plain.start = model::Start::random;
    return model::variant_refusal(plain, model) ? "scope" : "start";
}

void check_strategy(Checker& checker, model::SimShape const& shape, ArmSpec const& arm,
                    std::string const& at) {
    auto const unknown = model::variant_refusal(arm.weights, shape.kind);
    checker.require(!unknown,
                    {at + "/weights/" + unknown_key(arm.weights, shape.kind),
                     at + "/weights/variant", "/model/kind"},
                    unknown.value_or(""), "");
    if (unknown) return;
    auto const refused = kv::refusal(arm.strategy, arm.weights, shape.kind);
    checker.require(
        !refused,
        {at + "/strategy/" + culprit(arm.strategy, arm.weights, shape.kind), at + "/strategy/kind",
         at + "/weights/variant", at + "/weights/m", "/model/kind"},
        refused.value_or(""), "");
    bool const drops = arm.window.policy == kv::WindowPolicy::drop_block;
    auto const window = kv::window_misfit(arm.window, arm.strategy, shape);
    checker.require(!window,
                    {at + "/window/" + (drops ? "block_tokens" : "policy"), at + "/window/policy",
                     at + "/strategy/kind", "/model/kind", "/model/max_tokens"},
                    window.value_or(""), "");
    checker.require(arm.window.policy == kv::WindowPolicy::encoded || !arm.latency,
                    {at + "/measure", at + "/window/policy"},
                    "includes latency, but window policy '" + kv::to_string(arm.window.policy) +
                        "' is for accuracy: latency is that of an arm that only appends",
                    "leave latency out, for example [\"memory\",\"accuracy\"]");
    auto const untimed = kv::latency_refusal(arm.strategy, shape.kind);
    checker.require(!untimed || !arm.latency,
                    {at + "/measure", at + "/strategy/kind", "/model/kind"},
                    "includes latency, but " + untimed.value_or(""),
                    "leave latency out, for example [\"memory\",\"accuracy\"]");
    auto const misfit = kv::misfit(arm.strategy, shape);
    bool const low_rank = arm.strategy.kind == kv::StrategyKind::low_rank;
    checker.require(!misfit,
                    {at + "/strategy/" + (low_rank ? "rank" : "subspaces"), at + "/strategy/kind",
                     "/model/attention_dim"},
                    misfit.value_or(""), "");
}

void check_arm(Checker& checker, Spec const& spec, std::size_t index) {
    auto const& arm = spec.arms[index];
    std::string const at = "/arms/" + std::to_string(index);
    bool const collective = arm.weights.variant == model::Variant::collective;
    checker.require(!collective || arm.weights.d_u < spec.model.attention_dim,
                    {at + "/weights/d_u", "/model/attention_dim", at + "/weights/variant"},
                    text(arm.weights.d_u) + " leaves nothing to the pool of attention_dim " +
                        text(spec.model.attention_dim),
                    "allowed: 0 .. " + text(spec.model.attention_dim - 1U));
    checker.require(!arm.name.starts_with("control."), {at + "/name"},
                    "\"" + arm.name + "\" starts with control., which names the controls' rows",
                    "choose another prefix");
    for (std::size_t other = 0; other < index; ++other) {
        checker.require(arm.name != spec.arms[other].name,
                        {at + "/name", "/arms/" + std::to_string(other) + "/name"},
                        "\"" + arm.name + "\" already names arm " + std::to_string(other),
                        "arm names must differ");
    }
    check_strategy(checker, spec.model, arm, at);
}

void check_shape(Checker& checker, std::string const& traffic,
                 workload::TrafficParams const& params) {
    auto const& shape = params.shape;
    std::string const duration = traffic + "/duration_s";
    std::string const kind = traffic + "/kind";
    double shares = 0.0;
    for (auto const& zone : shape.diurnal.zones) shares += zone.share;
    std::string const zones = traffic + "/diurnal/zones";
    checker.require(shape.diurnal.zones.empty() || std::abs(shares - 1.0) < 1e-6,
                    {zones, traffic + "/diurnal/amplitude", kind},
                    "the shares add up to " + text(shares), "they must add up to 1");
    auto const& bursts = shape.bursts;
    std::string const burst = traffic + "/bursts";
    checker.require(bursts.multiplier == 1.0 ||
                        2.0 * params.duration_s <=
                            workload::kMostBurstPhases * (bursts.mean_burst_s + bursts.mean_gap_s),
                    {burst + "/mean_burst_s", burst + "/mean_gap_s", duration, kind},
                    text(bursts.mean_burst_s) + " s and mean_gap_s " + text(bursts.mean_gap_s) +
                        " make more than 500000 bursts in " + text(params.duration_s) + " s",
                    "raise them or lower duration_s");
    for (std::size_t i = 0; i < shape.flash_crowds.size(); ++i) {
        auto const start = traffic + "/flash_crowds/" + std::to_string(i) + "/start_s";
        checker.require(shape.flash_crowds[i].start_s < params.duration_s, {start, duration, kind},
                        text(shape.flash_crowds[i].start_s) + " s is after the traffic's end",
                        "allowed: below duration_s " + text(params.duration_s));
    }
}

/// Mean over the run; flash crowds in full, however they are placed.
double expected_requests(workload::TrafficParams const& params) {
    double seconds = params.duration_s;
    for (auto const& crowd : params.shape.flash_crowds)
        seconds += (crowd.multiplier - 1.0) * std::min(crowd.duration_s, params.duration_s);
    return params.requests_per_second * seconds;
}

void check_traffic(Checker& checker, Spec const& spec, std::string const& section,
                   workload::TrafficParams const& traffic, double warmup_s) {
    std::string const at = "/measurements/" + section;
    std::string const kind = at + "/traffic/kind";
    if (traffic.kind == workload::ArrivalKind::recorded) return;
    if (traffic.kind == workload::ArrivalKind::original) {
        checker.require(spec.workload.kind != WorkloadKind::synthetic, {kind, "/workload/kind"},
                        "\"original\" needs a dataset: synthetic users have no arrival times",
                        "use \"poisson\"");
        return;
    }
    std::string const rate = at + "/traffic/requests_per_second";
    std::string const duration = at + "/traffic/duration_s";
    checker.require(warmup_s < traffic.duration_s, {at + "/warmup_s", duration, kind},
                    text(warmup_s) + " s of warm-up leave nothing of duration_s " +
                        text(traffic.duration_s) + " to measure",
                    "allowed: below " + text(traffic.duration_s));
    checker.require(
        expected_requests(traffic) <= kMostRequests,
        {rate, duration, at + "/traffic/flash_crowds", kind},
        text(traffic.requests_per_second) + " requests/s over " + text(traffic.duration_s) +
            " s are more than 1e9 requests",
        "lower one of them" +
            std::string(traffic.shape.flash_crowds.empty() ? "" : ", or the flash crowds"));
    check_shape(checker, at + "/traffic", traffic);
}

void check_serving(Checker& checker, Spec const& spec) {
    if (spec.executed.enabled) {
        check_traffic(checker, spec, "executed", spec.executed.traffic, spec.executed.warmup_s);
    }
    if (spec.simulated.enabled) {
        check_traffic(checker, spec, "simulated", spec.simulated.traffic, spec.simulated.warmup_s);
    }
    checker.require(spec.fleet.nodes <= spec.shards, {"/fleet/nodes", "/shards"},
                    text(spec.fleet.nodes) + " nodes share only " + text(spec.shards) + " shards",
                    "allowed: 1 .. " + text(spec.shards));
    bool const serves = spec.executed.enabled || spec.simulated.enabled;
    checker.require(
        !serves || !spec.platform_path.empty(),
        {"/files/platform", "/measurements/executed/enabled", "/measurements/simulated/enabled"},
        "missing, but executed or simulated runs are on",
        "for example workloads/platforms/h100-node.json");
}

}  // namespace

void check_spec(Spec const& spec, Problems& problems) {
    Checker checker(problems);
    checker.require(!spec.name.starts_with('.'), {"/name"},
                    "\"" + spec.name + "\" starts with '.' and would make hidden files",
                    "choose another first character");
    if (spec.workload.kind == WorkloadKind::synthetic) check_synthetic(checker, spec);
    if (spec.workload.kind == WorkloadKind::expanded) {
        checker.require(
            !spec.accuracy.enabled, {"/measurements/accuracy/enabled", "/workload/kind"},
            "true, but expanded users are clones: they add load, never statistical weight",
            "set it to false and measure accuracy with kind \"dataset\"");
    }
    check_model(checker, spec.model);
    for (std::size_t i = 0; i < spec.arms.size(); ++i) check_arm(checker, spec, i);
    check_serving(checker, spec);
}

}  // namespace ckvsim::config
