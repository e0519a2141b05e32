// Vector kernels of a search by signatures: distances of packed sign bits and the nearest k. Exact:
// whole numbers, equal on every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ckvsim::device::cpu {

/// Distances come in blocks of this many bytes, the lanes of the widest vector used.
inline constexpr std::size_t kDistancePad = 64;
constexpr std::size_t padded_distances(std::size_t tokens) {
    return (tokens + kDistancePad - 1) / kDistancePad * kDistancePad;
}

/// Signatures of `count` rows of projections (row step in floats), `bits` bits each, packed: bit b
/// of a signature is 1 where value b is above zero. `bits` is 8, 16, 32 or 64; lower bits come
/// first in memory.
void pack_signs(float const* projected, std::size_t step, std::size_t count, std::size_t bits,
                std::byte* out);

/// One packed signature of `bytes` bytes as a number.
std::uint64_t load_signature(std::byte const* from, std::size_t bytes);

/// distances[t] = number of bits in which `query` and signature t differ; more than 64 from
/// `tokens` up to padded_distances(tokens). `signatures` holds `tokens` signatures of `bytes` (1,
/// 2, 4 or 8) back to back, aligned to `bytes`.
void hamming_distances(std::uint64_t query, std::byte const* signatures, std::size_t bytes,
                       std::size_t tokens, std::uint8_t* distances);

/// Positions of the k smallest of `count` distances (each at most 64), ascending; of equal
/// distances the later position wins. Reads distances up to padded_distances(count) as
/// hamming_distances() left them. Returns min(k, count).
std::uint32_t select_nearest(std::uint8_t const* distances, std::size_t count, std::uint32_t k,
                             std::uint32_t* positions);

}  // namespace ckvsim::device::cpu
