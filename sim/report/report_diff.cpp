#include "report/report_diff.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "report/spec_lines.hpp"
#include "report/table_rows.hpp"
#include "report/text_table.hpp"

namespace ckvsim::report {

namespace {

using metrics::Cell;
using metrics::Column;
using metrics::Provenance;
using metrics::Table;
using metrics::TableSchema;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
char const kMissing[] = "missing";
/// Lines of a rendered list; the summary line counts all.
constexpr std::size_t kMaxLines = 200;

/// |a - b| / max(|a|, |b|); 0 for equal values and for two NaNs, infinity for one NaN.
double relative_difference(double a, double b) {
    if (a == b || (std::isnan(a) && std::isnan(b))) return 0.0;
    if (!std::isfinite(a) || !std::isfinite(b)) return std::numeric_limits<double>::infinity();
    return std::abs(a - b) / std::max(std::abs(a), std::abs(b));
}

/// Integers of equal value are equal however large; otherwise compared as doubles.
double relative_difference(Cell const& a, Cell const& b) {
    if (std::holds_alternative<std::int64_t>(a) &&
        std::get<std::int64_t>(a) == std::get<std::int64_t>(b))
        return 0.0;
    auto const number = [](Cell const& cell) {
        auto const* integer = std::get_if<std::int64_t>(&cell);
        return integer != nullptr ? static_cast<double>(*integer) : std::get<double>(cell);
    };
    // Unequal integers beyond 2^53 may be equal as doubles: they still differ.
    double const relative = relative_difference(number(a), number(b));
    bool const integers = std::holds_alternative<std::int64_t>(a);
    return integers ? std::max(relative, std::numeric_limits<double>::epsilon()) : relative;
}

class Comparison {
  public:
    Comparison(metrics::Report const& left, metrics::Report const& right, bool wall_clock)
        : left_(left), right_(right), wall_clock_(wall_clock) {}

    ReportDiff run() {
        compare_texts("hash", "", "logical", left_.logical_hash, right_.logical_hash);
        compare_scores_hashes();
        for (auto const& schema : metrics::table_schemas()) compare_tables(schema);
        compare_maps("provenance ", left_.provenance, right_.provenance);
        compare_maps("spec ", flatten_spec(left_.spec_json), flatten_spec(right_.spec_json));
        if (left_.spec_json != right_.spec_json && information_kind("spec ") == 0)
            inform("spec: the texts differ in layout only");
        compare_notes(left_, right_, "left");
        compare_notes(right_, left_, "right");
        return std::move(result_);
    }

  private:
    void add(std::string table, std::string row, std::string column, std::string left,
             std::string right, double relative, double tolerance) {
        result_.differences.push_back({std::move(table), std::move(row), std::move(column),
                                       std::move(left), std::move(right), relative, tolerance});
    }
    void inform(std::string text) { result_.information.push_back(std::move(text)); }

    void compare_texts(std::string const& table, std::string const& row, std::string const& column,
                       std::string const& left, std::string const& right) {
        ++result_.compared;
        if (left != right) add(table, row, column, left, right, kNaN, 0.0);
    }

    /// Scores are bit-equal on one instruction set only; across two, the tables' tolerances judge.
    void compare_scores_hashes() {
        auto const instruction_set = [](metrics::Report const& report) {
            auto const found = report.provenance.find("instruction_set");
            return found == report.provenance.end() ? std::string() : found->second;
        };
        auto const left = instruction_set(left_);
        auto const right = instruction_set(right_);
        if (left == right) {
            compare_texts("hash", "", "scores", left_.scores_hash, right_.scores_hash);
        } else if (left_.scores_hash != right_.scores_hash) {
            inform("hash/scores: not compared, made on " + left + " and on " + right);
        }
    }

    /// Tolerance that applies, or nothing when the column is left out.
    [[nodiscard]] bool applies(TableSchema const& schema, Column const& column,
                               double& tolerance) const {
        tolerance = column.diff_tolerance;
        if (tolerance >= 0) return true;
        tolerance = kWallClockTolerance;
        return wall_clock_ && schema.wall_clock &&
               (column.provenance == Provenance::measured ||
                column.provenance == Provenance::simulated);
    }

    void compare_tables(TableSchema const& schema) {
        auto const left = left_.tables.find(schema.name);
        auto const right = right_.tables.find(schema.name);
        bool const has_left = left != left_.tables.end();
        bool const has_right = right != right_.tables.end();
        if (!has_left && !has_right) return;
        bool const counts = !schema.wall_clock || wall_clock_;
        if (has_left != has_right) {
            if (counts) {
                add(schema.name, "", "", has_left ? "present" : kMissing,
                    has_right ? "present" : kMissing, kNaN, 0.0);
            } else {
                inform("table " + schema.name + " is missing " + (has_left ? "right" : "left"));
            }
            return;
        }
        compare_maps("table " + schema.name + " ", left->second.attributes,
                     right->second.attributes);
        absent_ = left->second.absent;
        absent_.insert(right->second.absent.begin(), right->second.absent.end());
        for (auto const& name : absent_)
            inform("column " + schema.name + "." + name + " is missing " +
                   (left->second.absent.contains(name) ? "left" : "right") +
                   " (an older version wrote the report)");
        std::vector<std::string> order;
        std::vector<std::string> right_order;
        auto const left_rows = rows_by_key(left->second, order);
        auto const right_rows = rows_by_key(right->second, right_order);
        for (auto const& key : right_order) {
            if (!left_rows.contains(key)) order.push_back(key);
        }
        for (auto const& key : order) {
            auto const l = left_rows.find(key);
            auto const r = right_rows.find(key);
            if (l != left_rows.end() && r != right_rows.end()) {
                compare_rows(schema, key, left->second.rows()[l->second],
                             right->second.rows()[r->second]);
            } else if (counts) {
                add(schema.name, key, "", l == left_rows.end() ? kMissing : "present",
                    r == right_rows.end() ? kMissing : "present", kNaN, 0.0);
            }
        }
    }

    void compare_rows(TableSchema const& schema, std::string const& key,
                      std::vector<Cell> const& left, std::vector<Cell> const& right) {
        for (std::size_t c = 0; c < schema.columns.size(); ++c) {
            auto const& column = schema.columns[c];
            if (column.provenance == Provenance::key) continue;
            double tolerance = 0;
            if (absent_.contains(column.name) || !applies(schema, column, tolerance)) {
                ++result_.not_compared;
                continue;
            }
            if (std::holds_alternative<std::string>(left[c])) {
                compare_texts(schema.name, key, column.name, std::get<std::string>(left[c]),
                              std::get<std::string>(right[c]));
                continue;
            }
            ++result_.compared;
            double const relative = relative_difference(left[c], right[c]);
            if (relative > tolerance) {
                add(schema.name, key, column.name, cell_text(left[c]), cell_text(right[c]),
                    relative, tolerance);
            }
        }
    }

    void compare_maps(std::string const& what, std::map<std::string, std::string> const& left,
                      std::map<std::string, std::string> const& right) {
        std::set<std::string> keys;
        for (auto const* map : {&left, &right}) {
            for (auto const& entry : *map) keys.insert(entry.first);
        }
        auto const value = [](auto const& map, std::string const& key) {
            auto const found = map.find(key);
            return found == map.end() ? std::string(kMissing) : found->second;
        };
        for (auto const& key : keys) {
            auto const l = value(left, key);
            auto const r = value(right, key);
            if (l != r) inform(what + key + ": " + l + " -> " + r);
        }
    }

    [[nodiscard]] std::ptrdiff_t information_kind(std::string const& what) const {
        return std::count_if(result_.information.begin(), result_.information.end(),
                             [&](auto const& line) { return line.starts_with(what); });
    }

    void compare_notes(metrics::Report const& one, metrics::Report const& other, char const* side) {
        for (auto const& note : one.notes) {
            if (std::find(other.notes.begin(), other.notes.end(), note) == other.notes.end())
                inform(std::string("note only ") + side + ": " + note);
        }
    }

    metrics::Report const& left_;
    metrics::Report const& right_;
    bool wall_clock_;
    ReportDiff result_;
    std::set<std::string> absent_;  ///< columns of the current table that either report lacks
};

std::string percent_or_dash(double relative) {
    if (std::isnan(relative)) return "-";
    char text[40];
    std::snprintf(text, sizeof text, "%.3g", relative);
    return text;
}

std::string hidden_line(std::size_t total) {
    if (total <= kMaxLines) return "";
    return ".. " + format_integer(static_cast<std::int64_t>(total - kMaxLines)) + " more\n";
}

}  // namespace

ReportDiff diff(metrics::Report const& left, metrics::Report const& right, bool wall_clock) {
    return Comparison(left, right, wall_clock).run();
}

std::string render_information(ReportDiff const& diff) {
    if (diff.information.empty()) return "";
    std::string out = "for information, not counted as differences (left -> right):\n";
    for (std::size_t i = 0; i < std::min(diff.information.size(), kMaxLines); ++i)
        out += "  " + shorten(printable(diff.information[i]), 156) + "\n";
    return out + hidden_line(diff.information.size());
}

std::string render(ReportDiff const& diff) {
    std::string out;
    if (!diff.differences.empty()) {
        TextTable table;
        for (char const* name : {"table", "row", "column"}) table.add_column({name}, Align::left);
        for (char const* name : {"left", "right", "relative", "tolerance"})
            table.add_column({name}, Align::right);
        for (std::size_t i = 0; i < std::min(diff.differences.size(), kMaxLines); ++i) {
            auto const& d = diff.differences[i];
            table.add_row({d.table, shorten(printable(d.row), 60),
                           d.column.empty() ? "-" : d.column, shorten(printable(d.left), 32),
                           shorten(printable(d.right), 32), percent_or_dash(d.relative),
                           percent_or_dash(d.tolerance)});
        }
        out += table.render(std::numeric_limits<std::size_t>::max(), 0) +
               hidden_line(diff.differences.size());
    }
    out += render_information(diff);
    auto const count = [](std::uint64_t n) { return format_integer(static_cast<std::int64_t>(n)); };
    return out + count(diff.differences.size()) + " differences; " + count(diff.compared) +
           " values compared, " + count(diff.not_compared) + " wall-clock values left out\n";
}

}  // namespace ckvsim::report
