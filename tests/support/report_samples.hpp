// Reports for tests of the report layer.
#pragma once

#include <cmath>
#include <string>

#include "metrics/report_model.hpp"

namespace ckvsim::test {

/// One value per column: keys and texts are named after column and row, numbers grow with the row.
inline void add_plain_row(metrics::Table& table, int row) {
    std::vector<metrics::Cell> cells;
    for (auto const& column : table.schema().columns) {
        switch (column.type) {
            case metrics::ColumnType::integer:
                cells.emplace_back(std::int64_t{100} + row);
                break;
            case metrics::ColumnType::real:
                cells.emplace_back(0.5 + row);
                break;
            case metrics::ColumnType::text:
                cells.emplace_back(column.name + std::to_string(row));
                break;
        }
    }
    table.add_row(std::move(cells));
}

/// Every registered table with two rows, NaN and infinity, an empty table, and hostile texts.
inline metrics::Report sample_report() {
    metrics::Report report;
    for (auto const& schema : metrics::table_schemas()) {
        add_plain_row(report.table(schema.name), 0);
        add_plain_row(report.table(schema.name), 1);
    }
    report.tables.erase("popularity");
    report.table("popularity");  // no rows
    report.table("oracle").add_row({std::string("oracle_auc"), std::nan("")});
    report.table("oracle").add_row({std::string("oracle_gauc"), HUGE_VAL});
    report.table("oracle").add_row({std::string("Größe \xE2\x82\xAC \xF0\x9F\x90\x84"), -0.0});
    report.table("oracle").add_row({std::string(), 1.0});
    report.table("oracle").add_row({std::string("not UTF-8: \xFF\xC3("), 2.0});
    report.table("oracle").add_row({std::string("\x1b[2J\r\n\t\"; DROP TABLE arms; --"), 3.0});
    report.table("oracle").add_row({std::string(5000, 'x'), 4.0});
    report.table("simulated_latency").attributes["calibration"] = "0123456789abcdef";
    report.provenance = {{"commit", "0000"}, {"empty", ""}, {"host name", "Rechner Ä"}};
    report.spec_json =
        "{\n  \"name\": \"sample\",\n  \"arms\": [\n    {\n      \"d_u\": 2\n    }\n  ]\n}";
    report.logical_hash = "00000000000000aa";
    report.scores_hash = "00000000000000bb";
    report.notes = {"first", "", "zweite: \xE2\x80\xAE verdreht"};
    return report;
}

}  // namespace ckvsim::test
