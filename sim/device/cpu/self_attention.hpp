// The stack of self-attention layers of HSTU (contract: model/sim.hpp): layer by layer from item
// ids to what an entry keeps of them, and from an entry and candidates to the last layer's output.
#pragma once

#include <array>
#include <span>

#include "decode/backend.hpp"
#include "device/cpu/panel_matrix.hpp"
#include "device/cpu/stack_codes.hpp"
#include "device/cpu/stack_side.hpp"

namespace ckvsim::device::cpu {

/// Memory of the stack, reused from request to request. Rows are tokens or candidates.
struct StackScratch {
    AlignedVector<float> state;   ///< x, row step padded(d_e)
    AlignedVector<float> normed;  ///< row step padded(d_e)
    AlignedVector<float> gate;    ///< row step padded(d), as those below
    AlignedVector<float> q;
    AlignedVector<float> out;
    AlignedVector<float> change;  ///< row step padded(d_e)
    AlignedVector<float> scores;
    AlignedVector<float> bias;  ///< [heads, padded(tokens)], in the order of reading
    std::array<AlignedVector<float>, 2> own_row;    ///< K and V of one candidate
    std::array<AlignedVector<std::byte>, 6> cells;  ///< of candidates: K and V, by part
    std::array<SideScratch, 2> sides;
};

/// Immutable after construction; thread-safe. Keeps a reference to the weights.
class SelfAttention {
  public:
    /// `strategy` is full, low_rank, vq or collective: what the entries keep, laid out as `layout`
    /// says. `codes`: of low_rank and vq, from fit_stack_codes().
    SelfAttention(model::SimWeights const& weights, kv::StrategyParams const& strategy,
                  kv::EntryLayout const& layout, StackCodes codes = {});
    SelfAttention(SelfAttention const&) = delete;  // layers point to the codes
    SelfAttention& operator=(SelfAttention const&) = delete;

    /// Adds `items` to an entry that holds `tokens` tokens: every token attends to those before it
    /// as they are kept, itself included. The bytes do not depend on how a history is cut into
    /// calls. At most max_tokens tokens in all.
    void extend(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                std::span<ItemId const> items, StackScratch& scratch) const;
    /// Outputs [d_e] of the last layer of `count` candidates, row step in floats. Every candidate
    /// attends to the entry's tokens and to itself.
    void read(decode::EntryRef const& entry, ItemId const* candidates, std::size_t count,
              float* outputs, std::size_t step, StackScratch& scratch) const;

    /// Bytes allocated under the names of kv::shared_bytes ("layer1.k.pool", "router", ...); 0 for
    /// others.
    [[nodiscard]] std::size_t bytes(std::string const& what) const;

  private:
    struct Layer {
        Layer(model::SimWeights const& weights, kv::StrategyParams const& strategy,
              std::uint32_t number, std::array<SideCodes, 2> const* codes);
        std::array<StackSide, 2> sides;  ///< K and V
        PanelMatrix gate;
        PanelMatrix wq;
        PanelMatrix wo;
        /// [heads, bias_step]: at max_tokens - distance, so that a query's biases follow the tokens
        AlignedVector<float> bias;
    };
    using Cells = std::array<SideCells, 2>;
    using OpenCells = std::array<OpenSideCells, 2>;

    template <class Byte>
    [[nodiscard]] std::array<SidePlaces<Byte>, 2> cells_of(Byte* entry, std::uint32_t capacity,
                                                           std::uint32_t layer) const;
    [[nodiscard]] OpenCells candidate_cells(Layer const& layer, std::size_t count,
                                            StackScratch& scratch) const;
    void begin(ItemId const* items, std::size_t count, StackScratch& scratch) const;
    void store(Layer const& layer, ItemId const* items, std::size_t count, OpenCells const& cells,
               std::size_t first, StackScratch& scratch) const;
    void project(Layer const& layer, std::size_t count, StackScratch& scratch) const;
    [[nodiscard]] AttentionCall make_call(Layer const& layer, Cells const& cells,
                                          std::size_t tokens, std::size_t queries, bool fast,
                                          StackScratch& scratch) const;
    void attend_to_all(AttentionCall call, TokenOrder const& order, std::size_t count,
                       StackScratch& scratch) const;
    void attend_causally(AttentionCall call, std::size_t first, std::size_t count,
                         StackScratch& scratch) const;
    void attend_to_itself(Layer const& layer, Cells const& own, std::size_t count,
                          StackScratch& scratch) const;
    void update(Layer const& layer, std::size_t count, StackScratch& scratch) const;

    model::SimWeights const& weights_;
    kv::EntryLayout layout_;
    StackCodes codes_;        ///< empty: rows as projected, or pool rows
    kv::ValueType row_type_;  ///< of the rows that attention reads
    std::size_t d_;
    std::size_t d_e_;
    std::size_t heads_;
    std::size_t max_tokens_;
    std::size_t state_step_;  ///< padded(d_e)
    std::size_t row_step_;    ///< padded(d)
    std::size_t bias_step_;
    std::vector<Layer> layers_;
};

}  // namespace ckvsim::device::cpu
