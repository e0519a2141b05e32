// Rows of report tables and their key columns, for comparisons.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "metrics/report_model.hpp"

namespace ckvsim::report {

/// A value in full: integers and texts as they are, reals with 12 digits, "nan".
std::string cell_text(metrics::Cell const& cell);

/// "key = value, key = value" of one row; the key column named `without` is left out.
std::string row_key(metrics::TableSchema const& schema, std::vector<metrics::Cell> const& row,
                    std::string const& without = "");

/// Row numbers by "key = value, key = value"; repeated keys are numbered "#2", "#3", ... `order`
/// receives the keys in the table's order.
std::map<std::string, std::size_t> rows_by_key(metrics::Table const& table,
                                               std::vector<std::string>& order);

}  // namespace ckvsim::report
