// The scoring tower: ReLU layers, the same for every strategy.
#pragma once

#include <array>
#include <vector>

#include "decode/backend.hpp"
#include "device/cpu/kernels.hpp"
#include "model/sim.hpp"

namespace ckvsim::device::cpu {

/// Working memory of one thread.
struct TowerScratch {
    std::array<AlignedVector<float>, 2> rows;
};

/// Immutable after construction; thread-safe.
class Tower {
  public:
    explicit Tower(model::SimWeights const& weights);
    /// features [rows, width of the first layer] -> logits [rows].
    void run(float const* features, std::size_t rows, float* logits, TowerScratch& scratch) const;
    [[nodiscard]] std::size_t bytes() const;

  private:
    struct Layer {
        PackedMatrix matrix;
        AlignedVector<float> bias;  ///< [stride]
    };
    std::vector<Layer> layers_;
    std::size_t widest_ = 0;
};

/// What the tower reads of the candidates themselves: features [count, width] get the item's
/// embedding at their beginning and the context's at their end. InternalError for ids beyond the
/// catalogue or the contexts.
void write_candidates(model::SimWeights const& weights, decode::ScoreRequest const& request,
                      std::size_t width, float* features);

}  // namespace ckvsim::device::cpu
