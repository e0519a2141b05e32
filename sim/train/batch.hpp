// Batches in terms of unique items: K, V, search keys and router are functions of the item, so a
// batch computes them once per distinct item and samples refer to rows of those tables.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "train/ragged.hpp"
#include "train/samples.hpp"
#include "train/team.hpp"

namespace ckvsim::train {

/// Rows of one embedding table that a batch touches, and which of them each unique item uses.
struct TableRows {
    std::vector<std::int64_t> ids;    ///< distinct table rows
    std::vector<std::int64_t> index;  ///< per unique item (context: per sample), into ids
};

/// What a rank's part of a batch needs to know of the whole: its losses are parts of the whole
/// batch's means. Of a batch that is not shared the whole is itself.
struct WholeBatch {
    std::size_t begin = 0;    ///< place of the part's first sample in it
    std::size_t samples = 0;  ///< not 0
    std::uint64_t short_tokens = 0;
    std::uint64_t long_tokens = 0;
};

/// One batch of B samples, or a rank's part of one, which may be empty. Histories are not padded:
/// token lists are CSR over unique-item rows, oldest first. Unique items are ordered so that the
/// items of the short windows come first, then those seen only in the older part of a history, then
/// those that are only candidates: each site computes its tables for a prefix.
struct Batch {
    std::vector<std::uint32_t> items;      ///< [U] distinct item ids
    std::size_t short_items = 0;           ///< rows [0, short_items) occur in a short window
    std::size_t long_items = 0;            ///< rows [0, long_items) occur in a history
    Ragged short_tokens;                   ///< last short_tokens of every history
    Ragged long_tokens;                    ///< last max_tokens of every history
    std::vector<float> short_counts;       ///< [short_items] occurrences in short_tokens
    std::vector<float> long_counts;        ///< [long_items] occurrences in long_tokens
    std::vector<std::int64_t> candidates;  ///< [B] row of the candidate
    std::vector<float> labels;             ///< [B]
    std::vector<float> teacher;            ///< [B] its logits; empty where the caller sets none
    std::vector<TableRows> features;       ///< [F]
    TableRows context;
    WholeBatch whole;
    [[nodiscard]] std::size_t size() const { return labels.size(); }
};

/// Assembles batches; keeps its look-up tables between calls (4 (V + 1 + sum of vocabularies) x 2
/// bytes). One per thread.
class BatchBuilder {
  public:
    enum class Mode : std::uint8_t {
        unique_items,  ///< one row per distinct item
        per_token      ///< one row per token and candidate: the textbook formulation, for checks
    };
    explicit BatchBuilder(Samples const& samples, Mode mode = Mode::unique_items);
    /// `rows`: positions within the split.
    void build(Split const& split, std::span<std::uint32_t const> rows, Batch& out) {
        build_part(split, rows, {0, rows.size()}, out);
    }
    /// A rank's part of the batch of `rows`.
    void build_part(Split const& split, std::span<std::uint32_t const> rows, Slice const& part,
                    Batch& out);

  private:
    /// First-come numbering of ids, forgotten in O(1).
    class Numbering {
      public:
        explicit Numbering(std::size_t vocabulary) : stamp_(vocabulary, 0), number_(vocabulary) {}
        void clear();
        /// Number of `id`; `next` when it is new.
        std::uint32_t number(std::uint32_t id, std::uint32_t next, bool& is_new);

      private:
        std::vector<std::uint32_t> stamp_;
        std::vector<std::uint32_t> number_;
        std::uint32_t round_ = 0;
    };

    std::span<std::uint32_t const> history(Split const& split, std::uint32_t row) const;
    std::uint32_t row_of(std::uint32_t item, Batch& out);
    void add_tokens(Split const& split, std::span<std::uint32_t const> rows, Batch& out);
    void add_tables(Split const& split, std::span<std::uint32_t const> rows, Batch& out);

    Samples const& samples_;
    Mode mode_;
    Numbering items_;
    std::vector<Numbering> feature_values_;
    Numbering contexts_;
};

/// Order of the training samples in one epoch: a Fisher-Yates shuffle keyed by (seed, epoch), the
/// same for every variant.
std::vector<std::uint32_t> epoch_order(std::size_t samples, std::uint64_t seed,
                                       std::uint32_t epoch);

}  // namespace ckvsim::train
