// One fleet node: rates of its devices, what shared tables leave to entries, and how requests are
// batched. Made once per (platform, model, strategy, catalogue).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fleet/serving_costs.hpp"
#include "fleet/tiers.hpp"
#include "node/platform.hpp"

namespace ckvsim::fleet {

/// How much of a node goes to what.
struct NodeBudget {
    double hbm_reserve = 0.1;       ///< share of GPU memory for activations and the runtime
    double hbm_table_share = 0.5;   ///< most of the rest that shared tables may take
    double dram_reserve = 0.1;      ///< share of host memory for the operating system
    double dram_table_share = 0.5;  ///< most of the rest that shared tables may take
    bool dram_tier = true;          ///< entries may live in host memory
    bool nvme_tier = true;          ///< ... and on NVMe
    double item_zipf = 0.8;         ///< popularity of table rows (FACTS section 4)

    bool operator==(NodeBudget const&) const = default;
};

/// Dynamic batching and shedding of one GPU.
struct Batching {
    std::uint32_t max_batch = 64;
    double max_wait_us = 500.0;
    std::uint32_t max_queue = 4096;  ///< requests waiting at one GPU; more are shed
    /// An entry that would take longer to arrive is made from ids instead; 0 = always waited for.
    double fetch_patience_ms = 10.0;

    bool operator==(Batching const&) const = default;
};

/// Where a shared table's rows are and how often reads find them there.
struct TablePlacement {
    std::string what;
    double bytes = 0.0;
    double hbm_bytes = 0.0;   ///< per GPU, hottest rows
    double dram_bytes = 0.0;  ///< per node, next rows
    double hbm_hits = 1.0;    ///< share of reads
    double dram_hits = 0.0;
    double remote_reads = 0.0;
};

/// Bytes of shared tables that reads find beyond GPU memory, over the link and over the network.
struct TableReads {
    double link_bytes_per_candidate = 0.0;
    double link_bytes_per_interaction = 0.0;
    double link_bytes_per_encoded = 0.0;
    double nic_bytes_per_candidate = 0.0;
    double nic_bytes_per_interaction = 0.0;
    double nic_bytes_per_encoded = 0.0;
};

/// What new items change when their rows have arrived.
struct CatalogueGrowth {
    TableReads reads = {};
    double hbm_bytes = 0.0;   ///< rows of new items, for every GPU's memory
    double dram_bytes = 0.0;  ///< ... for the node's host memory
};

struct NodeSetup {
    std::uint32_t gpus = 8;
    double ns_per_byte = 0.0;  ///< GPU memory
    double ns_per_flop = 0.0;
    double ns_per_link_byte = 0.0;  ///< one direction, one GPU
    double link_latency_ns = 0.0;
    double ns_per_nvme_read_byte = 0.0;  ///< one device
    double ns_per_nvme_write_byte = 0.0;
    double nvme_latency_ns = 0.0;
    std::uint32_t nvme_devices = 1;
    double ns_per_nic_byte = 0.0;
    double nic_latency_ns = 0.0;
    double batch_overhead_ns = 0.0;     ///< per stage
    std::vector<double> noise = {1.0};  ///< sorted ratios of service times to their mean
    TierParams tiers;
    Batching batching;
    std::vector<TablePlacement> tables;     ///< at the end of the run
    TableReads reads;                       ///< until the catalogue has grown
    std::optional<CatalogueGrowth> growth;  ///< where it grows
};

/// Share of reads that the `kept` hottest of `rows` rows serve, popularity ~ rank^-alpha; sums by
/// their integrals, as workload/integrated_zipf.
double zipf_hits(double kept, double rows, double alpha);

/// Throws ConfigError naming /platform or /node when the weights and pools alone do not fit.
/// `growth`: items that join the catalogue during the run over those of `costs`; room for their
/// rows is set aside from the start.
NodeSetup make_node_setup(node::Platform const& platform, NodeBudget const& budget,
                          TierParams const& policy, Batching const& batching,
                          ServingCosts const& costs, double growth = 0.0);

}  // namespace ckvsim::fleet
