// Bytes and flops of serving one request, by formula from shapes: what a platform without measured
// costs is charged for.
//
// Symbols: n tokens of the request, C candidates, d attention width, d_e embedding width, d_s
// search width (SIM), b bytes of a stored value, s = min(n, short_tokens), l = min(n, top_k) rows
// that one candidate's long branch attends to, r = min(n, C l) distinct rows that a request's long
// branch reads at most (candidates of a request share rows, and a row is read from memory once). A
// multiply-add is two flops; exponentials, SiLU and comparisons are not counted.
//
// Choices, each on the side that does not favour CollectiveKV:
//   - Pool rows of CollectiveKV are charged at the memory rate, row by row, as if no cache held the
//     pool. A pool that fits the L2 cache can be gathered faster; only a measurement may say so.
//   - Where K or V alone has a pool, the other side is charged as a side of full rows.
//   - Item tables are charged like per-user rows: the bytes are the same; the rows are scattered,
//     but wider than a memory sector.
//   - Ids and candidates of a request travel with its launch (Platform::batch_overhead_ns).
//   - Weights (projections, router, tower) are read once per batch.
//   - int8 and int4: the bytes as stored, scales and zeros included; turning codes into values is
//     not counted, like other conversions.
//   - low_rank: every head scores a row's r coefficients (2 H r flops a side instead of 2 d); bases
//     are read once per batch, q and the output go through them per candidate.
//   - vq: a row's codes are read; its codewords come from codebooks on chip, read once per batch.
//   - recompute gathers a token's embedding once per request and keeps K and V on chip.
//   - HSTU, L layers: a candidate goes through all of them and makes its own K and V as a token
//     does (collective: through the routers, 2 m d_e flops a side and layer). Tokens are not taken
//     through what follows the last layer's K and V. Their attention to each other is charged for
//     the n (n + 1) / 2 pairs that see each other; what was written stays on chip for it, pool rows
//     are read once per token, side and layer.
//   - ETA's search takes an exclusive or and a count of bits per 32 bits of a signature, token and
//     candidate, charged as two flops; a signature is made with 2 hash_bits d_e flops, as SIM makes
//     a key.
//   - SDIM, H hashes, R = H 2^bits rows of sums: a request reads w = min(C H, R) of them and brings
//     each to unit length (3 d_e flops); a candidate is hashed (2 H bits d_e flops) and adds H
//     rows. Where entries hold ids alone every token's embedding and buckets are read and a row is
//     summed from the n / 2^bits tokens that uniform hashes put into it; recompute hashes every
//     token.
//   - TWIN searches the long branch's K: K is read (recompute: made) for all n tokens and counted
//     there, V for the r rows alone; a search costs 2 d flops per token and candidate (low_rank: 2
//     r, heads do not matter to it), also where equal pool rows could share one product.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kv/strategy.hpp"

namespace ckvsim::decode {

/// Bytes moved and floating-point operations.
struct Work {
    double bytes = 0.0;
    double flops = 0.0;
    Work& operator+=(Work const& other) {
        bytes += other.bytes;
        flops += other.flops;
        return *this;
    }
};

/// Coefficients of one arm. Every stage also reads its `*_batch_bytes` of weights once per batch.
struct NominalWork {
    std::uint32_t short_tokens = 0;
    std::uint32_t top_k = 0;          ///< 0 in models that choose no tokens
    std::uint32_t bucket_hashes = 0;  ///< SDIM: H
    std::uint32_t bucket_rows = 0;    ///< SDIM: R

    // Decode, bytes: ids 4; search key d_s b (ETA: hash_bits / 8) or its embedding 4 d_e; K and V
    // of a row as stored: 2 d b (kv::stored_row_bytes), or codes 2 (index + d_u b) and two pool
    // rows 2 (d - d_u) b.
    double decode_bytes_per_token = 0.0;  ///< n: ids, search keys (TWIN: K of the long branch;
                                          ///< HSTU: K and V of all layers), embeddings of recompute
    double decode_bytes_per_short_token = 0.0;  ///< s: K and V of the short branch
    double decode_bytes_per_long_row = 0.0;     ///< r: K and V of the long branch (TWIN: V)
    double decode_bytes_per_bucket_row = 0.0;   ///< w: sums as stored (SDIM)
    double decode_batch_bytes = 0.0;            ///< wq, wo, search.wq; recompute: wk, wv too
    // Decode, flops: scores and weighted sum 4 d per (row, candidate); search 2 d_s (TWIN and
    // ETA: above) per (token, candidate); projections q, wo, search.wq per candidate; recompute's
    // K, V and search keys.
    double flops_per_token_candidate = 0.0;
    double flops_per_short_token_candidate = 0.0;
    double flops_per_long_row_candidate = 0.0;
    double flops_per_candidate = 0.0;
    double flops_per_token = 0.0;
    double flops_per_token_pair = 0.0;  ///< n (n + 1) / 2: recompute of HSTU
    double flops_per_short_token = 0.0;
    double flops_per_long_row = 0.0;
    double flops_per_bucket_row = 0.0;        ///< w
    double flops_per_token_bucket_row = 0.0;  ///< n w: sums made at the request

    // Prefill: per side (K, V) 2 d d_e flops, or router 2 m d_e and user part 2 d_u d_e; search key
    // 2 d_s d_e. Bytes: embedding 4 d_e read (where anything is computed) and the entry written.
    double prefill_flops_per_token = 0.0;
    double prefill_flops_per_token_pair = 0.0;  ///< n (n + 1) / 2: HSTU
    double prefill_flops_per_short_token = 0.0;
    double prefill_bytes_per_token = 0.0;
    double prefill_bytes_per_short_token = 0.0;
    double prefill_bytes_per_entry = 0.0;  ///< SDIM: the sums, for any n above 0
    double prefill_batch_bytes = 0.0;

    // Score: the tower. 2 in out flops per layer and candidate; features and logit through memory.
    double score_flops_per_candidate = 0.0;
    double score_bytes_per_candidate = 0.0;
    double score_batch_bytes = 0.0;

    [[nodiscard]] Work decode(std::uint32_t tokens, std::uint32_t candidates) const {
        double const n = tokens;
        double const c = candidates;
        double const s = std::min(tokens, short_tokens);
        double const l = std::min(tokens, top_k);
        double const r = std::min(n, c * l);
        double const w = tokens == 0 ? 0.0 : std::min<double>(c * bucket_hashes, bucket_rows);
        return {n * decode_bytes_per_token + s * decode_bytes_per_short_token +
                    r * decode_bytes_per_long_row + w * decode_bytes_per_bucket_row,
                c * (flops_per_candidate + n * flops_per_token_candidate +
                     s * flops_per_short_token_candidate + l * flops_per_long_row_candidate) +
                    n * flops_per_token + pairs(n) * flops_per_token_pair +
                    s * flops_per_short_token + r * flops_per_long_row +
                    w * (flops_per_bucket_row + n * flops_per_token_bucket_row)};
    }
    [[nodiscard]] Work prefill(std::uint32_t tokens) const {
        double const n = tokens;
        double const s = std::min(tokens, short_tokens);
        return {n * prefill_bytes_per_token + s * prefill_bytes_per_short_token +
                    (tokens > 0 ? prefill_bytes_per_entry : 0.0),
                n * prefill_flops_per_token + pairs(n) * prefill_flops_per_token_pair +
                    s * prefill_flops_per_short_token};
    }
    /// Tokens that see each other causally, themselves included.
    [[nodiscard]] static double pairs(double tokens) { return tokens * (tokens + 1.0) / 2.0; }
    [[nodiscard]] Work score(std::uint32_t candidates) const {
        return {candidates * score_bytes_per_candidate, candidates * score_flops_per_candidate};
    }
};

/// Coefficients from shapes; of the catalogue, its number of item features (d_e = features *
/// feature_dim) and of items (vq has at most a codeword per item). Throws InternalError when the
/// strategy does not apply to the variant, or may not be timed (kv::latency_refusal).
NominalWork nominal_work(model::SimShape const& shape, model::VariantParams const& variant,
                         kv::StrategyParams const& strategy, workload::Catalogue const& catalogue);

}  // namespace ckvsim::decode
