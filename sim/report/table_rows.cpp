#include "report/table_rows.hpp"

#include <cmath>
#include <cstdio>

namespace ckvsim::report {

std::string cell_text(metrics::Cell const& cell) {
    if (auto const* integer = std::get_if<std::int64_t>(&cell)) return std::to_string(*integer);
    if (auto const* text = std::get_if<std::string>(&cell)) return *text;
    double const value = std::get<double>(cell);
    if (std::isnan(value)) return "nan";
    char text[40];
    std::snprintf(text, sizeof text, "%.12g", value);
    return text;
}

std::string row_key(metrics::TableSchema const& schema, std::vector<metrics::Cell> const& row,
                    std::string const& without) {
    std::string key;
    for (std::size_t c = 0; c < schema.columns.size(); ++c) {
        auto const& column = schema.columns[c];
        if (column.provenance != metrics::Provenance::key || column.name == without) continue;
        key += (key.empty() ? "" : ", ") + column.name + " = " + cell_text(row[c]);
    }
    return key;
}

std::map<std::string, std::size_t> rows_by_key(metrics::Table const& table,
                                               std::vector<std::string>& order) {
    std::map<std::string, std::size_t> rows;
    for (std::size_t r = 0; r < table.rows().size(); ++r) {
        auto const key = row_key(table.schema(), table.rows()[r]);
        std::string unique = key;
        for (int copy = 2; rows.contains(unique); ++copy)
            unique = key + " #" + std::to_string(copy);
        rows[unique] = r;
        order.push_back(unique);
    }
    return rows;
}

}  // namespace ckvsim::report
