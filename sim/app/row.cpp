#include "app/row.hpp"

#include <limits>

#include "core/error.hpp"

namespace ckvsim::app {

Row::Row(metrics::Table& table)
    : table_(table),
      cells_(table.schema().columns.size()),
      filled_(table.schema().columns.size(), false) {}

Row& Row::set_cell(std::string const& column, metrics::Cell value) {
    auto const& columns = table_.schema().columns;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        if (columns[i].name != column) continue;
        cells_[i] = std::move(value);
        filled_[i] = true;
        return *this;
    }
    throw InternalError("table " + table_.schema().name + " has no column " + column);
}

Row& Row::set(std::string const& column, double value) { return set_cell(column, value); }
Row& Row::set(std::string const& column, std::string value) {
    return set_cell(column, std::move(value));
}

Row& Row::set_interval(std::string const& column, metrics::Interval const& interval) {
    return set_interval(column, column, interval);
}

Row& Row::set_interval(std::string const& column, std::string const& bounds,
                       metrics::Interval const& interval) {
    return set(column, interval.value)
        .set(bounds + "_low", interval.low)
        .set(bounds + "_high", interval.high);
}

void Row::add() {
    auto const& columns = table_.schema().columns;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        if (filled_[i]) continue;
        switch (columns[i].type) {
            case metrics::ColumnType::real:
                cells_[i] = std::numeric_limits<double>::quiet_NaN();
                break;
            case metrics::ColumnType::text:
                cells_[i] = std::string();
                break;
            case metrics::ColumnType::integer:
                throw InternalError("table " + table_.schema().name + ": column " +
                                    columns[i].name + " was not set");
        }
    }
    table_.add_row(std::move(cells_));
}

}  // namespace ckvsim::app
