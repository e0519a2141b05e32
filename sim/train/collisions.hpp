// The long branch of SDIM straight out of per-item tables: every hash function puts an item into a
// bucket, and a sample's tokens that fall into its candidate's bucket are added up, hash by hash.
// Nothing of size tokens x hashes x width is ever stored: the backward pass computes the sums
// again. OpenMP-parallel; a result does not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "train/ragged.hpp"

namespace ckvsim::train {

/// Shorter sums count as this long (model/sim.hpp).
inline constexpr double kShortestSum = 1e-12;

/// Buckets [rows, hashes] of the rows of `table` [rows, width]: bit b of hash h is
/// [planes[h * hash_bits + b] . row > 0]; hash_bits is at most 8. A row's products are summed in
/// the order of its elements, wherever it stands: its buckets depend on the row and the planes
/// alone.
std::vector<std::uint8_t> buckets_of(std::size_t hashes, std::size_t hash_bits, std::size_t width,
                                     std::size_t rows, float const* table, float const* planes);

/// Which token meets which candidate.
struct Collisions {
    std::size_t hashes = 0;
    std::vector<std::uint8_t> buckets;     ///< [rows, hashes] of tokens and candidates
    std::vector<std::int64_t> candidates;  ///< [B] row of each list's candidate
    Ragged const* tokens = nullptr;        ///< B lists of rows
};

/// out_b = mean over hashes of s_bh / max(|s_bh|, kShortestSum), s_bh = sum of the rows of the
/// tokens of list b whose bucket under h is the candidate's. table [rows, width], out [B, width].
void collision_means_forward(Collisions const& collisions, std::size_t width, float const* table,
                             float* out);

/// Adds to grad_table [rows, width] for the gradient grad_out of out. Sums below kShortestSum pass
/// none: theirs would be 1e12 times as large as what it came from.
void collision_means_backward(Collisions const& collisions, std::size_t width, float const* table,
                              float const* grad_out, float* grad_table);

}  // namespace ckvsim::train
