// Cells: the stored values of one item in one section (a K row, a search key, a pool index, ...),
// made from the item's embedding. Cells depend on the item alone, so per-user entries, per-item
// tables and recomputation share this code and its bits.
#pragma once

#include <array>
#include <memory>

#include "device/cpu/cpu_backend.hpp"
#include "device/cpu/kernels.hpp"
#include "device/cpu/panel_matrix.hpp"
#include "device/cpu/row_codes.hpp"

namespace ckvsim::device::cpu {

/// Scratch of CellMaker::make.
struct CellScratch {
    AlignedVector<float> embeddings;
    AlignedVector<float> projected;
    AlignedVector<float> fitted;          ///< coefficients of low_rank or scores of vq
    AlignedVector<std::uint32_t> chosen;  ///< pool rows
};

/// Immutable after construction; thread-safe.
class CellMaker {
  public:
    /// `value_type` is the type of stored values; `forced` may be null. `codes` is what low_rank
    /// and vq fitted and must outlive the maker; null = rows as projected.
    CellMaker(std::shared_ptr<model::SimWeights const> weights, kv::StrategyParams const& strategy,
              kv::ValueType value_type, ForcedIndices const* forced, RowCodes const* codes);

    /// Writes the cells of `count` items back to back; each has cell_bytes(section) bytes. SDIM's
    /// cells of `search` are buckets, one byte per hash; no entry holds them.
    void make(kv::Section section, ItemId const* items, std::size_t count, std::byte* out,
              CellScratch& scratch) const;
    [[nodiscard]] std::uint32_t cell_bytes(kv::Section section) const;
    /// ETA: signatures of `count` embeddings [d_e] (row step in floats), back to back: the bits of
    /// make()'s.
    void sign(float const* embeddings, std::size_t step, std::size_t count, std::byte* out,
              CellScratch& scratch) const;
    /// Bytes of packed projections (first) and packed routers (second).
    [[nodiscard]] std::array<std::size_t, 2> matrix_bytes() const;
    [[nodiscard]] model::SimWeights const& weights() const { return *weights_; }

  private:
    /// What a section is made with: a value map (maybe with SiLU), a router, or hyperplanes.
    struct Map {
        PanelMatrix matrix;
        kv::ValueType type = kv::ValueType::fp32;  ///< of the stored row
        bool silu = false;
        bool index = false;
        bool signs = false;  ///< kept are the signs of what the matrix makes, one bit each
        std::uint32_t bucket_bits = 0;     ///< SDIM: the signs of so many outputs are one byte
        SideCodes const* codes = nullptr;  ///< rows are stored through these; null = as they are
        std::vector<std::uint32_t> fixed;  ///< index given per item instead of by the router
        std::vector<std::uint8_t> given;   ///< buckets given per item instead of by the planes
    };
    void add_search(ForcedIndices const* forced);
    void add_side(model::SiteWeights const& site, model::SideWeights const& side,
                  kv::Section values, kv::Section indices, kv::Section users, std::uint32_t number,
                  std::vector<std::uint32_t> const* forced);
    void store_block(kv::Section section, Map const& map, std::size_t count, float* projected,
                     std::byte* out, CellScratch& scratch) const;
    Map& map(kv::Section section) { return maps_[static_cast<std::size_t>(section)]; }
    [[nodiscard]] Map const& map(kv::Section section) const {
        return maps_[static_cast<std::size_t>(section)];
    }

    std::shared_ptr<model::SimWeights const> weights_;
    kv::StrategyParams strategy_;
    kv::ValueType value_type_;
    RowCodes const* codes_;
    std::array<Map, kv::kSections> maps_;
};

/// Cells of every item of the catalogue, [V+1, cell_bytes], made in parallel.
AlignedVector<std::byte> make_item_table(CellMaker const& maker, kv::Section section,
                                         std::uint32_t items);

}  // namespace ckvsim::device::cpu
