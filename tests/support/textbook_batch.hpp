// Batches of the textbook formulation (textbook_network.hpp): one row per token and candidate, no
// padding, samples of a micro-batch sorted by the length of their histories.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "train/samples.hpp"

namespace ckvsim::test {

/// Neighbouring samples with lists of one length.
struct Run {
    std::int64_t lists;
    std::int64_t length;
};
using Runs = std::vector<Run>;

/// `lengths` ascending, each cut to `most`.
Runs runs_of(std::vector<std::int64_t> const& lengths, std::int64_t most);

/// Samples flattened. Rows: tokens in short windows, older tokens, candidates.
struct MicroBatch {
    std::vector<std::vector<std::int64_t>> features;  ///< [F][rows], into the touched rows
    std::vector<std::int64_t> context;                ///< [n], likewise
    std::vector<std::int64_t> order;                  ///< [T] rows of the tokens, sample by sample
    std::vector<float> labels;                        ///< [n]
    std::vector<std::int64_t> lengths;                ///< [n] of the histories, ascending
    std::int64_t short_tokens = 0;
    [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
    [[nodiscard]] std::int64_t tokens() const { return static_cast<std::int64_t>(order.size()); }
};

/// Distinct rows of a table that a step touches, in the order of their first use.
class Touched {
  public:
    explicit Touched(std::size_t vocabulary) : number_(vocabulary, -1) {}
    void clear();
    /// Place of `id` among the rows.
    std::int64_t number(std::uint32_t id);
    [[nodiscard]] std::vector<std::int64_t> const& ids() const { return ids_; }

  private:
    std::vector<std::int64_t> ids_;
    std::vector<std::int64_t> number_;
};

/// Micro-batches of a step, which share the touched rows.
class TextbookBatches {
  public:
    explicit TextbookBatches(train::Samples const& samples);
    /// Cuts samples `rows` of `split` into micro-batches of at most `micro_batch`.
    void build(train::Split const& split, std::span<std::uint32_t const> rows,
               std::size_t micro_batch);

    [[nodiscard]] std::vector<MicroBatch> const& micro_batches() const { return micro_batches_; }
    [[nodiscard]] Touched const& feature(std::size_t f) const { return features_[f]; }
    [[nodiscard]] Touched const& context() const { return context_; }
    /// Tokens of all samples, in whole histories and in short windows.
    [[nodiscard]] double tokens() const { return tokens_; }
    [[nodiscard]] double short_tokens() const { return short_tokens_; }

  private:
    [[nodiscard]] std::span<std::uint32_t const> history(train::Split const& split,
                                                         std::uint32_t sample) const;
    void add_row(std::uint32_t item, MicroBatch& out);
    MicroBatch assemble(train::Split const& split, std::span<std::uint32_t const> rows);

    train::Samples const& samples_;
    std::vector<Touched> features_;
    Touched context_;
    std::vector<MicroBatch> micro_batches_;
    double tokens_ = 0;
    double short_tokens_ = 0;
};

}  // namespace ckvsim::test
