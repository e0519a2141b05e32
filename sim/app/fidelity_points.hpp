// Held-out points of `ckvsim validate-sim`: their requests, tiers, rates, and report rows.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "app/run_context.hpp"
#include "engine/fidelity.hpp"
#include "engine/serving.hpp"
#include "workload/requests.hpp"

namespace ckvsim::app {

/// Share of a pass's requests that are served before the measurement.
inline constexpr double kWarmupShare = 0.4;

struct PointSetting {
    engine::ServingArm const* arm = nullptr;
    std::uint32_t candidates = 0;
    std::uint32_t max_tokens = 0;
    double oversubscription = 0.0;
    node::NodeParams node;
};

/// A point with its requests at their times.
struct TimedPoint {
    PointSetting setting;
    double load = 0.0;
    double requests_per_s = 0.0;
    double warmup_s = 0.0;
    std::vector<workload::Request> requests;
};

struct PointOutcome {
    engine::FidelityPoint point;
    std::uint64_t stream_hash = 0;
    /// Mean over the executed passes, and simulated, by engine::Stage.
    std::array<double, engine::kStages> executed_ns{};
    std::array<double, engine::kStages> simulated_ns{};
};

/// The spec's executed traffic on its one node, at most so many requests. DataError when there are
/// fewer than 100.
std::vector<workload::Request> base_stream(RunContext const& context, std::uint32_t most);
/// The same requests with histories cut and so many candidates.
std::vector<workload::Request> cut_stream(std::vector<workload::Request> stream,
                                          std::uint32_t max_tokens, std::uint32_t candidates);
/// Bytes in a tier of one entry of every user who asks, at his largest.
std::uint64_t entries_bytes(engine::ServingArm const& arm,
                            std::vector<workload::Request> const& stream);
/// Tiers that together hold entries_bytes() / oversubscription, three quarters of it in HBM.
node::NodeParams tiers_of(engine::ServingArm const& arm,
                          std::vector<workload::Request> const& stream, double oversubscription,
                          config::Spec const& spec);
/// Requests per second when the server never waits, by the simulated twin, past the warm-up.
double capacity_per_s(PointSetting const& setting, node::Platform const& platform,
                      std::vector<workload::Request> stream, std::uint64_t seed);
/// The stream's first requests with its gaps scaled to the rate: as many as fit into `seconds`.
TimedPoint make_point(PointSetting const& setting, std::vector<workload::Request> stream,
                      double load, double requests_per_s, double seconds, std::uint32_t most);
engine::ServingRunParams params_of(TimedPoint const& point, std::uint64_t seed);

PointOutcome outcome_of(TimedPoint const& point, std::vector<engine::ServingResult> const& executed,
                        engine::ServingResult const& simulated);
/// Tables fidelity_points, fidelity_stages and fidelity_regimes.
void report_outcomes(metrics::Report& report, std::vector<PointOutcome> const& outcomes);
/// Of all points' requests.
std::uint64_t stream_hash(std::vector<PointOutcome> const& outcomes);

}  // namespace ckvsim::app
