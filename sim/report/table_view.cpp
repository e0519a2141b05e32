#include "report/table_view.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace ckvsim::report {

TableView::TableView(metrics::Report const& report, std::string const& name) {
    auto const found = report.tables.find(name);
    if (found != report.tables.end()) table_ = &found->second;
}

metrics::Cell const& TableView::cell(std::size_t row, char const* column) const {
    validate(row < rows(), "report: a row beyond the table");
    auto const& columns = table_->schema().columns;
    auto const found = std::find_if(columns.begin(), columns.end(),
                                    [&](auto const& c) { return c.name == column; });
    if (found == columns.end())
        throw InternalError("table " + table_->schema().name + " has no column " + column);
    return table_->rows()[row][static_cast<std::size_t>(found - columns.begin())];
}

std::string const& TableView::text(std::size_t row, char const* column) const {
    return std::get<std::string>(cell(row, column));
}

double TableView::real(std::size_t row, char const* column) const {
    auto const& value = cell(row, column);
    if (auto const* number = std::get_if<std::int64_t>(&value)) return static_cast<double>(*number);
    return std::get<double>(value);
}

std::int64_t TableView::integer(std::size_t row, char const* column) const {
    return std::get<std::int64_t>(cell(row, column));
}

std::optional<std::size_t> TableView::find(
    std::initializer_list<std::pair<char const*, std::string>> keys) const {
    for (std::size_t row = 0; row < rows(); ++row) {
        if (std::all_of(keys.begin(), keys.end(),
                        [&](auto const& key) { return text(row, key.first) == key.second; })) {
            return row;
        }
    }
    return std::nullopt;
}

}  // namespace ckvsim::report
