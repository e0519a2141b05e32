// Rows of report tables by column name, for tests that care about a few columns only.
#pragma once

#include <limits>
#include <map>
#include <string>
#include <variant>

#include "metrics/report_model.hpp"

namespace ckvsim::test {

struct Field {
    metrics::Cell cell;
    Field() = default;
    Field(char const* text) : cell(std::string(text)) {}
    Field(std::string text) : cell(std::move(text)) {}
    Field(double value) : cell(value) {}
    Field(int value) : cell(std::int64_t{value}) {}
    Field(std::int64_t value) : cell(value) {}
};
using Fields = std::map<std::string, Field>;

/// Columns that are not named: 0, NaN, "".
inline void add_row(metrics::Report& report, std::string const& table, Fields const& fields) {
    auto& target = report.table(table);
    std::vector<metrics::Cell> row;
    for (auto const& column : target.schema().columns) {
        auto const found = fields.find(column.name);
        if (found != fields.end()) {
            row.push_back(found->second.cell);
        } else if (column.type == metrics::ColumnType::integer) {
            row.emplace_back(std::int64_t{0});
        } else if (column.type == metrics::ColumnType::real) {
            row.emplace_back(std::numeric_limits<double>::quiet_NaN());
        } else {
            row.emplace_back(std::string());
        }
    }
    target.add_row(std::move(row));
}

}  // namespace ckvsim::test
