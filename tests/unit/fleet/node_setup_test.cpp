#include "fleet/node_setup.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {
namespace {

node::Platform small_platform() {
    node::Platform p;
    p.name = "small";
    p.gpus = 2;
    p.hbm_bytes = 10e6;
    p.dram_bytes = 40e6;
    p.nvme_bytes = 200e6;
    p.nvme_devices = 4;
    p.hbm_bytes_per_s = 1e12;
    p.flops_per_s = 100e12;
    p.link_bytes_per_s = 50e9;
    p.dram_bytes_per_s = 80e9;  // two GPUs: 40 GB/s each, below the link's 50
    p.nvme_read_bytes_per_s = 20e9;
    p.nvme_write_bytes_per_s = 8e9;
    p.nvme_latency_ns = 80000;
    p.nic_bytes_per_s = 25e9;
    p.nic_latency_ns = 7000;
    p.link_latency_ns = 9000;
    p.batch_overhead_ns = 11000;
    p.efficiency = 0.5;
    return p;
}

ServingCosts costs_for(Keeping keeping, double items, std::uint32_t pool_rows = 100) {
    ServingModel model;
    model.max_interactions = 20;
    model.attention_dim = 64;
    model.embedding_dim = 32;
    model.tower = {8};
    return {model, {.keeping = keeping, .m = pool_rows}, items, 16};
}

NodeSetup setup_for(ServingCosts const& costs, NodeBudget const& budget = {},
                    TierParams const& tiers = {}) {
    return make_node_setup(small_platform(), budget, tiers, {}, costs);
}

double sum_of_ranks(double from, double to, double alpha) {
    double sum = 0.0;
    for (double rank = from; rank <= to; rank += 1.0) sum += std::pow(rank, -alpha);
    return sum;
}

TEST(NodeSetup, ZipfHitsAreTheSumsOverRanks) {
    for (double const alpha : {0.0, 0.5, 0.8, 1.0, 1.2}) {
        double const all = sum_of_ranks(1, 100000, alpha);
        for (double const kept : {10.0, 100.0, 5000.0, 99999.0}) {
            double const exact = sum_of_ranks(1, kept, alpha) / all;
            EXPECT_NEAR(zipf_hits(kept, 100000, alpha) / exact, 1.0, kept < 100 ? 0.035 : 0.02)
                << kept << " rows kept, exponent " << alpha;
        }
        EXPECT_EQ(zipf_hits(0, 100000, alpha), 0.0);
        EXPECT_EQ(zipf_hits(100000, 100000, alpha), 1.0);
        EXPECT_EQ(zipf_hits(200000, 100000, alpha), 1.0);
    }
    EXPECT_NEAR(zipf_hits(250, 1000, 0.0), 0.25, 1e-12);
    EXPECT_NEAR(zipf_hits(500, 1000, 1.0 + 1e-8), zipf_hits(500, 1000, 1.0), 1e-6);
}

TEST(NodeSetup, RatesAreNominalTimesEfficiency) {
    auto const s = setup_for(costs_for(Keeping::full, 100));
    EXPECT_EQ(s.gpus, 2U);
    EXPECT_DOUBLE_EQ(s.ns_per_byte, 1e9 / 0.5e12);
    EXPECT_DOUBLE_EQ(s.ns_per_flop, 1e9 / 50e12);
    EXPECT_DOUBLE_EQ(s.ns_per_link_byte, 1e9 / 20e9) << "a GPU's part of host memory's rate";
    EXPECT_DOUBLE_EQ(s.ns_per_nvme_read_byte, 1e9 / 2.5e9) << "one device of four";
    EXPECT_DOUBLE_EQ(s.ns_per_nvme_write_byte, 1e9 / 1e9);
    EXPECT_EQ(s.nvme_devices, 4U);
    EXPECT_DOUBLE_EQ(s.ns_per_nic_byte, 1e9 / 12.5e9);
    EXPECT_EQ(s.link_latency_ns, 9000);
    EXPECT_EQ(s.nvme_latency_ns, 80000);
    EXPECT_EQ(s.nic_latency_ns, 7000);
    EXPECT_EQ(s.batch_overhead_ns, 11000);
}

TEST(NodeSetup, PlacementConservesBytes) {
    for (auto const keeping : {Keeping::full, Keeping::item_table, Keeping::collective_item}) {
        for (double const items : {100.0, 20000.0, 300000.0, 5e6}) {
            SCOPED_TRACE(to_string(keeping) + " of " + std::to_string(items));
            auto const costs = costs_for(keeping, items);
            auto const s = setup_for(costs);
            ASSERT_EQ(s.tables.size(), costs.tables().size());
            double hbm = 9e6 - costs.resident_bytes();
            double dram = 36e6;
            double hbm_tables = 0.0;
            double dram_tables = 0.0;
            for (std::size_t i = 0; i < s.tables.size(); ++i) {
                auto const& t = s.tables[i];
                EXPECT_EQ(t.bytes, costs.tables()[i].bytes);
                EXPECT_LE(t.hbm_bytes + t.dram_bytes, t.bytes);
                EXPECT_NEAR(t.hbm_hits + t.dram_hits + t.remote_reads, 1.0, 1e-9);
                EXPECT_GE(t.dram_hits, 0.0);
                bool const whole = t.hbm_bytes + t.dram_bytes == t.bytes;
                EXPECT_EQ(t.remote_reads == 0.0, whole);
                EXPECT_EQ(t.hbm_hits == 1.0, t.hbm_bytes == t.bytes);
                hbm_tables += t.hbm_bytes;
                dram_tables += t.dram_bytes;
            }
            EXPECT_LE(hbm_tables, 0.5 * hbm + 1e-6);
            EXPECT_LE(dram_tables, 0.5 * dram + 1e-6);
            EXPECT_NEAR(static_cast<double>(s.tiers.hbm_bytes), hbm - hbm_tables, 1.0);
            EXPECT_NEAR(static_cast<double>(s.tiers.dram_bytes), dram - dram_tables, 1.0);
            EXPECT_EQ(s.tiers.nvme_bytes, 200000000U);
        }
    }
}

TEST(NodeSetup, ReadsBeyondGpuMemoryTravel) {
    // Embeddings of 64 bytes; 5e6 of them are 320 MB: 4.5 MB in GPU memory, 18 MB in host memory.
    auto const far = setup_for(costs_for(Keeping::full, 5e6));
    ASSERT_EQ(far.tables.size(), 1U);
    auto const& t = far.tables[0];
    EXPECT_GT(t.remote_reads, 0.1);
    EXPECT_DOUBLE_EQ(far.reads.link_bytes_per_candidate, 64 * t.dram_hits);
    EXPECT_DOUBLE_EQ(far.reads.nic_bytes_per_candidate, 64 * t.remote_reads);
    EXPECT_DOUBLE_EQ(far.reads.link_bytes_per_encoded, 64 * t.dram_hits);
    EXPECT_DOUBLE_EQ(far.reads.nic_bytes_per_encoded, 64 * t.remote_reads);
    EXPECT_EQ(far.reads.link_bytes_per_interaction, 0.0);
    EXPECT_EQ(far.reads.nic_bytes_per_interaction, 0.0);
    auto const near = setup_for(costs_for(Keeping::full, 100));
    EXPECT_EQ(near.reads.link_bytes_per_candidate, 0.0);
    EXPECT_EQ(near.reads.nic_bytes_per_candidate, 0.0);
    // Ids with a table: rows are read per interaction.
    auto const costs = costs_for(Keeping::item_table, 2e5);
    auto const ids = setup_for(costs);
    auto const& embeddings = ids.tables.at(0);
    auto const& table = ids.tables.at(1);
    EXPECT_GT(table.dram_hits, 0.1);
    EXPECT_GT(table.remote_reads, 0.1);
    double const row = costs.tables().at(1).row_bytes;
    EXPECT_DOUBLE_EQ(ids.reads.link_bytes_per_interaction, row * table.dram_hits);
    EXPECT_DOUBLE_EQ(ids.reads.nic_bytes_per_interaction, row * table.remote_reads);
    EXPECT_DOUBLE_EQ(ids.reads.link_bytes_per_candidate, 64 * embeddings.dram_hits);
    EXPECT_EQ(ids.reads.link_bytes_per_encoded, 0.0);
}

TEST(NodeSetup, TiersAreSwitchedAndLimitedByTheSpec) {
    auto const costs = costs_for(Keeping::full, 100);
    auto const limited = setup_for(
        costs, {}, {.hbm_bytes = 1000, .dram_bytes = 2000, .nvme_bytes = 3000, .ttl_s = 4.0});
    EXPECT_EQ(limited.tiers.hbm_bytes, 1000U);
    EXPECT_EQ(limited.tiers.dram_bytes, 2000U);
    EXPECT_EQ(limited.tiers.nvme_bytes, 3000U);
    EXPECT_EQ(limited.tiers.ttl_s, 4.0);
    auto const most = setup_for(costs, {}, {.hbm_bytes = std::uint64_t{1} << 50});
    EXPECT_LT(most.tiers.hbm_bytes, 9000000U) << "no more than there is";
    auto const none = setup_for(costs, {.dram_tier = false, .nvme_tier = false});
    EXPECT_EQ(none.tiers.dram_bytes, 0U);
    EXPECT_EQ(none.tiers.nvme_bytes, 0U);
    EXPECT_GT(none.tiers.hbm_bytes, 0U);
}

/// Pointer of the first problem, or "" when nothing is refused.
std::string refused_at(ServingCosts const& costs, NodeBudget const& budget,
                       TierParams const& tiers) {
    try {
        setup_for(costs, budget, tiers);
    } catch (ConfigError const& error) {
        return error.problems().at(0).pointer + ": " + error.problems().at(0).message;
    }
    return "";
}

TEST(NodeSetup, PoolsThatDoNotFitAreRefused) {
    // 2 sites, 2 sides, 63 values of 2 bytes a row: 504 bytes a pool row, and its router.
    EXPECT_EQ(refused_at(costs_for(Keeping::collective, 100, 1000), {}, {}), "");
    auto const refused = refused_at(costs_for(Keeping::collective, 100, 20000), {}, {});
    EXPECT_EQ(refused.find("/platform: weights and pools take "), 0U) << refused;
}

TEST(NodeSetup, HostMemoryThatCannotCopyTheGpusIsRefusedWhenInclusive) {
    auto const costs = costs_for(Keeping::full, 100);
    EXPECT_EQ(refused_at(costs, {}, {.inclusive = true}), "");
    EXPECT_EQ(refused_at(costs, {}, {.dram_bytes = 1000000, .inclusive = true})
                  .find("/fleet/tiers/inclusive"),
              0U);
    EXPECT_EQ(
        refused_at(costs, {.dram_tier = false}, {.inclusive = true}).find("/fleet/tiers/inclusive"),
        0U);
}

NodeSetup growing(ServingCosts const& costs, double growth) {
    return make_node_setup(small_platform(), {}, {}, {}, costs, growth);
}

void expect_same_reads(TableReads const& a, TableReads const& b) {
    EXPECT_DOUBLE_EQ(a.link_bytes_per_candidate, b.link_bytes_per_candidate);
    EXPECT_DOUBLE_EQ(a.link_bytes_per_interaction, b.link_bytes_per_interaction);
    EXPECT_DOUBLE_EQ(a.link_bytes_per_encoded, b.link_bytes_per_encoded);
    EXPECT_DOUBLE_EQ(a.nic_bytes_per_candidate, b.nic_bytes_per_candidate);
    EXPECT_DOUBLE_EQ(a.nic_bytes_per_interaction, b.nic_bytes_per_interaction);
    EXPECT_DOUBLE_EQ(a.nic_bytes_per_encoded, b.nic_bytes_per_encoded);
}

TEST(NodeSetup, RoomForNewItemsIsSetAsideFromTheStart) {
    for (auto const keeping : {Keeping::full, Keeping::item_table, Keeping::collective_item}) {
        for (double const items : {100.0, 20000.0, 300000.0, 5e6}) {
            SCOPED_TRACE(to_string(keeping) + " of " + std::to_string(items));
            auto const s = growing(costs_for(keeping, items), 0.5);
            auto const after = setup_for(costs_for(keeping, 1.5 * items));
            EXPECT_EQ(s.tiers, after.tiers);
            ASSERT_TRUE(s.growth.has_value());
            expect_same_reads(s.growth->reads, after.reads);
            EXPECT_LE(s.reads.nic_bytes_per_candidate, after.reads.nic_bytes_per_candidate);
            double hbm = 0.0;
            double dram = 0.0;
            for (auto const& table : after.tables) {
                hbm += table.hbm_bytes;
                dram += table.dram_bytes;
            }
            EXPECT_NEAR(s.growth->hbm_bytes, hbm / 3.0, 1e-6) << "a third of the items are new";
            EXPECT_NEAR(s.growth->dram_bytes, dram / 3.0, 1e-6);
        }
    }
}

TEST(NodeSetup, OldItemsAreReadFromTheRoomOfAll) {
    // 1e5 embeddings of 64 bytes: 6.4 MB where tables may take 4.5 MB a GPU; with 5e5 they take
    // 4.5 and 18 MB of 32.
    auto const s = growing(costs_for(Keeping::full, 1e5), 4.0);
    double const kept = s.tables[0].hbm_bytes / 64;
    EXPECT_DOUBLE_EQ(s.reads.link_bytes_per_candidate,
                     64 * (1.0 - zipf_hits(std::floor(kept), 1e5, 0.8)));
    EXPECT_EQ(s.reads.nic_bytes_per_candidate, 0.0) << "all of the old ones are on the node";
    EXPECT_GT(s.growth->reads.nic_bytes_per_candidate, 0.0);
}

TEST(NodeSetup, ACatalogueThatDoesNotGrowIsTheCatalogue) {
    auto const costs = costs_for(Keeping::item_table, 2e5);
    auto const s = growing(costs, 0.0);
    auto const same = setup_for(costs);
    EXPECT_FALSE(s.growth.has_value());
    expect_same_reads(s.reads, same.reads);
    EXPECT_EQ(s.tiers, same.tiers);
    EXPECT_EQ(s.tables[0].hbm_bytes, same.tables[0].hbm_bytes);
}

}  // namespace
}  // namespace ckvsim::fleet
