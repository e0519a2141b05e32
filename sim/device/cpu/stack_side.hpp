// Keys or values of one self-attention layer of HSTU: how a token's normalised state becomes what
// an entry keeps of it, and how attention reads that back. The cells are those of CellMaker, made
// from a state instead of an item's embedding.
#pragma once

#include <vector>

#include "device/cpu/attention.hpp"
#include "device/cpu/panel_matrix.hpp"
#include "device/cpu/quantised_rows.hpp"
#include "device/cpu/row_codes.hpp"
#include "device/cpu/row_sharing.hpp"
#include "device/cpu/token_order.hpp"
#include "model/sim.hpp"

namespace ckvsim::device::cpu {

/// Where the cells of one side lie, those of token 0; without meaning where the strategy keeps
/// none.
template <class Byte>
struct SidePlaces {
    Byte* rows = nullptr;
    Byte* indices = nullptr;
    Byte* users = nullptr;
};
using SideCells = SidePlaces<std::byte const>;
using OpenSideCells = SidePlaces<std::byte>;  ///< to be written

/// Memory of one side, reused from request to request.
struct SideScratch {
    AlignedVector<float> projected;
    AlignedVector<float> values;  ///< user parts in the order of the entry
    AlignedVector<float> users;   ///< [d_u, padded(tokens)]
    AlignedVector<std::uint32_t> keys;
    std::vector<void const*> rows;  ///< [row_slots]
    AlignedVector<float> floats;    ///< [rows, d]: rows of int8 and int4, converted; [rows,
                                    ///< padded(d)]: rows put together from codes
    AlignedVector<float> fitted;    ///< coefficients of low_rank or scores of vq
    RowSharing sharing;
};

/// Immutable after construction; thread-safe.
class StackSide {
  public:
    /// `number` tells the sides of a model apart: random indices differ between them. `codes` is
    /// what low_rank and vq fitted and must outlive the side; null = rows as projected. Rows of
    /// codes are put together, in fp32, before attention reads them.
    StackSide(model::SimWeights const& weights, model::SideWeights const& side,
              kv::StrategyParams const& strategy, std::uint32_t number, SideCodes const* codes);

    /// Writes the cells of `count` tokens from their normalised states [d_e], row step in floats,
    /// to cells `first`, first + 1, ...
    void store(float const* states, std::size_t step, ItemId const* items, std::size_t count,
               OpenSideCells const& cells, std::size_t first, SideScratch& scratch) const;
    /// The rows of tokens 0 .. tokens as attention reads them; valid until the scratch is used
    /// again. `fast` gives other bits, which depend on the tokens alone: tokens with the same pool
    /// row share it where that pays, rows of their own come in the order of fast_order().
    [[nodiscard]] TokenRows find(SideCells const& cells, std::size_t tokens, bool fast,
                                 SideScratch& scratch) const;
    /// Puts floats in the place of the `count` rows that find() has left in the scratch: for many
    /// queries, which would otherwise convert every row each.
    void make_floats(std::size_t count, SideScratch& scratch) const;
    /// Pool rows lie anywhere: no order of tokens makes them streams. Of int8 and int4 one stream
    /// is the fastest: they keep the vector units busier than the memory. The order is that of K
    /// and V, so that rows beside a side with a pool are no streams either.
    [[nodiscard]] TokenOrder fast_order(std::size_t tokens) const {
        return {tokens, in_turn_ && tokens >= TokenOrder::kFewTokens};
    }
    /// The whole row [d] of one token; there is room for padded(d).
    void load(SideCells const& cells, std::size_t token, float* row, SideScratch& scratch) const;

    /// Bytes of a token's cells by what they are; 0 where the strategy keeps none.
    [[nodiscard]] std::size_t row_bytes() const { return row_bytes_; }
    [[nodiscard]] std::size_t index_bytes() const { return collective_ ? index_bytes_ : 0; }
    [[nodiscard]] std::size_t user_bytes() const { return user_bytes_; }
    /// Bytes allocated: projections, router, pool.
    [[nodiscard]] std::size_t projection_bytes() const { return projection_.bytes(); }
    [[nodiscard]] std::size_t router_bytes() const { return router_.bytes(); }
    [[nodiscard]] std::size_t pool_bytes() const { return pool_.size(); }

  private:
    void store_indices(float const* states, std::size_t step, ItemId const* items,
                       std::size_t count, std::byte* out, SideScratch& scratch) const;
    void load_indices(std::byte const* indices, std::size_t first, std::size_t count,
                      std::uint32_t* rows) const;
    void find_users(std::byte const* cells, std::size_t tokens, SideScratch& scratch) const;
    void store_codes(float* rows, std::size_t count, std::byte* out, SideScratch& scratch) const;
    void load_codes(std::byte const* cells, std::size_t count, float* rows,
                    SideScratch& scratch) const;

    SideCodes const* codes_;   ///< null = rows as projected
    kv::ValueType cell_type_;  ///< of the rows or coefficients that entries keep
    kv::ValueType type_;       ///< of the rows that attention reads
    kv::ValueType user_type_;
    std::size_t d_;
    std::size_t heads_;
    bool collective_;  ///< this side has a pool
    bool in_turn_;     ///< rows may be read as streams
    std::size_t d_u_ = 0;
    std::size_t row_bytes_ = 0;
    std::size_t index_bytes_ = 0;
    std::size_t user_bytes_ = 0;
    PanelMatrix projection_;  ///< [d, d_e], or of the user part [d_u, d_e]
    PanelMatrix router_;
    std::vector<std::uint32_t> fixed_;  ///< index per item instead of by the router
    AlignedVector<std::byte> pool_;     ///< [m, pool_step_]
    std::size_t pool_step_ = 0;
};

}  // namespace ckvsim::device::cpu
