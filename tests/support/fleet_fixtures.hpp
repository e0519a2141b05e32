// Small fleet models and nodes with simple costs, and estimates with their standard errors.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "fleet/fleet_run.hpp"

namespace ckvsim::fleet::testing_support {

/// Full K and V of width 8: 32 bytes an event.
inline ServingCosts plain_costs(std::uint32_t max_interactions = 64) {
    ServingModel model;
    model.attention_dim = 8;
    model.embedding_dim = 8;
    model.max_interactions = max_interactions;
    model.sites = {{0, 0, 1}};
    model.tower = {8};
    return {model, {}, 100.0, 4};
}

/// One GPU whose every stage takes `stage_ns`, batches of one without waiting, GPU memory for
/// everything; links, flash and network take no time.
inline NodeSetup plain_setup(double stage_ns) {
    NodeSetup setup;
    setup.gpus = 1;
    setup.batch_overhead_ns = stage_ns;
    setup.tiers.hbm_bytes = std::uint64_t{1} << 40;
    setup.batching = {
        .max_batch = 1, .max_wait_us = 0.0, .max_queue = 1U << 24, .fetch_patience_ms = 0.0};
    return setup;
}

/// Users who are equally active and have `events` events each, on one node.
inline FleetUsers plain_users(std::uint64_t users, std::uint32_t events = 8) {
    return {users, 1, {.sigma = 0.0, .classes = 1}, {.median = double(events), .sigma = 0.0}, 1};
}

/// Poisson arrivals without returns and growth: `count` of them, more or less.
inline std::vector<Arrival> poisson_arrivals(FleetUsers const& users, double gap_ns,
                                             std::size_t count, std::uint64_t seed) {
    FleetTraffic traffic;
    traffic.requests_per_second = 1e9 / gap_ns;
    traffic.revisit_probability = 0.0;
    traffic.events_per_request = 0.0;
    std::vector<Arrival> arrivals;
    ArrivalStream(users, traffic, seed, 0)
        .next(static_cast<Nanoseconds>(gap_ns * static_cast<double>(count)), count * 2, arrivals);
    return arrivals;
}

/// A node with empty tiers serves the arrivals; those before `warmup_ns` are not measured.
inline FleetResult serve_all(NodeSetup const& setup, ServingCosts const& costs,
                             FleetUsers const& users, std::vector<Arrival> const& arrivals,
                             Nanoseconds warmup_ns = 0, NodeRun run = {}) {
    run.warmup_ns = warmup_ns;
    run.duration_ns = arrivals.back().time_ns + 1;
    NodeSim sim(setup, costs, run, 0, users.places(0));
    start_node(sim.tiers(), users, 0, std::vector<double>(users.classes().size(), 1.0), setup.tiers,
               StartState::cold, 1);
    sim.serve(arrivals);
    return sim.finish();
}

inline double mean_ns(FleetResult const& r, FleetStage stage) {
    return r.latency[static_cast<std::size_t>(stage)].mean_ns();
}
inline std::uint64_t found(FleetResult const& r, Residence tier) {
    return r.found[static_cast<std::size_t>(tier)];
}

inline constexpr std::array kRoutingKinds = {RoutingKind::home, RoutingKind::bounded_loads,
                                             RoutingKind::spill_over, RoutingKind::two_choices,
                                             RoutingKind::random};

/// A fleet that is overrun, with tiers that overflow.
inline FleetParams busy_fleet() {
    FleetParams params;
    params.users = 6000;
    params.nodes = 3;
    params.activity = {.sigma = 1.0, .classes = 8};
    params.history = {.median = 20.0, .sigma = 0.8};
    params.traffic = {.requests_per_second = 150000.0, .duration_s = 0.4};
    params.warmup_s = 0.1;
    params.slo_ms = 3.0;
    params.prefetch_lead_ms = 0.5;
    return params;
}

inline NodeSetup busy_setup() {
    auto setup = plain_setup(30000.0);
    setup.gpus = 2;
    setup.nvme_devices = 2;
    setup.ns_per_link_byte = 8.0;
    setup.ns_per_nvme_read_byte = 20.0;
    setup.ns_per_nvme_write_byte = 30.0;
    setup.ns_per_nic_byte = 10.0;
    setup.nvme_latency_ns = 90000.0;
    setup.tiers = {.hbm_bytes = 100000, .dram_bytes = 400000, .nvme_bytes = 500000};
    setup.batching = {
        .max_batch = 2, .max_wait_us = 100.0, .max_queue = 40, .fetch_patience_ms = 0.3};
    return setup;
}

/// Mean of independent runs and its standard error.
struct Estimate {
    double mean = 0.0;
    double error = 0.0;
};
inline Estimate estimate(std::vector<double> const& runs) {
    Estimate e;
    auto const n = static_cast<double>(runs.size());
    for (double const x : runs) e.mean += x / n;
    double squares = 0.0;
    for (double const x : runs) squares += (x - e.mean) * (x - e.mean);
    e.error = std::sqrt(squares / (n - 1.0) / n);
    return e;
}

/// A rank's result over all ranks; merging is what the application's reductions do.
inline FleetResult merged(std::vector<FleetResult> const& parts) {
    FleetResult all;
    for (auto const& part : parts) merge(all, part);
    return all;
}
/// Every counter, hash and sketch.
inline bool same(FleetResult const& a, FleetResult const& b) {
    return sum_part(a) == sum_part(b) && max_part(a) == max_part(b);
}

}  // namespace ckvsim::fleet::testing_support
