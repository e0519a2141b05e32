// What every user of a strategy shares: pools, and cells per catalogue item.
#pragma once

#include <span>

#include "device/cpu/cells.hpp"

namespace ckvsim::device::cpu {

/// A trained pool, `rows` times the same number of values, as the kernels read it: SiLU applied,
/// stored as `type`, zeros from there to `width` values and up to the next row `step_bytes` on.
AlignedVector<std::byte> make_pool(std::span<float const> pool, std::uint32_t rows,
                                   kv::ValueType type, std::size_t width, std::size_t step_bytes);

/// Where the rows of one side (K or V) of one attention site come from.
struct SideTables {
    /// `own` bytes lie in the user's entry (or are projected from its ids at the request); by_item
    /// = in the tables below, found through the ids.
    bool by_item = false;
    bool codes = false;           ///< a pool row and a user part instead of a row
    kv::Section values{};         ///< rows
    kv::Section index_section{};  ///< codes
    kv::Section user_section{};
    AlignedVector<std::byte> rows;     ///< [V+1, row_bytes], by_item and not codes
    AlignedVector<std::byte> indices;  ///< [V+1, index_bytes], by_item and codes
    AlignedVector<std::byte> users;    ///< [V+1, d_u], by_item and codes
    /// [m, pool_step_bytes]: SiLU applied, of the value type; zeros in the user dimensions (fp32
    /// and fp16) and up to the next cache line, so that every row starts a line and is read whole.
    AlignedVector<std::byte> pool;
    std::size_t pool_step_bytes = 0;
};

/// Pools or item tables of one attention site.
struct SiteTables {
    SideTables k;
    SideTables v;
};

/// Immutable.
struct SharedTables {
    /// `maker` makes the cells of the tables. OpenMP-parallel.
    SharedTables(model::SimWeights const& weights, kv::StrategyParams const& strategy,
                 CellMaker const& maker);

    SiteTables short_site;
    SiteTables long_site;
    /// Search keys, signatures or SDIM's buckets [V+1, cell]; empty when entries hold what requests
    /// need, or requests make it.
    AlignedVector<std::byte> search;

    /// Bytes allocated under the names of kv::shared_bytes ("short.k.pool",
    /// "item_table.search", ...); 0 for a name that is not a table.
    [[nodiscard]] std::size_t bytes(std::string const& what) const;
};

}  // namespace ckvsim::device::cpu
