// The self-attention layers of HSTU as sim/model/sim.hpp has them, in plain double precision and
// with nothing kept: the whole sequence, the candidate its last token, goes through every layer.
#pragma once

#include "reference_model.hpp"

namespace ckvsim::test {

class ReferenceStack {
  public:
    using Row = std::vector<double>;
    /// Keeps references. Of the options half_values, stack, stack_rows and stack_loss matter.
    ReferenceStack(model::SimWeights const& weights, ReferenceOptions const& options)
        : weights_(weights), options_(options) {}

    /// The last layer's output of the candidate behind `tokens`.
    [[nodiscard]] Row output(std::span<ItemId const> tokens, ItemId candidate) const;
    /// How far the router logits of given pool rows lay below the best, at most, in the last call
    /// of output(): rounding may choose another row only where the difference is nothing.
    [[nodiscard]] double largest_shortfall() const { return shortfall_; }
    /// How much farther than their half steps given rows lay from the rows that they stand for
    /// (with stack_loss: how much worse they stand for them than the best), at most, in the last
    /// call of output(); negative where all lay nearer.
    [[nodiscard]] double largest_displacement() const { return displacement_; }

  private:
    [[nodiscard]] Row side_row(model::SideWeights const& side, std::size_t layer, std::size_t which,
                               std::size_t token, Row const& normed) const;
    void run_layer(std::size_t layer, std::vector<Row>& states) const;

    model::SimWeights const& weights_;
    ReferenceOptions const& options_;
    mutable double shortfall_ = 0.0;
    mutable double displacement_ = 0.0;
};

}  // namespace ckvsim::test
