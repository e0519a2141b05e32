// Fills one row of a report table by column name, so that a registry change cannot silently shift
// columns.
#pragma once

#include <string>
#include <vector>

#include "metrics/accuracy.hpp"
#include "metrics/report_model.hpp"

namespace ckvsim::app {

class Row {
  public:
    explicit Row(metrics::Table& table);
    Row& set(std::string const& column, double value);
    Row& set(std::string const& column, std::string value);
    template <class Integer>
    requires std::is_integral_v<Integer> Row& set(std::string const& column, Integer value) {
        return set_cell(column, static_cast<std::int64_t>(value));
    }
    /// `column`, and the ends of its interval in `<bounds>_low` and `<bounds>_high` (default: the
    /// column's name).
    Row& set_interval(std::string const& column, metrics::Interval const& interval);
    Row& set_interval(std::string const& column, std::string const& bounds,
                      metrics::Interval const& interval);
    /// Appends the row. Real columns that were not set are NaN (not measured), texts are empty; a
    /// missing integer is an InternalError.
    void add();

  private:
    Row& set_cell(std::string const& column, metrics::Cell value);
    metrics::Table& table_;
    std::vector<metrics::Cell> cells_;
    std::vector<bool> filled_;
};

}  // namespace ckvsim::app
