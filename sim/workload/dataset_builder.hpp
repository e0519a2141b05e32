// Turns what a reader finds, under original ids and in any order, into a Dataset with dense ids.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include "workload/dataset.hpp"
#include "workload/id_table.hpp"

namespace ckvsim::workload {

/// First instants of the parts of a log, in ms since 1970. Rows before `history_until_ms` are
/// stored history and not impressions; the others are train impressions before `tune_from_ms`, tune
/// impressions before `test_from_ms`, else test impressions.
struct SplitInstants {
    std::int64_t history_until_ms = std::numeric_limits<std::int64_t>::min();
    std::int64_t tune_from_ms = std::numeric_limits<std::int64_t>::max();
    std::int64_t test_from_ms = std::numeric_limits<std::int64_t>::max();
};

/// A categorical item feature under original ids. Values get dense numbers 1, 2, ... by ascending
/// original value; an item without a value gets 0.
struct ItemFeature {
    std::string name;
    std::unordered_map<std::int64_t, std::int64_t> values;  ///< original item id -> value
};

/// One labelled row of a log.
struct LogRow {
    std::int64_t user = 0;
    std::int64_t item = 0;
    std::int64_t time_ms = 0;
    std::uint32_t context = 0;
    std::uint8_t label = 0;
};

/// Holds 24 bytes a row and 4 bytes a history event while reading; build() adds 8 bytes a row for
/// the order and the Dataset itself (18 bytes an impression, 4 a history event).
class DatasetBuilder {
  public:
    /// Begins the stored history of a user, oldest event first. False when he already has one.
    bool begin_history(std::int64_t user);
    /// Next event of the history begun last.
    void add_history_item(std::int64_t item) { history_items_.push_back(items_.intern(item)); }
    /// Returns the number of the row's item in order of first sight; see item_id().
    std::uint32_t add_row(LogRow const& row);
    [[nodiscard]] std::int64_t item_id(std::uint32_t number) const { return items_.ids()[number]; }
    /// Replaces every row's context c by numbers[c].
    void map_contexts(std::vector<std::uint32_t> const& numbers);
    void add_feature(ItemFeature feature) { features_.push_back(std::move(feature)); }

    [[nodiscard]] std::uint64_t rows() const { return rows_; }
    /// For every share within [0, 1], not descending: the smallest instant t such that at least
    /// this share of the rows lies before t; the first instant for share = 0. O(rows), 8 bytes a
    /// row.
    [[nodiscard]] std::vector<std::int64_t> time_quantiles_ms(
        std::vector<double> const& shares) const;

    /// Users and items ascend by original id; a user's stored history is the given one, followed by
    /// his rows before `history_until_ms` in time order (with HistoryGrowth::positives only those
    /// with label 1), cut to its last `max_history` events; impressions keep the order of the rows
    /// within one instant. `shell` brings name, licence, history kind, history growth, context
    /// vocabulary and notes. The builder is empty afterwards.
    Dataset build(Dataset shell, SplitInstants const& instants,
                  std::uint32_t max_history = std::numeric_limits<std::uint32_t>::max());

  private:
    struct Row {
        std::uint32_t user;
        std::uint32_t item;
        std::int64_t time_ms;
        std::uint32_t context;
        std::uint8_t label;
    };
    struct History {
        std::uint32_t user;
        std::uint64_t begin;  ///< into history_items_
    };
    static constexpr std::size_t kBlockRows = 1U << 16;

    [[nodiscard]] Row const& row(std::uint64_t index) const {
        return blocks_[index / kBlockRows][index % kBlockRows];
    }
    [[nodiscard]] std::vector<std::uint64_t> rows_by_user(
        std::vector<std::uint32_t> const& dense_users, std::vector<std::uint64_t>& offsets) const;
    void fill_catalogue(Dataset& out) const;
    void fill_user(Dataset& out, std::vector<std::uint64_t> const& order, std::uint64_t begin,
                   std::uint64_t end, SplitInstants const& instants) const;

    IdTable users_;
    IdTable items_;
    std::vector<History> histories_;
    std::vector<std::uint8_t> has_history_;  ///< by user number
    std::vector<std::uint32_t> history_items_;
    std::vector<std::vector<Row>> blocks_;  ///< fixed-size blocks: no copy when the log grows
    std::uint64_t rows_ = 0;
    std::vector<ItemFeature> features_;
};

}  // namespace ckvsim::workload
