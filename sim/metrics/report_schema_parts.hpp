// Shorthand for declaring report columns; used only by the report_schema_*.cpp files of this
// folder.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "metrics/report_model.hpp"

namespace ckvsim::metrics::schema {

using enum ColumnType;
using enum Provenance;

inline constexpr double kExact = 0.0;
/// Sums of doubles in a fixed order; another instruction set may round differently.
inline constexpr double kRounding = 1e-9;
/// Scores differ in the last bits between instruction sets; ranks of near ties may swap.
inline constexpr double kScores = 1e-4;
/// Wall clock or resident memory: never compared.
inline constexpr double kNoisy = -1.0;

inline Column key_column(std::string name, ColumnType type, std::string unit, std::string meaning) {
    return {std::move(name), type, std::move(unit), Provenance::key, std::move(meaning), kExact};
}
inline Column key_text(std::string name, std::string meaning) {
    return key_column(std::move(name), text, "text", std::move(meaning));
}
inline Column arm_key() { return key_text("arm", "name of the arm in the spec"); }

/// Tables grouped by subject, concatenated in print order by table_schemas().
std::vector<TableSchema> memory_tables();
std::vector<TableSchema> accuracy_tables();
std::vector<TableSchema> serving_tables();
std::vector<TableSchema> fleet_tables();
std::vector<TableSchema> plan_tables();
std::vector<TableSchema> analysis_tables();
std::vector<TableSchema> context_tables();

}  // namespace ckvsim::metrics::schema
