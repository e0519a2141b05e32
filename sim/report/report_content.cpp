#include "report/report_content.hpp"

#include <cstring>
#include <limits>
#include <set>

#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::report {

namespace {

using metrics::Cell;
using metrics::ColumnType;

constexpr char kCreator[] = "ckvsim";

/// Attributes of a table group that belong to the layout, not to metrics::Table::attributes.
std::set<std::string> const& reserved_attributes() {
    static std::set<std::string> const kNames = {"meaning", "wall_clock", "rows"};
    return kNames;
}

/// Length-prefixed concatenation: no two different contents give the same bytes.
class Canonical {
  public:
    void add(std::string const& text) {
        add_number(static_cast<std::int64_t>(text.size()));
        bytes_ += text;
    }
    template <class T>
    void add_number(T value) {
        char raw[sizeof(T)];
        std::memcpy(raw, &value, sizeof(T));
        bytes_.append(raw, sizeof(T));
    }
    void add(std::map<std::string, std::string> const& map) {
        add_number(static_cast<std::int64_t>(map.size()));
        for (auto const& [key, value] : map) {
            add(key);
            add(value);
        }
    }
    void add(Cell const& cell) {
        if (auto const* integer = std::get_if<std::int64_t>(&cell)) add_number(*integer);
        if (auto const* real = std::get_if<double>(&cell)) add_number(*real);
        if (auto const* text = std::get_if<std::string>(&cell)) add(*text);
    }
    [[nodiscard]] std::uint64_t digest() const { return hash_bytes(bytes_.data(), bytes_.size()); }

  private:
    std::string bytes_;
};

template <class T>
std::vector<T> column_values(metrics::Table const& table, std::size_t column) {
    std::vector<T> values;
    values.reserve(table.rows().size());
    for (auto const& row : table.rows()) values.push_back(std::get<T>(row[column]));
    return values;
}

h5::Handle write_column(hid_t group, metrics::Table const& table, std::size_t index) {
    auto const& column = table.schema().columns[index];
    switch (column.type) {
        case ColumnType::integer:
            return h5::write_array(group, column.name, column_values<std::int64_t>(table, index));
        case ColumnType::real:
            return h5::write_array(group, column.name, column_values<double>(table, index));
        case ColumnType::text:
            return h5::write_texts(group, column.name, column_values<std::string>(table, index));
    }
    throw InternalError("report: column type out of range");
}

/// What every dataset of a report says about itself.
void describe(h5::Handle const& dataset, std::string const& unit, std::string const& provenance,
              std::string const& meaning) {
    h5::set_attribute(dataset.id(), "unit", unit);
    h5::set_attribute(dataset.id(), "provenance", provenance);
    h5::set_attribute(dataset.id(), "meaning", meaning);
}

void write_table(hid_t tables, std::string const& name, metrics::Table const& table) {
    h5::Handle const group = h5::create_group(tables, name);
    h5::set_attribute(group.id(), "meaning", table.schema().meaning);
    h5::set_attribute(group.id(), "wall_clock", std::int64_t{table.schema().wall_clock ? 1 : 0});
    h5::set_attribute(group.id(), "rows", static_cast<std::int64_t>(table.rows().size()));
    for (auto const& [key, value] : table.attributes) {
        validate(reserved_attributes().count(key) == 0,
                 "report: a table attribute has a reserved name");
        h5::set_attribute(group.id(), key, value);
    }
    for (std::size_t i = 0; i < table.schema().columns.size(); ++i) {
        auto const& column = table.schema().columns[i];
        if (table.absent.contains(column.name)) continue;
        describe(write_column(group.id(), table, i), column.unit,
                 metrics::to_string(column.provenance), column.meaning);
    }
}

template <class T>
std::vector<Cell> to_cells(std::vector<T> values) {
    return {std::make_move_iterator(values.begin()), std::make_move_iterator(values.end())};
}

Cell absent_cell(ColumnType type) {
    if (type == ColumnType::integer) return std::int64_t{0};
    if (type == ColumnType::real) return std::numeric_limits<double>::quiet_NaN();
    return std::string();
}

metrics::Table read_table(hid_t tables, metrics::TableSchema const& schema,
                          std::string const& path) {
    std::string const where = path + ", table " + schema.name;
    h5::Handle const group = h5::open_group(tables, schema.name, path);
    auto const rows = static_cast<std::size_t>(h5::integer_attribute(group.id(), "rows", where));
    std::vector<std::vector<Cell>> columns;
    std::set<std::string> absent;
    for (auto const& column : schema.columns) {
        // Reports of an older version lack columns that were added since.
        if (column.provenance != metrics::Provenance::key && !h5::exists(group.id(), column.name)) {
            absent.insert(column.name);
            columns.emplace_back(rows, absent_cell(column.type));
            continue;
        }
        switch (column.type) {
            case ColumnType::integer:
                columns.push_back(
                    to_cells(h5::read_array<std::int64_t>(group.id(), column.name, where)));
                break;
            case ColumnType::real:
                columns.push_back(to_cells(h5::read_array<double>(group.id(), column.name, where)));
                break;
            case ColumnType::text:
                columns.push_back(to_cells(h5::read_texts(group.id(), column.name, where)));
                break;
        }
        if (columns.back().size() != rows) {
            throw DataError(where, 0,
                            "column " + column.name + " has another length than the table says");
        }
    }
    metrics::Table table(schema.name);
    table.absent = std::move(absent);
    for (std::size_t i = 0; i < rows; ++i) {
        std::vector<Cell> row;
        row.reserve(columns.size());
        for (auto& column : columns) row.push_back(std::move(column[i]));
        table.add_row(std::move(row));
    }
    for (auto const& name : h5::attribute_names(group.id(), where)) {
        if (reserved_attributes().count(name) != 0) continue;
        table.attributes[name] = h5::text_attribute(group.id(), name, where);
    }
    return table;
}

void check_header(hid_t file, std::string const& path) {
    if (!h5::has_attribute(file, "creator") || !h5::has_attribute(file, "schema_version") ||
        h5::text_attribute(file, "creator", path) != kCreator) {
        throw DataError(
            path, 0,
            "is an HDF5 file but not a ckvsim report (no creator and schema_version). pass a file "
            "written by `ckvsim run`");
    }
    auto const version = h5::integer_attribute(file, "schema_version", path);
    if (version > metrics::kReportSchemaVersion) {
        throw DataError(path, 0,
                        "has report schema " + std::to_string(version) +
                            ", newer than this program's " +
                            std::to_string(metrics::kReportSchemaVersion) + ". use a newer ckvsim");
    }
    if (version < 1)
        throw DataError(path, 0, "has report schema " + std::to_string(version) + " (unknown)");
}

}  // namespace

std::uint64_t digest_report(metrics::Report const& report) {
    Canonical canonical;
    canonical.add(report.provenance);
    canonical.add(report.spec_json);
    canonical.add(report.logical_hash);
    canonical.add(report.scores_hash);
    canonical.add_number(static_cast<std::int64_t>(report.notes.size()));
    for (auto const& note : report.notes) canonical.add(note);
    for (auto const& [name, table] : report.tables) {
        canonical.add(name);
        canonical.add(table.attributes);
        canonical.add_number(static_cast<std::int64_t>(table.rows().size()));
        for (auto const& row : table.rows()) {
            for (std::size_t c = 0; c < row.size(); ++c) {
                if (!table.absent.contains(table.schema().columns[c].name)) canonical.add(row[c]);
            }
        }
    }
    return canonical.digest();
}

void write_content(hid_t file, metrics::Report const& report) {
    h5::set_attribute(file, "creator", std::string(kCreator));
    h5::set_attribute(file, "schema_version", std::int64_t{metrics::kReportSchemaVersion});
    h5::set_attribute(file, "content_hash", to_hex(digest_report(report)));
    describe(h5::write_texts(file, "spec", {report.spec_json}), "text", "input",
             "the resolved spec as JSON, every default filled in");
    describe(h5::write_texts(file, "notes", report.notes), "text", "derived",
             "cautions in plain words");
    h5::Handle const provenance = h5::create_group(file, "provenance");
    for (auto const& [key, value] : report.provenance)
        h5::set_attribute(provenance.id(), key, value);
    h5::Handle const hash = h5::create_group(file, "hash");
    h5::set_attribute(hash.id(), "logical", report.logical_hash);
    h5::set_attribute(hash.id(), "scores", report.scores_hash);
    h5::Handle const tables = h5::create_group(file, "tables");
    for (auto const& [name, table] : report.tables) write_table(tables.id(), name, table);
}

metrics::Report read_content(hid_t file, std::string const& path) {
    check_header(file, path);
    metrics::Report report;
    auto const spec = h5::read_texts(file, "spec", path);
    if (spec.size() != 1) throw DataError(path, 0, "does not hold exactly one spec");
    report.spec_json = spec.front();
    report.notes = h5::read_texts(file, "notes", path);
    h5::Handle const provenance = h5::open_group(file, "provenance", path);
    for (auto const& name : h5::attribute_names(provenance.id(), path)) {
        report.provenance[name] = h5::text_attribute(provenance.id(), name, path);
    }
    h5::Handle const hash = h5::open_group(file, "hash", path);
    report.logical_hash = h5::text_attribute(hash.id(), "logical", path);
    report.scores_hash = h5::text_attribute(hash.id(), "scores", path);
    h5::Handle const tables = h5::open_group(file, "tables", path);
    for (auto const& schema : metrics::table_schemas()) {
        if (!h5::exists(tables.id(), schema.name)) continue;
        report.tables.emplace(schema.name, read_table(tables.id(), schema, path));
    }
    if (to_hex(digest_report(report)) != h5::text_attribute(file, "content_hash", path)) {
        throw DataError(
            path, 0,
            "content does not match its stored hash (damaged or edited). run the spec again");
    }
    return report;
}

}  // namespace ckvsim::report
