// The validated spec: one struct per section, every default filled in. JSON stays in this folder's
// .cpp files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/shards.hpp"
#include "kv/strategy.hpp"
#include "model/sim.hpp"
#include "node/platform.hpp"
#include "workload/expanded.hpp"
#include "workload/requests.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::config {

inline constexpr int kSpecSchemaVersion = 1;

enum class WorkloadKind : std::uint8_t { synthetic, dataset, expanded };

struct WorkloadSpec {
    WorkloadKind kind = WorkloadKind::synthetic;
    workload::SyntheticParams synthetic;  ///< kind = synthetic
    std::string dataset_path;  ///< kind = dataset or expanded: file written by `ckvsim import`
    workload::ExpansionParams expansion;  ///< kind = expanded

    bool operator==(WorkloadSpec const&) const = default;
};

struct TrainingSpec {
    std::vector<std::uint64_t> seeds = {1, 2, 3};
    std::uint32_t epochs = 2;  ///< at most; early stop on tune AUC
    std::uint32_t batch = 512;
    double learning_rate = 1e-3;
    double embedding_l2 = 1e-6;
    double dropout = 0.1;
    double peak_weight = 0.01;  ///< CollectiveKV losses, FACTS 0b
    double balance_weight = 1.0;
    double distil_weight = 0.5;                ///< of arms with a teacher (train::StepLosses)
    double distil_temperature = 1.0;           ///< likewise
    std::uint64_t max_train_samples = 200000;  ///< subsample by hash, 0 = all
    std::uint64_t max_tune_samples = 20000;
    std::uint32_t reference_samples = 64;  ///< forward passes stored for the serving check
    bool straight_through = false;  ///< train with the plain pool row and the sigmoid's gradient

    bool operator==(TrainingSpec const&) const = default;
};

/// One row of the comparison: a set of weights served through one way of keeping histories.
struct ArmSpec {
    std::string name;
    model::VariantParams weights;
    kv::StrategyParams strategy;
    kv::WindowParams window;  ///< accuracy only
    bool memory = true;       ///< take part in the memory measurement
    bool accuracy = true;
    bool latency = true;

    bool operator==(ArmSpec const&) const = default;
};

/// Controls of DESIGN honesty rule 5.
enum class Control : std::uint8_t {
    popularity,
    no_history,
    mean_pool,
    mean_keys,
    other_history,
    random_indices,
    m1,
    du0
};
std::string to_string(Control control);

/// Accuracy through the cache as served (DESIGN honesty rules 4 and 5).
struct AccuracySpec {
    bool enabled = true;
    std::uint32_t bootstrap_replicates = 200;
    double margin = 0.03;         ///< share of the history lift that may be lost
    std::uint64_t max_users = 0;  ///< evaluate a hashed subsample of users, 0 = all
    std::vector<Control> controls = {
        Control::popularity,    Control::no_history,     Control::mean_pool, Control::mean_keys,
        Control::other_history, Control::random_indices, Control::m1,        Control::du0};
    bool write_predictions = false;
    bool splits = true;   ///< judge arms in thirds of users and items, too
    bool leakage = true;  ///< probe the histories for leaked labels

    bool operator==(AccuracySpec const&) const = default;
};

struct MemorySpec {
    bool enabled = true;
    bool resident = true;                  ///< hold every user's entry of each arm as real bytes
    std::uint64_t max_resident_bytes = 0;  ///< all ranks together; 0 = 60 % of the machine's memory
    std::vector<double> user_counts = {1e4, 1e5, 1e6, 1e7, 1e8, 1e9};  ///< derived curve

    bool operator==(MemorySpec const&) const = default;
};

/// One place where users are kept, and the requests made against it.
struct ResidentTierSpec {
    std::uint64_t budget_bytes = 0;     ///< all ranks together
    double requests_per_second = 0.0;   ///< a rank
    double user_share = 0.1;            ///< of the held users, each asked for once
    std::uint64_t min_requests = 1000;  ///< a rank

    bool operator==(ResidentTierSpec const&) const = default;
};

/// As many users as one byte budget holds under each strategy, really kept and served.
struct ResidencySpec {
    bool enabled = false;
    std::uint32_t candidates = 8;
    double warmup_s = 1.0;
    ResidentTierSpec memory = {std::uint64_t{20} << 30, 500.0, 0.1, 20000};
    ResidentTierSpec file = {0, 50.0, 0.01, 1000};  ///< budget 0 = nothing in files
    std::string file_folder = "results/local";

    bool operator==(ResidencySpec const&) const = default;
};

/// The executed twin: real caches and kernels by the wall clock.
struct ExecutedSpec {
    bool enabled = true;
    workload::TrafficParams traffic;
    double warmup_s = 0.5;  ///< measured requests start after this much traffic
    bool repeat = true;     ///< a second pass for the repeat error

    bool operator==(ExecutedSpec const&) const = default;
};

/// The fleet on the platform file, in virtual time.
struct SimulatedSpec {
    bool enabled = true;
    workload::TrafficParams
        traffic;  ///< on the fleet's platform; the twin of `executed` uses its traffic
    double warmup_s = 1.0;

    bool operator==(SimulatedSpec const&) const = default;
};

struct FleetSpec {
    std::uint32_t nodes = 2;
    node::NodeParams node;           ///< capacities in the executed run and its simulated twin
    node::NodeParams platform_node;  ///< capacities on the platform file's nodes

    bool operator==(FleetSpec const&) const = default;
};

/// A whole spec, every default filled in.
struct Spec {
    int schema_version = kSpecSchemaVersion;
    std::string name = "unnamed";
    std::string description;
    std::uint64_t seed = 1;
    std::uint32_t shards = kDefaultShards;
    WorkloadSpec workload;
    model::SimShape model;
    TrainingSpec training;
    std::vector<ArmSpec> arms;
    std::string weights_dir;    ///< where ckvsim-train writes, default results/local/weights/<name>
    std::string platform_path;  ///< fleet platform (data sheet)
    std::string calibration_path;  ///< this machine's platform, written by `ckvsim calibrate`
    FleetSpec fleet;
    AccuracySpec accuracy;
    MemorySpec memory;
    ResidencySpec residency;
    ExecutedSpec executed;
    SimulatedSpec simulated;
    std::string output;  ///< report path, default results/local/<name>.h5

    bool operator==(Spec const&) const = default;
};

/// Reads, checks and fills in a spec. Throws ConfigError with every problem (JSON pointer, value,
/// allowed range, suggestion), DataError when the file cannot be read. Relative paths inside the
/// spec are relative to the working directory. Empty files.weights_dir, calibration and output get
/// their defaults. Keys without effect (for example `d_u` on weights that are not collective) are
/// refused. `overrides`: "/json/pointer=value" strings from the command line, applied before
/// validation; the value is JSON, or a plain string where it is no JSON. Local.
Spec load_spec(std::string const& path, std::vector<std::string> const& overrides = {});
/// The same from text; `origin` names it in messages.
Spec parse_spec(std::string const& text, std::string const& origin,
                std::vector<std::string> const& overrides = {});
/// Resolved spec as pretty JSON, every key that has an effect present; parse_spec(dump_spec(s)) ==
/// s for every s that parse_spec returned.
std::string dump_spec(Spec const& spec);
/// JSON Schema (draft 2020-12) of a spec: workloads/schema/spec.schema.json is this text.
std::string spec_schema_json();
/// Reference of every key as Markdown: sim/docs/spec.md is this text.
std::string spec_markdown();

/// Distinct variants to train: `full` first, the arms' in their order, then what the accuracy
/// measurement needs beside them: no_history (always, it anchors the history lift), mean_pool, m1
/// and du0 when asked for.
std::vector<model::VariantParams> variants_to_train(Spec const& spec);
/// Weights of a control: those of the first collective arm with one pool row (m1) or without
/// user-specific values (du0); unchanged for other controls.
model::VariantParams reduced(Control control, model::VariantParams weights);
/// <weights_dir>/<weights_stem>_seed<seed>.ckvt
std::string weights_path(Spec const& spec, model::VariantParams const& variant, std::uint64_t seed);

/// Platform file -> struct with the digest of the file's bytes; ConfigError / DataError as above.
/// Format: platform_file.cpp.
node::Platform load_platform(std::string const& path);
node::Platform parse_platform(std::string const& text, std::string const& origin);
/// Writes a platform (calibrate); temporary name, then rename. The digest is not written. Throws
/// InternalError for a platform that load_platform would refuse, BackendError when it cannot write.
void write_platform(node::Platform const& platform, std::string const& path);

}  // namespace ckvsim::config
