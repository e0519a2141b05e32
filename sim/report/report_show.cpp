#include "report/report_show.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "report/text_table.hpp"

namespace ckvsim::report {

namespace {

using metrics::Cell;
using metrics::Column;
using metrics::ColumnType;
using metrics::Provenance;

/// Tables with more rows are cut when nobody asked for them by name.
constexpr std::size_t kRowsUnasked = 24;
/// Longer texts move below the table.
constexpr std::size_t kLongText = 44;

char const* const kLegend = "- = not measured, or too few samples\n";

/// Texts that do not fit into a cell, numbered below the table.
class Footnotes {
  public:
    std::string cell(std::string const& text) {
        if (display_width(text) <= kLongText) return text;
        auto found = std::find(texts_.begin(), texts_.end(), text);
        if (found == texts_.end()) found = texts_.insert(texts_.end(), text);
        std::string const mark = " (" + std::to_string(found - texts_.begin() + 1) + ")";
        return shorten(text, kLongText - mark.size()) + mark;
    }
    [[nodiscard]] std::string render() const {
        std::string out;
        for (std::size_t i = 0; i < texts_.size(); ++i)
            out += "(" + std::to_string(i + 1) + ") " + texts_[i] + "\n";
        return out;
    }

  private:
    std::vector<std::string> texts_;
};

bool is_whole(double value) { return std::abs(value) < 1e15 && value == std::floor(value); }

std::string cell_text(Column const& column, Cell const& cell, Footnotes& footnotes) {
    if (auto const* text = std::get_if<std::string>(&cell)) return footnotes.cell(printable(*text));
    auto const* integer = std::get_if<std::int64_t>(&cell);
    double const value =
        integer != nullptr ? static_cast<double>(*integer) : std::get<double>(cell);
    if (column.unit == "bytes") return format_bytes(value);
    if (column.unit == "ns") return format_ns(value);
    // Seeds and the like are names, not quantities.
    if (integer != nullptr && column.provenance == Provenance::key) return std::to_string(*integer);
    if (integer != nullptr) return format_integer(*integer);
    return is_whole(value) ? format_integer(static_cast<std::int64_t>(value)) : format_real(value);
}

/// Key columns first, so that they can be repeated when a table is folded; absent ones left out.
std::vector<std::size_t> print_order(metrics::Table const& table, std::size_t& keys) {
    auto const& schema = table.schema();
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < schema.columns.size(); ++i)
        if (!table.absent.contains(schema.columns[i].name)) order.push_back(i);
    auto const end = std::stable_partition(order.begin(), order.end(), [&](std::size_t i) {
        return schema.columns[i].provenance == Provenance::key;
    });
    keys = static_cast<std::size_t>(end - order.begin());
    return order;
}

std::string table_text(metrics::Report const& report, metrics::TableSchema const& schema,
                       std::size_t max_rows) {
    std::string out = "== " + schema.name + (schema.wall_clock ? " [wall clock]" : "") + ": " +
                      schema.meaning + "\n";
    auto const found = report.tables.find(schema.name);
    if (found == report.tables.end()) return out + "not in this report (its phase did not run)\n";
    auto const& table = found->second;
    for (auto const& [key, value] : table.attributes)
        out += printable(key) + " = " + printable(value) + "\n";
    for (auto const& name : table.absent)
        out += "column " + name + ": not in this report (an older version wrote it)\n";
    std::size_t keys = 0;
    auto const order = print_order(table, keys);
    TextTable text;
    for (std::size_t const i : order) {
        auto const& column = schema.columns[i];
        text.add_column(
            {column.name, column.unit == "text" ? "" : column.unit,
             column.provenance == Provenance::key ? "" : metrics::to_string(column.provenance)},
            column.type == ColumnType::text ? Align::left : Align::right);
    }
    Footnotes footnotes;
    std::size_t const rows = std::min(max_rows, table.rows().size());
    for (std::size_t r = 0; r < rows; ++r) {
        std::vector<std::string> cells;
        for (std::size_t const i : order)
            cells.push_back(cell_text(schema.columns[i], table.rows()[r][i], footnotes));
        text.add_row(std::move(cells));
    }
    out += text.render(kTextWidth, keys) + footnotes.render();
    if (table.rows().empty()) return out + "no rows\n";
    std::size_t const hidden = table.rows().size() - rows;
    if (hidden > 0) {
        out += ".. " + format_integer(static_cast<std::int64_t>(hidden)) +
               " more rows; name the table to see them\n";
    }
    return out;
}

std::string notes_text(metrics::Report const& report) {
    std::string out = "== notes\n";
    for (auto const& note : report.notes) out += "- " + printable(note) + "\n";
    return report.notes.empty() ? out + "none\n" : out;
}

std::string hash_text(metrics::Report const& report) {
    return "== hash: logical = integers, equal for any ranks and threads; scores = equal on one "
           "instruction set\nlogical  " +
           printable(report.logical_hash) + "\nscores   " + printable(report.scores_hash) + "\n";
}

std::string provenance_text(metrics::Report const& report) {
    std::string out = "== provenance: where, when and with what the report was made\n";
    std::size_t width = 0;
    for (auto const& [key, value] : report.provenance)
        width = std::max(width, display_width(printable(key)));
    for (auto const& [key, value] : report.provenance) {
        auto const name = printable(key);
        out += name + std::string(width - display_width(name) + 2, ' ') + printable(value) + "\n";
    }
    return out;
}

/// The spec keeps its lines: it is JSON, in which control characters are escaped.
std::string spec_text(metrics::Report const& report) {
    std::string out = "== spec: every default filled in\n";
    for (std::size_t begin = 0; begin < report.spec_json.size();) {
        auto const end = std::min(report.spec_json.find('\n', begin), report.spec_json.size());
        out += printable(std::string_view(report.spec_json).substr(begin, end - begin)) + "\n";
        begin = end + 1;
    }
    return out;
}

struct Section {
    char const* name;
    std::string (*text)(metrics::Report const&);
};
std::vector<Section> const& sections() {
    static std::vector<Section> const kSections = {{"summary", comparison_table},
                                                   {"notes", notes_text},
                                                   {"hash", hash_text},
                                                   {"provenance", provenance_text},
                                                   {"spec", spec_text}};
    return kSections;
}

[[noreturn]] void refuse(std::string const& name) {
    std::string known;
    for (auto const& section : sections()) known += std::string(" ") + section.name;
    for (auto const& schema : metrics::table_schemas()) known += " " + schema.name;
    throw Error(ExitCode::usage,
                "report: there is no table \"" + printable(name) + "\"; known:" + known);
}

std::string named_text(metrics::Report const& report, std::string const& name) {
    for (auto const& section : sections()) {
        if (name == section.name) return section.text(report);
    }
    for (auto const& schema : metrics::table_schemas()) {
        if (name == schema.name)
            return table_text(report, schema, std::numeric_limits<std::size_t>::max());
    }
    refuse(name);
}

}  // namespace

std::string show(metrics::Report const& report, std::vector<std::string> const& tables) {
    std::string out;
    if (!tables.empty()) {
        for (auto const& name : tables) out += (out.empty() ? "" : "\n") + named_text(report, name);
        return out + kLegend;
    }
    for (auto const& section : sections()) {
        if (section.text == spec_text) continue;
        out += section.text(report) + "\n";
    }
    for (auto const& schema : metrics::table_schemas()) {
        if (report.tables.contains(schema.name))
            out += table_text(report, schema, kRowsUnasked) + "\n";
    }
    return out + kLegend;
}

}  // namespace ckvsim::report
