// The searches of ragged_attention.hpp from libtorch's tensor operations alone, on any device.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "train/portable_attention.hpp"
#include "train/ragged.hpp"

namespace ckvsim::train::portable {

/// As select_top_k: queries [B, width], keys [rows, width]. Products of equal rows are equal, so
/// that repeated items tie and the newer token wins.
Ragged select_top_k(Ragged const& tokens, at::Tensor const& queries, at::Tensor const& keys,
                    std::size_t k, PieceLimits const& limits,
                    std::vector<std::uint32_t>& positions);

/// As select_nearest, by the signs of projected [rows, bits]; `candidates` are the rows of the
/// lists' candidates.
Ragged select_nearest(Ragged const& tokens, std::vector<std::int64_t> const& candidates,
                      at::Tensor const& projected, std::size_t k, PieceLimits const& limits,
                      std::vector<std::uint32_t>& positions);

/// Buckets [rows, hashes] of table [rows, width] by planes [hashes * bits, width]; products are
/// summed in the order of the elements, as in buckets_of.
std::vector<std::uint8_t> buckets(std::int64_t hashes, at::Tensor const& table,
                                  at::Tensor const& planes);

}  // namespace ckvsim::train::portable
