// How target attention divides its work, and the scratch that this takes.
#pragma once

#include <algorithm>

#include "device/cpu/attention.hpp"

namespace ckvsim::device::cpu {

/// Queries that stream over the rows together.
inline constexpr std::size_t kStreamQueries = 2;
/// Queries that share a tile: their values of one head stay in the L1 cache while K passes by.
inline constexpr std::size_t kTileQueries = 36;
/// Queries that share registers in products with panels.
inline constexpr std::size_t kSumQueries = 6;
/// Tokens of a V tile: with 128 dimensions of a head, 32 KiB.
inline constexpr std::size_t kTileTokens = 64;
/// Scores held at a time; longer histories make smaller groups of queries.
inline constexpr std::size_t kScoreFloats = std::size_t{1} << 19;

inline bool is_wide(AttentionCall const& call) {
    std::size_t const together = call.together == 0 ? call.count : call.together;
    return together >= kWideQueries && call.weighting == Weighting::softmax;
}
inline bool streams(AttentionCall const& call) {
    return call.count <= kStreamQueries && !is_wide(call);
}
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
/// Rows or columns up to the end of the widest panel.
inline std::size_t panelled(std::size_t count) {
    constexpr std::size_t kWidest = 4 * kLanePad;
    return (count + kWidest - 1) / kWidest * kWidest;
}
/// Columns of a head, padded so that the sums of V have no partial vectors.
inline std::size_t tile_columns(AttentionCall const& call) { return panelled(call.head_dim); }

/// How the wide form divides a call: blocks of tokens, whose packed K and V stay in the L2 cache
/// for all queries, and tiles of queries, whose scores of a block stay in the L1 cache.
struct WideSizes {
    static constexpr std::size_t kBlock = 128;
    static constexpr std::size_t kTile = 48;
    static constexpr std::size_t kTileFloats = std::size_t{48} << 10;
    /// As few tiles as go, none much smaller than the others.
    static std::size_t equal_tiles(std::size_t count, std::size_t most) {
        std::size_t const tiles = (count + most - 1) / most;
        std::size_t const equal = (count + tiles - 1) / tiles;
        return (equal + kSumQueries - 1) / kSumQueries * kSumQueries;
    }

    explicit WideSizes(AttentionCall const& call)
        // Tokens that share rows may share them with any other: one block.
        : block(shares_rows(call) ? call.tokens : std::min(call.tokens, kBlock)),
          key_rows(call.k.count(block)),
          value_rows(call.v.count(block)),
          score_step(panelled(block) +
                     (shares_rows(call) ? panelled(std::max(key_rows, value_rows)) + kLanePad : 0)),
          queries(equal_tiles(call.count,
                              std::clamp(kTileFloats / score_step, 2 * kSumQueries, kTile))),
          columns(tile_columns(call)) {}

    std::size_t block;       ///< tokens
    std::size_t key_rows;    ///< most of a block
    std::size_t value_rows;  ///< most of a block
    std::size_t score_step;  ///< floats of a query's scores: of tokens and, where shared, of rows
    std::size_t queries;     ///< of a tile
    std::size_t columns;     ///< floats of a head's sums
    [[nodiscard]] std::size_t key_floats(AttentionCall const& call) const {
        return panelled(key_rows) * call.head_dim;
    }
    [[nodiscard]] std::size_t value_floats() const {
        std::size_t const chunks = (value_rows + kBlock - 1) / kBlock;
        return (value_rows + chunks) * columns;
    }
    [[nodiscard]] std::size_t scratch(AttentionCall const& call) const {
        return key_floats(call) + value_floats() + queries * (score_step + 1) +
               call.count * call.heads * (columns + 2);
    }
};

}  // namespace ckvsim::device::cpu
