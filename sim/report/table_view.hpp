// Reading one table of a report by column name.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "metrics/report_model.hpp"

namespace ckvsim::report {

/// Empty when the report does not hold the table. Unknown column names are InternalErrors.
class TableView {
  public:
    TableView(metrics::Report const& report, std::string const& name);
    [[nodiscard]] std::size_t rows() const { return table_ == nullptr ? 0 : table_->rows().size(); }
    [[nodiscard]] std::string const& text(std::size_t row, char const* column) const;
    /// Integers are converted.
    [[nodiscard]] double real(std::size_t row, char const* column) const;
    [[nodiscard]] std::int64_t integer(std::size_t row, char const* column) const;
    /// First row whose text columns hold these values.
    [[nodiscard]] std::optional<std::size_t> find(
        std::initializer_list<std::pair<char const*, std::string>> keys) const;

  private:
    [[nodiscard]] metrics::Cell const& cell(std::size_t row, char const* column) const;
    metrics::Table const* table_ = nullptr;
};

}  // namespace ckvsim::report
