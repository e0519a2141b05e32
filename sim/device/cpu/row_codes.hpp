// What low_rank, vq and the control of mean keys learn from the K and V rows of the whole
// catalogue, each of which counts as often as histories hold its item, and once more.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/ids.hpp"
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

/// How often the row of each item 1 .. items counts in a fit: once, so that no item is left out,
/// and as often as it lies among the last `max_tokens` of each of `histories`; [items]. Padding
/// counts for nothing. Throws InternalError for an item beyond the catalogue.
std::vector<std::uint32_t> row_weights(std::span<std::vector<ItemId> const> histories,
                                       std::uint32_t items, std::uint32_t max_tokens);

/// Immutable. Made from the rows that `full` keeps in fp32, SiLU included.
class RowCodes {
  public:
    /// Rows count as row_weights() says; without histories all alike. OpenMP-parallel, the same for
    /// any number of threads; needs room for one side's rows of all items at a time.
    RowCodes(std::shared_ptr<model::SimWeights const> const& weights,
             kv::StrategyParams const& strategy,
             std::span<std::vector<ItemId> const> histories = {});

    /// `values`: the section of the side's rows (short_k, short_v, long_k or long_v).
    [[nodiscard]] SideCodes const& side(kv::Section values) const;
    /// Bytes allocated under the names of kv::shared_bytes ("short.k.basis", ...); 0 for others.
    [[nodiscard]] std::size_t bytes(std::string const& what) const;

  private:
    std::array<SideCodes, 4> sides_;
};

}  // namespace ckvsim::device::cpu
