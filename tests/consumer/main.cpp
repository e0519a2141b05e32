// What a user of the libraries writes first: how many bytes a population needs with two strategies,
// and how a small fleet serves it.
#include <cstdio>
#include <memory>

#include "fleet/fleet_run.hpp"
#include "kv/strategy.hpp"
#include "metrics/latency_sketch.hpp"
#include "workload/synthetic.hpp"

using namespace ckvsim;

namespace {

double bytes_per_user(workload::Population const& population, kv::StrategyParams const& strategy,
                      model::VariantParams const& weights) {
    model::SimShape const shape;
    kv::EntryLayout const layout(shape, weights, strategy);
    double sum = 0.0;
    for (UserId user = 0; user < population.users(); ++user) {
        auto const tokens = std::min(population.history_length(user), shape.max_tokens);
        sum += static_cast<double>(layout.entry_bytes(tokens));
    }
    return sum / static_cast<double>(population.users());
}

}  // namespace

int main() {
    workload::SyntheticParams params;
    params.users = 2000;
    auto const population = workload::make_synthetic(params);
    kv::StrategyParams full;
    kv::StrategyParams collective;
    collective.kind = kv::StrategyKind::collective;
    model::VariantParams weights;
    weights.variant = model::Variant::collective;
    double const full_bytes = bytes_per_user(*population, full, {});
    double const collective_bytes = bytes_per_user(*population, collective, weights);
    std::printf("bytes per user: full %.0f, collective %.0f\n", full_bytes, collective_bytes);

    node::Platform const platform;
    fleet::ServingCosts const costs(fleet::hstu_preset(), {}, 1e6, 128);
    auto const setup = fleet::make_node_setup(platform, {}, {}, {}, costs);
    fleet::FleetParams fleet_params;
    fleet_params.users = 10000;
    fleet_params.nodes = 1;
    auto const result = fleet::run_fleet(fleet_params, setup, costs, {});
    auto const& total = result.latency[static_cast<std::size_t>(fleet::FleetStage::total)];
    std::printf("requests served: %llu, median %.3f ms\n",
                static_cast<unsigned long long>(result.served), total.quantile_ns(0.5) * 1e-6);
    return full_bytes > collective_bytes && result.served > 1000 ? 0 : 1;
}
