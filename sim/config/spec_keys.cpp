#include "config/spec_keys.hpp"

#include <algorithm>

#include "config/presets.hpp"
#include "config/spec_key_parts.hpp"

namespace ckvsim::config {

namespace {

constexpr std::pair<WorkloadKind, char const*> kWorkloadKinds[] = {
    {WorkloadKind::synthetic, "synthetic"},
    {WorkloadKind::dataset, "dataset"},
    {WorkloadKind::expanded, "expanded"}};

constexpr std::pair<Control, char const*> kControls[] = {
    {Control::popularity, "popularity"},
    {Control::no_history, "no_history"},
    {Control::mean_pool, "mean_pool"},
    {Control::mean_keys, "mean_keys"},
    {Control::other_history, "other_history"},
    {Control::random_indices, "random_indices"},
    {Control::m1, "m1"},
    {Control::du0, "du0"}};

std::string preset_meaning() {
    return "shapes and training settings of the LongCTR benchmark (hstu: ours; "
           "sim/config/presets.cpp) for every key of "
           "`model` and `training` that the spec does not have itself: " +
           preset_names() + ". The resolved spec has the values, not the name";
}

void describe_workload(KeyVisitor& v, WorkloadSpec& workload) {
    bool const known = v.choice<WorkloadKind>(
        {.name = "kind",
         .meaning = "where users come from: a generator with a known preference model, a file "
                    "written by `ckvsim import`, or any number of users expanded from such a file",
         .required = true},
        workload.kind, kWorkloadKinds);
    bool const synthetic = workload.kind == WorkloadKind::synthetic;
    v.object({.name = "synthetic",
              .meaning = "the generator's parameters (sim/docs/synthetic.md)",
              .applies = !known || synthetic,
              .only_if = "kind = synthetic"},
             [&](KeyVisitor& inner) { describe_synthetic(inner, workload.synthetic); });
    v.text({.name = "dataset_path",
            .meaning = "dataset file",
            .unit = "path",
            .required = known && !synthetic,
            .applies = !known || !synthetic,
            .only_if = "kind = dataset or expanded"},
           workload.dataset_path, {.shortest = 1});
    bool const expanded = workload.kind == WorkloadKind::expanded;
    v.object({.name = "expansion",
              .meaning = "how recorded users are multiplied (sim/docs/expansion.md)",
              .applies = !known || expanded,
              .only_if = "kind = expanded"},
             [&](KeyVisitor& inner) { describe_expansion(inner, workload.expansion); });
}

void describe_accuracy(KeyVisitor& v, AccuracySpec& accuracy) {
    v.boolean({.name = "enabled", .meaning = "measure AUC, gAUC, logloss and the history lift"},
              accuracy.enabled);
    v.integer({.name = "bootstrap_replicates",
               .meaning = "replicates of the two-level bootstrap (seeds, then users)"},
              accuracy.bootstrap_replicates, {.low = 20, .high = 100000});
    v.real({.name = "margin",
            .meaning = "share of the history lift that an arm may lose and still be equivalent"},
           accuracy.margin, {.low = 0, .high = 1, .above_low = true, .below_high = true});
    v.integer({.name = "max_users",
               .meaning = "evaluate a hashed subsample of about so many users; 0 = all",
               .unit = "users"},
              accuracy.max_users, {.high = kMostUsers});
    v.list({.name = "controls",
            .meaning =
                "rows that tell whether the data can rank strategies at all: clicks by item, no "
                "history, its mean, full KV with the mean of all K for every K, another "
                "user's history; of the first collective arm random pool rows, and trained "
                "anew with one pool row or without user-specific values"},
           accuracy.controls, {.most = std::size(kControls), .unique = true},
           [](KeyVisitor& inner, Key const& key, Control& control) {
               inner.choice<Control>(key, control, kControls);
           });
    v.boolean({.name = "write_predictions",
               .meaning = "store every test impression's logit in the report"},
              accuracy.write_predictions);
    v.boolean(
        {.name = "splits",
         .meaning = "judge every row also in thirds of the impressions: by the user's history "
                    "length, by his activity, by the candidate's popularity"},
        accuracy.splits);
    v.boolean({.name = "leakage",
               .meaning = "look for labels that leaked into the histories: probes without a model, "
                          "and arms above the oracle"},
              accuracy.leakage);
}

void describe_memory(KeyVisitor& v, MemorySpec& memory) {
    v.boolean({.name = "enabled", .meaning = "write the memory ledger"}, memory.enabled);
    v.boolean({.name = "resident",
               .meaning = "hold every user's entry of each arm as real bytes, if it fits"},
              memory.resident);
    v.integer({.name = "max_resident_bytes",
               .meaning = "most bytes of entries held at once, all ranks together; 0 = 60 % of the "
                          "machine's memory",
               .unit = "bytes"},
              memory.max_resident_bytes, {.high = std::uint64_t{1} << 50});
    v.list(
        {.name = "user_counts", .meaning = "points of the derived memory curve", .unit = "users"},
        memory.user_counts, {.most = 100, .unique = true},
        [](KeyVisitor& inner, Key const& key, double& users) {
            inner.real(key, users, {.low = 1, .high = 1e12});
        });
}

void describe_resident_tier(KeyVisitor& v, ResidentTierSpec& tier) {
    v.integer(
        {.name = "budget_bytes",
         .meaning = "one budget for every arm, all ranks together: entries and their index, in "
                    "memory the arm's own shared tables (pools, item tables) too; 0 = not done",
         .unit = "bytes"},
        tier.budget_bytes, {.high = std::uint64_t{1} << 50});
    v.real({.name = "requests_per_second",
            .meaning = "Poisson arrivals at one rank, the same for every arm",
            .unit = "1/s"},
           tier.requests_per_second, {.low = 0, .high = 1e9, .above_low = true});
    v.real(
        {.name = "user_share",
         .meaning = "share of the held users that are asked for, each once before any comes again"},
        tier.user_share, {.low = 0, .high = 1});
    v.integer({.name = "min_requests", .meaning = "requests at least, a rank", .unit = "requests"},
              tier.min_requests, {.low = 1, .high = std::uint64_t{1} << 32});
}

void describe_residency(KeyVisitor& v, ResidencySpec& residency) {
    v.boolean(
        {.name = "enabled",
         .meaning = "hold as many users as a budget has room for, arm by arm, and serve them"},
        residency.enabled);
    v.integer({.name = "candidates", .meaning = "candidates a request (C)"}, residency.candidates,
              {.low = 1, .high = 65536});
    v.real({.name = "warmup_s",
            .meaning = "requests that start earlier are served and not measured",
            .unit = "s"},
           residency.warmup_s, {.low = 0, .high = 1e6});
    v.object({.name = "memory", .meaning = "users kept in memory"},
             [&](KeyVisitor& inner) { describe_resident_tier(inner, residency.memory); });
    v.object(
        {.name = "file",
         .meaning = "users kept in a scratch file on storage, each entry fetched by a direct read"},
        [&](KeyVisitor& inner) {
            describe_resident_tier(inner, residency.file);
            inner.text({.name = "folder",
                        .meaning = "folder of the scratch file, on the device to measure",
                        .unit = "path"},
                       residency.file_folder, {.shortest = 1});
        });
}

void describe_executed(KeyVisitor& v, ExecutedSpec& executed) {
    v.boolean({.name = "enabled",
               .meaning = "serve requests with real caches and real kernels, by the wall clock"},
              executed.enabled);
    v.object({.name = "traffic", .meaning = "requests of the executed run and its simulated twin"},
             [&](KeyVisitor& inner) { describe_traffic(inner, executed.traffic); });
    v.real({.name = "warmup_s",
            .meaning = "requests that start earlier are served and not measured",
            .unit = "s"},
           executed.warmup_s, {.low = 0, .high = 1e6});
    v.boolean({.name = "repeat", .meaning = "run a second pass for the repeat error"},
              executed.repeat);
}

void describe_simulated(KeyVisitor& v, SimulatedSpec& simulated) {
    v.boolean({.name = "enabled",
               .meaning = "simulate the executed run (its twin) and the fleet on the platform"},
              simulated.enabled);
    v.object({.name = "traffic", .meaning = "requests on the fleet's platform"},
             [&](KeyVisitor& inner) { describe_traffic(inner, simulated.traffic); });
    v.real({.name = "warmup_s",
            .meaning = "requests that start earlier are served and not measured",
            .unit = "s"},
           simulated.warmup_s, {.low = 0, .high = 1e6});
}

void describe_measurements(KeyVisitor& v, Spec& spec) {
    v.object({.name = "accuracy", .meaning = "accuracy through the cache as served"},
             [&](KeyVisitor& inner) { describe_accuracy(inner, spec.accuracy); });
    v.object({.name = "memory", .meaning = "predicted, allocated and resident bytes"},
             [&](KeyVisitor& inner) { describe_memory(inner, spec.memory); });
    v.object({.name = "residency", .meaning = "users that one byte budget really holds"},
             [&](KeyVisitor& inner) { describe_residency(inner, spec.residency); });
    v.object({.name = "executed", .meaning = "latency by the wall clock"},
             [&](KeyVisitor& inner) { describe_executed(inner, spec.executed); });
    v.object({.name = "simulated", .meaning = "latency in virtual time"},
             [&](KeyVisitor& inner) { describe_simulated(inner, spec.simulated); });
}

void describe_fleet(KeyVisitor& v, FleetSpec& fleet) {
    v.integer({.name = "nodes",
               .meaning = "logical serving nodes; for comparable wall-clock times as many as ranks",
               .unit = "nodes"},
              fleet.nodes, {.low = 1, .high = 65536});
    v.object({.name = "node", .meaning = "one node of the executed run and of its simulated twin"},
             [&](KeyVisitor& inner) { describe_node(inner, fleet.node); });
    v.object({.name = "platform_node", .meaning = "one node of the fleet on the platform"},
             [&](KeyVisitor& inner) { describe_node(inner, fleet.platform_node); });
}

void describe_files(KeyVisitor& v, Spec& spec) {
    v.text({.name = "weights_dir",
            .meaning = "where ckvsim-train writes and `ckvsim run` reads weights; empty: "
                       "results/local/weights/<name>",
            .unit = "path"},
           spec.weights_dir, {});
    v.text({.name = "platform",
            .meaning = "platform file of the fleet; needed when executed or simulated runs are on",
            .unit = "path"},
           spec.platform_path, {});
    v.text({.name = "calibration",
            .meaning = "this machine's platform file, written by `ckvsim calibrate`; empty: "
                       "results/local/calibration-<name>.json",
            .unit = "path"},
           spec.calibration_path, {});
    v.text({.name = "output",
            .meaning = "report file; empty: results/local/<name>.h5",
            .unit = "path"},
           spec.output, {});
}

void describe_identity(KeyVisitor& v, Spec& spec) {
    v.ignored({.name = "$schema", .meaning = "for editors; ignored"});
    auto version = static_cast<std::uint32_t>(spec.schema_version);
    v.integer({.name = "schema_version", .meaning = "version of this layout", .required = true},
              version, {.low = kSpecSchemaVersion, .high = kSpecSchemaVersion});
    spec.schema_version = static_cast<int>(version);
    v.text({.name = "name",
            .meaning = "names the report and every file made for it",
            .required = true},
           spec.name, {.shortest = 1, .longest = 64, .name = true});
    v.ignored({.name = "preset", .meaning = preset_meaning()});
    v.text({.name = "description", .meaning = "what the comparison is about, in words"},
           spec.description, {.longest = 8192});
    v.integer(
        {.name = "seed", .meaning = "seed of traffic, candidates, sampling and the bootstrap"},
        spec.seed, {});
    v.integer({.name = "shards",
               .meaning = "logical shards that users are dealt to; results do not depend on ranks "
                          "but do on this"},
              spec.shards, {.low = 1, .high = 1U << 20});
}

}  // namespace

Choices<Control> control_choices() { return kControls; }

void describe(KeyVisitor& v, Spec& spec) {
    describe_identity(v, spec);
    v.object({.name = "workload", .meaning = "users, histories, labels", .required = true},
             [&](KeyVisitor& inner) { describe_workload(inner, spec.workload); });
    v.object({.name = "model", .meaning = "the model and its shapes (sim/model/sim.hpp)"},
             [&](KeyVisitor& inner) { describe_model(inner, spec.model); });
    v.object({.name = "training", .meaning = "what `ckvsim prepare` and ckvsim-train do"},
             [&](KeyVisitor& inner) { describe_training(inner, spec.training); });
    v.list({.name = "arms",
            .meaning = "rows of the comparison: weights served through a strategy",
            .required = true},
           spec.arms, {.fewest = 1, .most = 256},
           [](KeyVisitor& inner, Key const& key, ArmSpec& arm) {
               inner.object(key, [&](KeyVisitor& members) { describe_arm(members, arm); });
           });
    v.object({.name = "fleet", .meaning = "logical nodes, their cache tiers and batching"},
             [&](KeyVisitor& inner) { describe_fleet(inner, spec.fleet); });
    v.object({.name = "measurements", .meaning = "what to measure and how"},
             [&](KeyVisitor& inner) { describe_measurements(inner, spec); });
    v.object({.name = "files", .meaning = "paths, relative to the working directory"},
             [&](KeyVisitor& inner) { describe_files(inner, spec); });
}

}  // namespace ckvsim::config
