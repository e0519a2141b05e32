#include "metrics/report_model.hpp"

#include "core/error.hpp"

namespace ckvsim::metrics {

std::string to_string(Provenance provenance) {
    switch (provenance) {
        case Provenance::key:
            return "key";
        case Provenance::input:
            return "input";
        case Provenance::measured:
            return "measured";
        case Provenance::simulated:
            return "simulated";
        case Provenance::derived:
            return "derived";
    }
    throw InternalError("provenance out of range");
}

TableSchema const& table_schema(std::string_view name) {
    for (auto const& schema : table_schemas()) {
        if (schema.name == name) return schema;
    }
    throw InternalError("report: no table is registered under the name '" + std::string(name) +
                        "' (add it to metrics::table_schemas())");
}

Table::Table(std::string_view schema_name) : schema_(&table_schema(schema_name)) {}

void Table::add_row(std::vector<Cell> row) {
    auto const& columns = schema_->columns;
    std::string const where = "report table '" + schema_->name + "'";
    if (row.size() != columns.size()) {
        throw InternalError(where + ": a row of " + std::to_string(row.size()) +
                            " cells (the schema has " + std::to_string(columns.size()) +
                            " columns)");
    }
    for (std::size_t i = 0; i < row.size(); ++i) {
        auto& cell = row[i];
        ColumnType const type = columns[i].type;
        if (type == ColumnType::real && std::holds_alternative<std::int64_t>(cell)) {
            cell = static_cast<double>(std::get<std::int64_t>(cell));
        }
        bool const fits =
            (type == ColumnType::integer && std::holds_alternative<std::int64_t>(cell)) ||
            (type == ColumnType::real && std::holds_alternative<double>(cell)) ||
            (type == ColumnType::text && std::holds_alternative<std::string>(cell));
        if (!fits) {
            throw InternalError(where + ": column '" + columns[i].name +
                                "' got a value of another type");
        }
    }
    rows_.push_back(std::move(row));
}

Table& Report::table(std::string const& name) {
    return tables.try_emplace(name, name).first->second;
}

}  // namespace ckvsim::metrics
