#include "app/timed_arms.hpp"

#include <set>

#include "app/machine.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "model/sim.hpp"

namespace ckvsim::app {

std::vector<engine::ServingArm> timed_arms(config::Spec const& spec,
                                           workload::Population const& population) {
    auto const& catalogue = population.catalogue();
    std::vector<engine::ServingArm> arms;
    std::set<std::string> keys;
    for (auto const& arm : spec.arms) {
        if (!arm.latency) continue;
        auto serving = engine::make_serving_arm(arm.name, spec.model, arm.weights, arm.strategy,
                                                catalogue, population.context_vocabulary());
        if (!keys.insert(serving.cost_key).second) continue;
        auto const weights = std::make_shared<model::SimWeights const>(model::random_sim_weights(
            spec.model, arm.weights, catalogue, population.context_vocabulary(), spec.seed));
        serving.backend = device::cpu::make_backend(weights, arm.strategy, catalogue);
        arms.push_back(std::move(serving));
    }
    return arms;
}

void name_measured_platform(node::Platform& platform, std::string const& command) {
    platform.hbm_bytes = platform.dram_bytes = static_cast<double>(physical_memory_bytes());
    platform.constant_sources["hbm_bytes"] = platform.constant_sources["dram_bytes"] =
        "the machine's physical memory, one for both tiers";
    platform.constant_sources["nic_bytes_per_s"] = platform.constant_sources["nic_latency_ns"] =
        "not measured: a default, used by fleets of several nodes alone";
    platform.name = "this machine";
    auto const machine = machine_provenance();
    platform.source = "measured by " + command + " (" + machine.at("version") + ", commit " +
                      machine.at("commit") + (machine.at("dirty") == "yes" ? " with changes" : "") +
                      ", " + machine.at("compiler") + ") on " + cpu_model() + ", " +
                      machine.at("instruction_set") + ", " + machine.at("threads_per_rank") +
                      " threads, " + machine.at("kernel") + ", " + machine.at("date_utc");
}

}  // namespace ckvsim::app
