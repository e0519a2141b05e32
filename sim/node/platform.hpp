// What a serving node is made of: tiers, links and how fast they are. Filled from a platform file
// (workloads/platforms/*.json, every constant with its source).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ckvsim::node {

/// Where the rates of a platform come from.
enum class PlatformKind : std::uint8_t {
    measured,
    nominal
};  ///< calibrated here | from data sheets

/// Cost of one stage measured over a grid of (tokens, candidates): nanoseconds per request on one
/// worker, row-major [tokens][candidates]. Looked up bilinearly (exact for a + b n + c C + d n C
/// between grid points), see decode/cost_table.hpp.
struct CostGrid {
    std::vector<std::uint32_t> tokens;
    std::vector<std::uint32_t> candidates;
    std::vector<double> mean_ns;
    double batch_overhead_ns = 0.0;  ///< once per batch that occupies more than one worker; with
                                     ///< one worker once per batch
    std::vector<double> noise_quantiles = {
        1.0};  ///< sorted ratios to the mean, equally spaced; drawn per batch
    /// Residuals of the table: median and largest of decode::left_out_errors; empty when the grid
    /// has no inner points.
    std::vector<double> left_out_errors;

    bool operator==(CostGrid const&) const = default;
};

/// Stage costs of one strategy, by stage name: "fetch", "prefill", "decode", "score", "host", and
/// later "append". Optional "prefill_alone", "decode_alone", "score_alone": the same while the
/// other workers are idle (memory bandwidth to itself).
using StrategyCosts = std::map<std::string, CostGrid>;

/// A kind of serving node.
struct Platform {
    std::string name;
    PlatformKind kind = PlatformKind::nominal;
    std::string source;  ///< where the constants come from, in words
    std::string digest;  ///< of the file, recorded as the calibration id
    // Data-sheet description; used for every strategy that has no measured costs.
    double hbm_bytes = 80e9;
    double hbm_bytes_per_s = 3.35e12;
    double dram_bytes = 1e12;
    double dram_bytes_per_s = 300e9;
    double link_bytes_per_s = 64e9;  ///< host to device, one direction
    double link_latency_ns = 10000.0;
    double nvme_bytes = 0.0;  ///< local flash of a node, all devices; 0 = none
    std::uint32_t nvme_devices = 1;
    double nvme_read_bytes_per_s = 0.0;  ///< all devices together
    double nvme_write_bytes_per_s = 0.0;
    double nvme_latency_ns = 0.0;
    double nic_bytes_per_s = 50e9;  ///< network of a node, one direction
    double nic_latency_ns = 20000.0;
    double flops_per_s = 400e12;         ///< dense, the type the kernels use
    double efficiency = 0.7;             ///< share of nominal bandwidth and flops assumed reached
    double batch_overhead_ns = 20000.0;  ///< launches per batch and stage
    std::uint32_t gpus = 8;
    std::uint32_t workers = 1;  ///< requests of a batch that a server works on side by side:
                                ///< threads of the calibrated machine; 1 for a GPU
    bool fetch_overlaps_decode = true;  ///< an own copy engine; false: the server copies itself
    // What a node costs, for plans; 0 = not given, never free.
    double cost_per_node_hour = 0.0;
    std::string currency;     ///< of that cost
    double idle_watts = 0.0;  ///< of a whole node without work
    double busy_watts = 0.0;  ///< ... whose GPUs always work
    std::map<std::string, std::string> constant_sources;
    std::vector<std::string> warnings;  ///< of the calibration, for example of a noisy machine
    /// Measured costs by cost key (see decode::cost_key).
    std::map<std::string, StrategyCosts> costs;

    bool operator==(Platform const&) const = default;
};

/// One logical node's cache tiers and batching, from the spec.
struct NodeParams {
    std::uint64_t hbm_cache_bytes = 0;  ///< per node, before shared tables are taken off
    std::uint64_t dram_cache_bytes = 0;
    std::uint32_t max_batch = 16;
    double max_wait_us =
        200.0;  ///< a batch closes when it is full or its first request waited so long

    bool operator==(NodeParams const&) const = default;
};

}  // namespace ckvsim::node
