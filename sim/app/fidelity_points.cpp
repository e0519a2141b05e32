#include "app/fidelity_points.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "app/request_streams.hpp"
#include "app/row.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "engine/serving_loop.hpp"

namespace ckvsim::app {

namespace {

constexpr std::size_t kLeastRequests = 100;
constexpr double kHbmShare = 0.75;

std::size_t warmup_requests(std::size_t requests) {
    return static_cast<std::size_t>(kWarmupShare * static_cast<double>(requests));
}

/// Time from 0 until everything is served, all requests being there at once.
double drain_s(PointSetting const& setting, node::Platform const& platform,
               std::vector<workload::Request> const& requests, std::uint64_t seed) {
    engine::ServingRunParams params;
    params.node = setting.node;
    params.seed = seed;
    auto const result = engine::run_simulated(*setting.arm, platform, params, {0}, {requests});
    return static_cast<double>(result.span_ns) * 1e-9;
}

std::uint64_t hash_of(std::vector<workload::Request> const& requests) {
    UnorderedHash hash;
    for (auto const& r : requests) {
        hash.add((static_cast<std::uint64_t>(r.shard) << 32) | r.sequence,
                 mix64(r.user) ^ (static_cast<std::uint64_t>(r.candidates) << 40) ^ r.tokens);
    }
    return hash.value();
}

}  // namespace

std::vector<workload::Request> base_stream(RunContext const& context, std::uint32_t most) {
    auto const shard_users =
        workload::users_by_shard(context.population->users(), context.spec.shards);
    auto streams = make_streams(context, shard_users, workload::RequestStream::executed);
    auto requests = std::move(streams.requests.at(0));
    if (requests.size() > most) requests.resize(most);
    if (requests.size() < kLeastRequests || requests.back().intended_start_ns <= 0) {
        throw DataError(context.spec.name, 0,
                        "the executed traffic has " + std::to_string(requests.size()) +
                            " requests; validate-sim needs " + std::to_string(kLeastRequests) +
                            " at least, not all at one time. give "
                            "/measurements/executed/traffic more");
    }
    return requests;
}

std::vector<workload::Request> cut_stream(std::vector<workload::Request> stream,
                                          std::uint32_t max_tokens, std::uint32_t candidates) {
    for (auto& request : stream) {
        request.tokens = std::min(request.tokens, max_tokens);
        request.candidates = candidates;
    }
    return stream;
}

std::uint64_t entries_bytes(engine::ServingArm const& arm,
                            std::vector<workload::Request> const& stream) {
    std::unordered_map<UserId, std::uint32_t> tokens;
    std::uint32_t most = 0;
    for (auto const& request : stream) {
        auto& own = tokens[request.user];
        own = std::max(own, request.tokens);
        most = std::max(most, own);
    }
    engine::EntrySizes const sizes(arm.layout, most);
    std::uint64_t bytes = 0;
    for (auto const& [user, count] : tokens) bytes += sizes.bytes(count);
    return bytes;
}

node::NodeParams tiers_of(engine::ServingArm const& arm,
                          std::vector<workload::Request> const& stream, double oversubscription,
                          config::Spec const& spec) {
    auto node = spec.fleet.node;
    double const bytes = static_cast<double>(entries_bytes(arm, stream)) / oversubscription;
    node.hbm_cache_bytes = arm.shared_bytes + static_cast<std::uint64_t>(kHbmShare * bytes);
    node.dram_cache_bytes = static_cast<std::uint64_t>((1.0 - kHbmShare) * bytes);
    return node;
}

double capacity_per_s(PointSetting const& setting, node::Platform const& platform,
                      std::vector<workload::Request> stream, std::uint64_t seed) {
    for (auto& request : stream) request.intended_start_ns = 0;
    double const all_s = drain_s(setting, platform, stream, seed);
    std::size_t const all = stream.size();
    stream.resize(warmup_requests(all));
    double const warmup_s = drain_s(setting, platform, stream, seed);
    validate(all_s > warmup_s, "capacity_per_s: requests took no time");
    return static_cast<double>(all - stream.size()) / (all_s - warmup_s);
}

TimedPoint make_point(PointSetting const& setting, std::vector<workload::Request> stream,
                      double load, double requests_per_s, double seconds, std::uint32_t most) {
    // Above saturation the backlog takes longer than the traffic.
    double const wanted = requests_per_s / std::max(load, 1.0) * seconds;
    auto const count = static_cast<std::size_t>(
        std::clamp(wanted, double{kLeastRequests}, static_cast<double>(most)));
    if (stream.size() > count) stream.resize(count);
    double const first = static_cast<double>(stream.front().intended_start_ns);
    double const mean_gap = (static_cast<double>(stream.back().intended_start_ns) - first) /
                            static_cast<double>(stream.size() - 1);
    double const scale = 1e9 / requests_per_s / std::max(mean_gap, 1e-9);
    for (auto& request : stream) {
        request.intended_start_ns = static_cast<Nanoseconds>(
            std::llround((static_cast<double>(request.intended_start_ns) - first) * scale));
    }
    TimedPoint point;
    point.setting = setting;
    point.load = load;
    point.requests_per_s = requests_per_s;
    point.warmup_s =
        static_cast<double>(stream[warmup_requests(stream.size())].intended_start_ns) * 1e-9;
    point.requests = std::move(stream);
    return point;
}

engine::ServingRunParams params_of(TimedPoint const& point, std::uint64_t seed) {
    engine::ServingRunParams params;
    params.node = point.setting.node;
    params.seed = seed;
    params.warmup_s = point.warmup_s;
    return params;
}

PointOutcome outcome_of(TimedPoint const& point, std::vector<engine::ServingResult> const& executed,
                        engine::ServingResult const& simulated) {
    PointOutcome outcome;
    auto& p = outcome.point;
    p.arm = point.setting.arm->name;
    p.load = point.load;
    p.candidates = point.setting.candidates;
    p.max_tokens = point.setting.max_tokens;
    p.oversubscription = point.setting.oversubscription;
    p.requests_per_s = point.requests_per_s;
    p.requests = simulated.requests;
    p.lines = engine::compare_twins(executed, simulated);
    for (std::size_t s = 0; s < engine::kStages; ++s) {
        for (auto const& pass : executed)
            outcome.executed_ns[s] +=
                pass.latency[s].mean_ns() / static_cast<double>(executed.size());
        outcome.simulated_ns[s] = simulated.latency[s].mean_ns();
    }
    outcome.stream_hash = hash_of(point.requests);
    return outcome;
}

void report_outcomes(metrics::Report& report, std::vector<PointOutcome> const& outcomes) {
    std::vector<engine::FidelityPoint> points;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        auto const& p = outcomes[i].point;
        points.push_back(p);
        for (auto const& line : p.lines) {
            Row(report.table("fidelity_points"))
                .set("point", i)
                .set("metric", line.metric)
                .set("arm", p.arm)
                .set("load", p.load)
                .set("candidates", p.candidates)
                .set("max_tokens", p.max_tokens)
                .set("oversubscription", p.oversubscription)
                .set("requests_per_s", p.requests_per_s)
                .set("requests", p.requests)
                .set("executed", line.executed)
                .set("repeat_error", line.repeat_error)
                .set("simulated", line.simulated)
                .set("error", line.error)
                .set("target", line.target)
                .set("bound", line.bound)
                .set("verdict", engine::to_string(line.verdict))
                .add();
        }
        for (std::size_t s = 0; s < engine::kStages; ++s) {
            Row(report.table("fidelity_stages"))
                .set("point", i)
                .set("stage", engine::to_string(static_cast<engine::Stage>(s)))
                .set("arm", p.arm)
                .set("load", p.load)
                .set("executed_ns", outcomes[i].executed_ns[s])
                .set("simulated_ns", outcomes[i].simulated_ns[s])
                .add();
        }
    }
    for (auto const& regime : engine::fidelity_regimes(points)) {
        Row(report.table("fidelity_regimes"))
            .set("axis", regime.axis)
            .set("value", regime.value)
            .set("points", regime.points)
            .set("held", regime.held)
            .set("worst_mean_error", regime.worst_mean_error)
            .set("worst_p99_error", regime.worst_p99_error)
            .set("worst_hit_ratio_error", regime.worst_hit_ratio_error)
            .add();
    }
}

std::uint64_t stream_hash(std::vector<PointOutcome> const& outcomes) {
    UnorderedHash hash;
    for (std::size_t i = 0; i < outcomes.size(); ++i) hash.add(i, outcomes[i].stream_hash);
    return hash.value();
}

}  // namespace ckvsim::app
