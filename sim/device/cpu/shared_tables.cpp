#include "device/cpu/shared_tables.hpp"

#include <algorithm>
#include <span>

#include "device/cpu/quantised_rows.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::device::cpu {

AlignedVector<std::byte> make_pool(std::span<float const> pool, std::uint32_t rows,
                                   kv::ValueType type, std::size_t width, std::size_t step_bytes) {
    AlignedVector<std::byte> result(rows * step_bytes);
    std::size_t const shared = rows == 0 ? 0 : pool.size() / rows;
    AlignedVector<float> row(padded(width));
    for (std::size_t r = 0; r < rows; ++r) {
        std::fill(row.begin(), row.end(), 0.0F);
        std::copy_n(pool.data() + r * shared, shared, row.data());
        silu(row.data(), row.size());  // leaves the zeros alone
        // What follows the shared values stays zero, which is zero in fp32 and fp16, too.
        store_row(type, row.data(), shared, result.data() + r * step_bytes);
    }
    return result;
}

namespace {

using kv::Section;

/// Fills the sides of one attention site.
class SideFiller {
  public:
    SideFiller(model::SimWeights const& weights, kv::StrategyParams const& strategy,
               CellMaker const& maker)
        : weights_(weights),
          strategy_(strategy),
          maker_(maker),
          by_item_(strategy.kind == kv::StrategyKind::item_table ||
                   (strategy.kind == kv::StrategyKind::collective &&
                    strategy.keying == kv::Keying::item)) {}

    [[nodiscard]] bool by_item() const { return by_item_; }

    void fill(model::SideWeights const& side, Section values, Section indices, Section users,
              SideTables& tables) const {
        tables.by_item = by_item_;
        tables.codes = side.pooled();
        tables.values = values;
        tables.index_section = indices;
        tables.user_section = users;
        if (!side.pooled()) {
            if (by_item_) tables.rows = make_item_table(maker_, values, weights_.items);
            return;
        }
        std::uint32_t const width = weights_.shape.attention_dim;
        // The kernels of fp32 and fp16 rows read zeros in the user dimensions.
        std::uint32_t const read =
            is_quantised(strategy_.value_type) ? width - weights_.variant.d_u : width;
        std::size_t const bytes = kv::row_bytes(strategy_.value_type, read);
        tables.pool_step_bytes = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
        tables.pool = make_pool(side.pool, weights_.variant.m, strategy_.value_type, width,
                                tables.pool_step_bytes);
        if (!by_item_) return;
        tables.indices = make_item_table(maker_, indices, weights_.items);
        if (weights_.variant.d_u > 0) tables.users = make_item_table(maker_, users, weights_.items);
    }

  private:
    model::SimWeights const& weights_;
    kv::StrategyParams const& strategy_;
    CellMaker const& maker_;
    bool by_item_;
};

}  // namespace

SharedTables::SharedTables(model::SimWeights const& weights, kv::StrategyParams const& strategy,
                           CellMaker const& maker) {
    if (!model::has_attention(weights.variant.variant)) return;
    SideFiller const filler(weights, strategy, maker);
    filler.fill(weights.short_site.k, Section::short_k, Section::short_k_index,
                Section::short_k_user, short_site.k);
    filler.fill(weights.short_site.v, Section::short_v, Section::short_v_index,
                Section::short_v_user, short_site.v);
    if (weights.shape.has_long_attention()) {
        filler.fill(weights.long_site.k, Section::long_k, Section::long_k_index,
                    Section::long_k_user, long_site.k);
        filler.fill(weights.long_site.v, Section::long_v, Section::long_v_index,
                    Section::long_v_user, long_site.v);
    }
    bool const shared_keys = strategy.kind == kv::StrategyKind::collective &&
                             strategy.search_keys == kv::SearchKeys::item_table;
    bool const has_cells = weights.shape.has_search_keys() || weights.shape.bucket_hashes() > 0;
    if (has_cells && (filler.by_item() || shared_keys))
        search = make_item_table(maker, Section::search, weights.items);
}

std::size_t SharedTables::bytes(std::string const& what) const {
    if (what == "item_table.search" || what == "item_table.signatures") return search.size();
    struct Named {
        char const* name;
        SideTables const& side;
    };
    for (auto const& [name, side] : {Named{"short.k", short_site.k}, Named{"short.v", short_site.v},
                                     Named{"long.k", long_site.k}, Named{"long.v", long_site.v}}) {
        std::string const table = std::string("item_table.") + name;
        if (what == std::string(name) + ".pool") return side.pool.size();
        if (what == table) return side.rows.size();
        if (what == table + ".index") return side.indices.size();
        if (what == table + ".user") return side.users.size();
    }
    return 0;
}

}  // namespace ckvsim::device::cpu
