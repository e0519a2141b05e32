#include "engine/fidelity.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "core/error.hpp"

namespace ckvsim::engine {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Metric {
    char const* name;
    double (*value)(ServingResult const&);
    double target;
    bool absolute;
};

double mean_of(std::span<double const> values) {
    double sum = 0.0;
    for (double const v : values) sum += v;
    return sum / static_cast<double>(values.size());
}

/// Over all pairs.
double mean_difference(std::span<double const> values) {
    double sum = 0.0;
    std::size_t pairs = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t j = i + 1; j < values.size(); ++j, ++pairs)
            sum += std::abs(values[i] - values[j]);
    }
    return sum / static_cast<double>(pairs);
}

FidelityLine compare(Metric const& metric, std::span<ServingResult const> executed,
                     ServingResult const& simulated, double repeat_factor) {
    std::vector<double> passes;
    for (auto const& pass : executed) passes.push_back(metric.value(pass));
    FidelityLine line;
    line.metric = metric.name;
    line.executed = mean_of(passes);
    line.simulated = metric.value(simulated);
    double const scale = metric.absolute ? 1.0 : line.executed;
    line.repeat_error = mean_difference(passes) / scale;
    line.error = (line.simulated - line.executed) / scale;
    line.target = metric.target;
    line.bound = std::max(metric.target, repeat_factor * line.repeat_error);
    if (std::isnan(line.error) || std::isnan(line.repeat_error)) {
        line.bound = kNan;
        return line;
    }
    line.verdict =
        std::abs(line.error) <= line.bound ? FidelityVerdict::within : FidelityVerdict::outside;
    return line;
}

std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
}

double worst(double so_far, FidelityPoint const& point, char const* metric) {
    for (auto const& line : point.lines) {
        if (line.metric != metric || std::isnan(line.error)) continue;
        if (std::isnan(so_far) || std::abs(line.error) > std::abs(so_far)) return line.error;
    }
    return so_far;
}

}  // namespace

double hit_ratio(ServingResult const& r) {
    return r.requests == 0
               ? kNan
               : static_cast<double>(r.hbm_hits + r.dram_hits) / static_cast<double>(r.requests);
}

double throughput_per_s(ServingResult const& r) {
    return r.span_ns <= 0 ? kNan
                          : static_cast<double>(r.requests) * 1e9 / static_cast<double>(r.span_ns);
}

metrics::LatencySketch const& total_latency(ServingResult const& r) {
    return r.latency[static_cast<std::size_t>(Stage::total)];
}

std::string to_string(FidelityVerdict verdict) {
    switch (verdict) {
        case FidelityVerdict::within:
            return "within";
        case FidelityVerdict::outside:
            return "outside";
        case FidelityVerdict::insufficient:
            break;
    }
    return "insufficient";
}

std::vector<FidelityLine> compare_twins(std::span<ServingResult const> executed,
                                        ServingResult const& simulated,
                                        FidelityTargets const& targets) {
    validate(executed.size() >= 2, "engine::compare_twins: a repeat error needs two passes");
    Metric const metrics[] = {
        {"mean_ns", [](ServingResult const& r) { return total_latency(r).mean_ns(); }, targets.mean,
         false},
        {"p50_ns", [](ServingResult const& r) { return total_latency(r).quantile_ns(0.5); },
         targets.p50, false},
        {"p99_ns", [](ServingResult const& r) { return total_latency(r).quantile_ns(0.99); },
         targets.p99, false},
        {"throughput_per_s", throughput_per_s, targets.throughput, false},
        {"hit_ratio", hit_ratio, targets.hit_ratio, true}};
    std::vector<FidelityLine> lines;
    for (auto const& metric : metrics)
        lines.push_back(compare(metric, executed, simulated, targets.repeat_factor));
    return lines;
}

bool FidelityPoint::holds() const {
    auto const is = [](FidelityVerdict verdict) {
        return [verdict](FidelityLine const& line) { return line.verdict == verdict; };
    };
    return std::none_of(lines.begin(), lines.end(), is(FidelityVerdict::outside)) &&
           std::any_of(lines.begin(), lines.end(), is(FidelityVerdict::within));
}

std::vector<FidelityRegime> fidelity_regimes(std::span<FidelityPoint const> points) {
    struct Axis {
        char const* name;
        std::string (*value)(FidelityPoint const&);
    };
    Axis const axes[] = {
        {"arm", [](FidelityPoint const& p) { return p.arm; }},
        {"load", [](FidelityPoint const& p) { return number(p.load); }},
        {"candidates", [](FidelityPoint const& p) { return std::to_string(p.candidates); }},
        {"max_tokens", [](FidelityPoint const& p) { return std::to_string(p.max_tokens); }},
        {"oversubscription", [](FidelityPoint const& p) { return number(p.oversubscription); }}};
    std::vector<FidelityRegime> regimes;
    for (auto const& axis : axes) {
        std::map<std::string, std::size_t> at;
        for (auto const& point : points) {
            auto const [entry, added] = at.emplace(axis.value(point), regimes.size());
            if (added) regimes.push_back({axis.name, entry->first, 0, 0, kNan, kNan, kNan});
            auto& regime = regimes[entry->second];
            ++regime.points;
            regime.held += point.holds() ? 1 : 0;
            regime.worst_mean_error = worst(regime.worst_mean_error, point, "mean_ns");
            regime.worst_p99_error = worst(regime.worst_p99_error, point, "p99_ns");
            regime.worst_hit_ratio_error = worst(regime.worst_hit_ratio_error, point, "hit_ratio");
        }
    }
    return regimes;
}

}  // namespace ckvsim::engine
