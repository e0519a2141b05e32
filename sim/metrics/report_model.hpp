// The report as data: tables with typed, described columns. Every table's schema is registered
// once; the HDF5 writer, `ckvsim show`, `ckvsim diff` and sim/docs/schema.md all work from the
// registry.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ckvsim::metrics {

inline constexpr int kReportSchemaVersion = 1;

enum class ColumnType : std::uint8_t { integer, real, text };
enum class Provenance : std::uint8_t {
    key,        ///< identifies the row
    input,      ///< taken from the spec or the data
    measured,   ///< wall clock, resident memory, real data
    simulated,  ///< virtual time; the table's attribute `calibration` names the cost table
    derived     ///< computed by the formula in `meaning`
};
std::string to_string(Provenance provenance);

struct Column {
    std::string name;  ///< snake_case with unit suffix
    ColumnType type;
    std::string unit;  ///< "ns", "bytes", "1", ...
    Provenance provenance;
    std::string meaning;
    double diff_tolerance =
        0.0;  ///< relative tolerance of `ckvsim diff`; < 0 = wall clock, never compared
};

struct TableSchema {
    std::string name;  ///< HDF5 group /tables/<name>
    std::string meaning;
    bool wall_clock = false;  ///< noisy quantities: kept apart and outside diff by default
    std::vector<Column> columns;
};

/// All tables of a report, in print order.
std::vector<TableSchema> const& table_schemas();
TableSchema const& table_schema(std::string_view name);  ///< InternalError when unknown

using Cell = std::variant<std::int64_t, double, std::string>;

/// Rows of one table. NaN in a real column means "not measured" or "insufficient samples".
class Table {
  public:
    explicit Table(std::string_view schema_name);
    /// One value per schema column, of the column's type (integers are accepted for real columns).
    void add_row(std::vector<Cell> row);
    [[nodiscard]] TableSchema const& schema() const { return *schema_; }
    [[nodiscard]] std::vector<std::vector<Cell>> const& rows() const { return rows_; }
    std::map<std::string, std::string> attributes;  ///< for example calibration = "<digest>"
    /// Columns that a report of an older version lacks: its rows hold NaN, 0 or "" there, which
    /// nobody may take for a value. Never a key. Empty for a table made by this version.
    std::set<std::string> absent;

  private:
    TableSchema const* schema_;
    std::vector<std::vector<Cell>> rows_;
};

/// Everything rank 0 writes.
struct Report {
    std::map<std::string, std::string>
        provenance;            ///< commit, host, compiler, ranks, threads, seed, digests, ...
    std::string spec_json;     ///< the resolved spec, every default filled in
    std::string logical_hash;  ///< 16 hex digits
    std::string scores_hash;
    std::vector<std::string> notes;  ///< cautions in plain words
    std::map<std::string, Table> tables;
    Table& table(std::string const& name);  ///< created on first use
};

}  // namespace ckvsim::metrics
