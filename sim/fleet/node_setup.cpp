#include "fleet/node_setup.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

/// Integral of x^-alpha from 0.5 to n + 0.5.
double zipf_mass(double n, double alpha) {
    if (n <= 0.0) return 0.0;
    double const e = 1.0 - alpha;
    if (std::abs(e) < 1e-9) return std::log((n + 0.5) / 0.5);
    return (std::pow(n + 0.5, e) - std::pow(0.5, e)) / e;
}

/// Hottest rows to GPU memory, then to host memory; the rest is read over the network.
TablePlacement place(SharedTable const& table, double alpha, double& hbm_left, double& dram_left) {
    TablePlacement p;
    p.what = table.what;
    p.bytes = table.bytes;
    p.hbm_bytes = std::min(table.bytes, hbm_left);
    hbm_left -= p.hbm_bytes;
    // Host memory keeps what GPU memory does not.
    p.dram_bytes = std::min(table.bytes - p.hbm_bytes, dram_left);
    dram_left -= p.dram_bytes;
    double const in_hbm = std::floor(p.hbm_bytes / table.row_bytes);
    double const in_both = std::floor((p.hbm_bytes + p.dram_bytes) / table.row_bytes);
    p.hbm_hits = zipf_hits(in_hbm, table.rows, alpha);
    p.dram_hits = zipf_hits(in_both, table.rows, alpha) - p.hbm_hits;
    p.remote_reads = 1.0 - p.hbm_hits - p.dram_hits;
    if (p.remote_reads < 1e-12) p.remote_reads = 0.0;
    return p;
}

void add_reads(TableReads& reads, SharedTable const& table, TablePlacement const& placed) {
    double const link = placed.dram_hits * table.row_bytes;
    double const nic = placed.remote_reads * table.row_bytes;
    reads.link_bytes_per_candidate += link * table.reads_per_candidate;
    reads.link_bytes_per_interaction += link * table.reads_per_interaction;
    reads.link_bytes_per_encoded += link * table.reads_per_encoded;
    reads.nic_bytes_per_candidate += nic * table.reads_per_candidate;
    reads.nic_bytes_per_interaction += nic * table.reads_per_interaction;
    reads.nic_bytes_per_encoded += nic * table.reads_per_encoded;
}

/// Tables before the new items in the room that they will have with them. New items are as popular
/// as the others, so of every part of a table the same share of rows is theirs.
void add_growth(NodeSetup& setup, SharedTable const& before, SharedTable const& table,
                TablePlacement const& placed, double growth, double alpha) {
    double hbm = placed.hbm_bytes;
    double dram = placed.dram_bytes;
    add_reads(setup.reads, before, place(before, alpha, hbm, dram));
    auto& grown = setup.growth ? *setup.growth : setup.growth.emplace();
    add_reads(grown.reads, table, placed);
    double const share = growth / (1.0 + growth);
    grown.hbm_bytes += placed.hbm_bytes * share;
    grown.dram_bytes += placed.dram_bytes * share;
}

}  // namespace

double zipf_hits(double kept, double rows, double alpha) {
    if (kept >= rows) return 1.0;
    return zipf_mass(kept, alpha) / zipf_mass(rows, alpha);
}

NodeSetup make_node_setup(node::Platform const& platform, NodeBudget const& budget,
                          TierParams const& policy, Batching const& batching,
                          ServingCosts const& costs, double growth) {
    NodeSetup setup;
    setup.gpus = std::max(platform.gpus, 1U);
    double const efficiency = platform.efficiency;
    setup.ns_per_byte = 1e9 / (platform.hbm_bytes_per_s * efficiency);
    setup.ns_per_flop = 1e9 / (platform.flops_per_s * efficiency);
    setup.ns_per_link_byte =
        1e9 /
        (std::min(platform.link_bytes_per_s, platform.dram_bytes_per_s / setup.gpus) * efficiency);
    setup.link_latency_ns = platform.link_latency_ns;
    setup.batch_overhead_ns = platform.batch_overhead_ns;
    setup.batching = batching;
    setup.tiers = policy;
    bool const nvme = budget.nvme_tier && platform.nvme_bytes > 0.0;
    setup.nvme_devices = std::max(platform.nvme_devices, 1U);
    if (nvme) {
        setup.ns_per_nvme_read_byte =
            1e9 * setup.nvme_devices / (platform.nvme_read_bytes_per_s * efficiency);
        setup.ns_per_nvme_write_byte =
            1e9 * setup.nvme_devices / (platform.nvme_write_bytes_per_s * efficiency);
        setup.nvme_latency_ns = platform.nvme_latency_ns;
    }
    setup.ns_per_nic_byte = 1e9 / (platform.nic_bytes_per_s * efficiency);
    setup.nic_latency_ns = platform.nic_latency_ns;

    double hbm = platform.hbm_bytes * (1.0 - budget.hbm_reserve) - costs.resident_bytes();
    if (hbm <= 0.0) {
        throw ConfigError(
            platform.name,
            {{"/platform",
              "weights and pools take " + std::to_string(costs.resident_bytes()) +
                  " bytes of a GPU's memory, which has " + std::to_string(platform.hbm_bytes) +
                  " and keeps " + std::to_string(budget.hbm_reserve) + " of it back",
              "fewer pool rows, or a GPU with more memory"}});
    }
    double dram = platform.dram_bytes * (1.0 - budget.dram_reserve);
    double hbm_tables = hbm * budget.hbm_table_share;
    double dram_tables = dram * budget.dram_table_share;
    for (auto const& before : costs.tables()) {
        SharedTable table = before;
        table.rows *= 1.0 + growth;
        table.bytes *= 1.0 + growth;
        auto const placed = place(table, budget.item_zipf, hbm_tables, dram_tables);
        hbm -= placed.hbm_bytes;
        dram -= placed.dram_bytes;
        if (growth > 0.0) {
            add_growth(setup, before, table, placed, growth, budget.item_zipf);
        } else {
            add_reads(setup.reads, table, placed);
        }
        setup.tables.push_back(placed);
    }
    auto const capacity = [](double spec_limit, double room) {
        return static_cast<std::uint64_t>(
            std::max(spec_limit > 0.0 ? std::min(spec_limit, room) : room, 0.0));
    };
    setup.tiers.hbm_bytes = capacity(static_cast<double>(policy.hbm_bytes), hbm);
    setup.tiers.dram_bytes =
        budget.dram_tier ? capacity(static_cast<double>(policy.dram_bytes), dram) : 0;
    setup.tiers.nvme_bytes =
        nvme ? capacity(static_cast<double>(policy.nvme_bytes), platform.nvme_bytes) : 0;
    if (policy.inclusive && setup.tiers.dram_bytes < setup.tiers.hbm_bytes * setup.gpus) {
        throw ConfigError(
            platform.name,
            {{"/fleet/tiers/inclusive",
              "host memory has " + std::to_string(setup.tiers.dram_bytes) +
                  " bytes for entries, the GPUs hold " +
                  std::to_string(setup.tiers.hbm_bytes * setup.gpus) +
                  ": it cannot keep a copy of everything",
              "set inclusive to false, hbm_bytes lower, or give entries more host memory"}});
    }
    return setup;
}

}  // namespace ckvsim::fleet
