// Product codes of rows: a row of K or V is cut into equal subspaces, and of each only the number
// of the nearest codeword is kept, one byte. Attention over codes needs no rows: per query a table
// of the scores of all codewords, looked up and added per token; for V the softmax weights are
// added up per codeword and the codebook is passed once. Over few tokens it is cheaper to put rows
// together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {

/// Codewords of one side (K or V) of one attention site, fp32.
struct Codebook {
    std::size_t words = 0;  ///< per subspace, at most 256
    std::size_t part = 0;   ///< values of a subspace
    /// Per subspace [words, part], to score all codewords.
    std::vector<PackedMatrix> scores;
    /// Per subspace half the squared length of each codeword, [padded(words)].
    std::vector<AlignedVector<float>> half_squares;
    /// Per subspace the codewords, [words, padded(part)].
    std::vector<AlignedVector<float>> rows;

    [[nodiscard]] std::size_t subspaces() const { return scores.size(); }
    [[nodiscard]] std::size_t width() const { return subspaces() * part; }
    /// Codes [count, subspaces] of rows [width] (step in floats): the nearest codewords, of equally
    /// near ones the first. `scratch` grows as needed.
    void encode(float const* values, std::size_t step, std::size_t count, std::uint8_t* codes,
                AlignedVector<float>& scratch) const;
    /// The row of `subspaces` codes, [width].
    void decode(std::uint8_t const* codes, float* row) const;
    [[nodiscard]] std::size_t bytes() const;
};

/// k-means per subspace on `rows` [., width] (one row or more): k-means++ seeds and a fixed number
/// of rounds. A row counts as often as `weights` [rows] say, once where these are empty. More than
/// 128 rows per codeword are thinned out to that: evenly spaced ones of the list that holds each
/// row as often as it counts. The same for any number of threads (OpenMP-parallel over subspaces).
/// `seed` and `number` key the random numbers. Throws InternalError for subspaces or numbers of
/// words that do not fit, and for weights that are not one a row or add up to none or to 2^32.
Codebook fit_codebook(std::span<float const> rows, std::size_t width, std::size_t subspaces,
                      std::size_t words, std::uint64_t seed, std::uint32_t number,
                      std::span<std::uint32_t const> weights = {});

/// Attention of `count` queries over tokens given by their codes: as AttentionCall, with rows of
/// codes. Steps in floats.
struct CodesCall {
    float const* q = nullptr;
    std::size_t q_step = 0;
    std::size_t count = 0;
    std::size_t heads = 1;
    std::size_t head_dim = 0;
    Codebook const* k = nullptr;
    Codebook const* v = nullptr;
    void const* const* k_codes = nullptr;  ///< [tokens]
    void const* const* v_codes = nullptr;
    std::size_t tokens = 0;
    float* out = nullptr;  ///< [count, heads * head_dim], row step out_step
    std::size_t out_step = 0;
};
/// `scratch` grows as needed. No tokens give zeros.
void attend_codes(CodesCall const& call, AlignedVector<float>& scratch);

/// scores[t] = q . row of token t, from the tokens' codes [tokens, subspaces]: by the same tables,
/// over whole rows, whatever the heads. `scratch` grows as needed.
void search_codes(Codebook const& book, float const* q, std::uint8_t const* codes,
                  std::size_t tokens, float* scores, AlignedVector<float>& scratch);

/// True when attend_codes() or search_codes() over so many tokens costs less than rows put together
/// and attend() or search_scores(). Depends on nothing else, so that a query's bits do not depend
/// on the others of its request.
bool codes_pay(Codebook const& book, std::size_t tokens);

}  // namespace ckvsim::device::cpu
