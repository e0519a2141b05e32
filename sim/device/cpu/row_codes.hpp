// What low_rank, vq and the control of mean keys learn from the K and V rows of the whole
// catalogue. Every item counts once, however often histories hold it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/cpu/low_rank.hpp"
#include "device/cpu/product_codes.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::device::cpu {

/// Fitted to one side (K or V) of one attention site; all empty for other strategies.
struct SideCodes {
    std::optional<RowBasis> basis;     ///< low_rank
    std::optional<Codebook> codebook;  ///< vq
    std::vector<float> mean;           ///< mean_keys: stored for every item; empty for V
};

/// Immutable. Made from the rows that `full` keeps in fp32, SiLU included.
class RowCodes {
  public:
    /// OpenMP-parallel; needs room for one side's rows of all items at a time.
    RowCodes(std::shared_ptr<model::SimWeights const> const& weights,
             kv::StrategyParams const& strategy);

    /// `values`: the section of the side's rows (short_k, short_v, long_k or long_v).
    [[nodiscard]] SideCodes const& side(kv::Section values) const;
    /// Bytes allocated under the names of kv::shared_bytes ("short.k.basis", ...); 0 for others.
    [[nodiscard]] std::size_t bytes(std::string const& what) const;

  private:
    std::array<SideCodes, 4> sides_;
};

}  // namespace ckvsim::device::cpu
