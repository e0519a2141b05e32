// How target attention divides its work, and the scratch that this takes.
#pragma once

#include <algorithm>

#include "device/cpu/attention.hpp"

namespace ckvsim::device::cpu {

/// Queries that stream over the rows together.
inline constexpr std::size_t kStreamQueries = 2;
/// Queries that share a tile: their values of one head stay in the L1 cache while K passes by.
inline constexpr std::size_t kTileQueries = 36;
/// Queries that share registers in the sums of V.
inline constexpr std::size_t kSumQueries = 6;
/// Tokens of a V tile: with 128 dimensions of a head, 32 KiB.
inline constexpr std::size_t kTileTokens = 64;
/// Scores held at a time; longer histories make smaller groups of queries.
inline constexpr std::size_t kScoreFloats = std::size_t{1} << 19;

inline bool streams(AttentionCall const& call) { return call.count <= kStreamQueries; }
inline bool shares_rows(AttentionCall const& call) {
    return call.k.places != nullptr || call.v.places != nullptr;
}
/// Floats of a query's and head's scores: of tokens, and of shared rows.
inline std::size_t score_floats(AttentionCall const& call) {
    return padded(call.tokens) * (shares_rows(call) ? 2 : 1);
}
inline std::size_t tile_queries(AttentionCall const& call) {
    std::size_t const most = kScoreFloats / score_floats(call) / kSumQueries * kSumQueries;
    return std::min(call.count, std::clamp(most, kSumQueries, kTileQueries));
}
/// Columns of a head, padded so that the sums of V have no partial vectors.
inline std::size_t tile_columns(AttentionCall const& call) {
    constexpr std::size_t kWidest = 4 * kLanePad;
    return (call.head_dim + kWidest - 1) / kWidest * kWidest;
}

}  // namespace ckvsim::device::cpu
