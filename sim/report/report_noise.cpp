#include "report/report_noise.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "report/table_rows.hpp"
#include "report/text_table.hpp"

namespace ckvsim::report {

namespace {

using metrics::Cell;
using metrics::Column;
using metrics::Table;
using metrics::TableSchema;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kMaxLines = 200;
char const kMissing[] = "missing";
char const kPass[] = "pass";

/// A value and the range that its noise spans.
struct Noisy {
    double value, low, high;
};

std::optional<std::size_t> find_column(TableSchema const& schema, std::string const& name) {
    for (std::size_t c = 0; c < schema.columns.size(); ++c)
        if (schema.columns[c].name == name) return c;
    return std::nullopt;
}

/// NaN for texts.
double number(Cell const& cell) {
    if (auto const* integer = std::get_if<std::int64_t>(&cell))
        return static_cast<double>(*integer);
    auto const* real = std::get_if<double>(&cell);
    return real != nullptr ? *real : kNaN;
}

std::string shown(Noisy const& value) {
    char text[96];
    std::snprintf(text, sizeof text, "%.5g [%.5g, %.5g]", value.value, value.low, value.high);
    return text;
}

/// auc -> auc_low, auc_high; lift_kept -> lift_low, lift_high.
struct Interval {
    std::size_t value, low, high;
};
std::vector<Interval> intervals_of(TableSchema const& schema) {
    std::vector<Interval> found;
    for (std::size_t c = 0; c < schema.columns.size(); ++c) {
        std::string stem = schema.columns[c].name;
        if (stem.ends_with("_kept")) stem.resize(stem.size() - 5);
        auto const low = find_column(schema, stem + "_low");
        auto const high = find_column(schema, stem + "_high");
        if (low && high) found.push_back({c, *low, *high});
    }
    return found;
}

bool judges_repeats(TableSchema const& schema) {
    return schema.wall_clock && find_column(schema, kPass).has_value();
}

bool judged_by_repeat(Column const& column) {
    return column.provenance == metrics::Provenance::measured &&
           column.type != metrics::ColumnType::text && !column.name.starts_with("max_");
}

/// Rows of both reports under one key; a side is empty where the report lacks the row.
struct Pair {
    std::vector<std::size_t> left, right;
};

class Judge {
  public:
    Judge(TableSchema const& schema, Table const& left, Table const& right, NoiseReport& result)
        : schema_(schema), left_(left), right_(right), result_(result) {}

    void run() {
        auto const intervals = intervals_of(schema_);
        bool const repeated = judges_repeats(schema_);
        for (auto const& key : collect()) {
            auto const& pair = pairs_.at(key);
            if (pair.left.empty() || pair.right.empty()) {
                result_.changes.push_back({schema_.name, key, "",
                                           pair.left.empty() ? kMissing : "present",
                                           pair.right.empty() ? kMissing : "present", kNaN, ""});
                continue;
            }
            for (auto const& interval : intervals)
                judge(key, schema_.columns[interval.value].name, "interval",
                      by_interval(left_, pair.left[0], interval),
                      by_interval(right_, pair.right[0], interval), 0.0);
            for (std::size_t c = 0; repeated && c < schema_.columns.size(); ++c) {
                if (!judged_by_repeat(schema_.columns[c])) continue;
                auto const l = by_repeat(left_, pair.left, c);
                auto const r = by_repeat(right_, pair.right, c);
                double const spread = l && r ? std::max(l->high - l->low, r->high - r->low) : 0.0;
                double const floor = r ? kSketchResolution * std::abs(r->value) : 0.0;
                judge(key, schema_.columns[c].name, "repeat", l, r, std::max(spread, floor));
            }
        }
    }

  private:
    /// Keys in the order of the left report, then those that only the right one has.
    std::vector<std::string> collect() {
        std::vector<std::string> keys;
        auto const add = [&](Table const& table, std::vector<std::size_t> Pair::*side) {
            for (std::size_t r = 0; r < table.rows().size(); ++r) {
                auto const key = row_key(schema_, table.rows()[r], kPass);
                if (!pairs_.contains(key)) keys.push_back(key);
                (pairs_[key].*side).push_back(r);
            }
        };
        add(left_, &Pair::left);
        add(right_, &Pair::right);
        return keys;
    }

    static std::optional<Noisy> by_interval(Table const& table, std::size_t row,
                                            Interval const& columns) {
        auto const& cells = table.rows()[row];
        Noisy const found{number(cells[columns.value]), number(cells[columns.low]),
                          number(cells[columns.high])};
        if (!std::isfinite(found.value) || !std::isfinite(found.low) || !std::isfinite(found.high))
            return std::nullopt;
        return found;
    }

    /// Mean and range of the two passes.
    static std::optional<Noisy> by_repeat(Table const& table, std::vector<std::size_t> const& rows,
                                          std::size_t column) {
        if (rows.size() < 2 || table.absent.contains(table.schema().columns[column].name))
            return std::nullopt;
        double const a = number(table.rows()[rows[0]][column]);
        double const b = number(table.rows()[rows[1]][column]);
        if (!std::isfinite(a) || !std::isfinite(b)) return std::nullopt;
        return Noisy{(a + b) / 2, std::min(a, b), std::max(a, b)};
    }

    void judge(std::string const& key, std::string const& column, char const* judged_by,
               std::optional<Noisy> const& left, std::optional<Noisy> const& right,
               double allowed) {
        if (!left || !right) {
            ++result_.not_judged;
            return;
        }
        double const gap = std::max(left->low, right->low) - std::min(left->high, right->high);
        if (gap <= allowed) {
            ++result_.within;
            return;
        }
        result_.changes.push_back({schema_.name, key, column, shown(*left), shown(*right),
                                   right->value / left->value - 1.0, judged_by});
    }

    TableSchema const& schema_;
    Table const& left_;
    Table const& right_;
    NoiseReport& result_;
    std::map<std::string, Pair> pairs_;
};

std::string percent(double share) {
    if (!std::isfinite(share)) return "-";
    char text[40];
    std::snprintf(text, sizeof text, "%+.1f %%", 100 * share);
    return text;
}

}  // namespace

NoiseReport beyond_noise(metrics::Report const& left, metrics::Report const& right) {
    NoiseReport result;
    for (auto const& schema : metrics::table_schemas()) {
        if (intervals_of(schema).empty() && !judges_repeats(schema)) continue;
        auto const l = left.tables.find(schema.name);
        auto const r = right.tables.find(schema.name);
        bool const has_left = l != left.tables.end();
        bool const has_right = r != right.tables.end();
        if (has_left && has_right) {
            Judge(schema, l->second, r->second, result).run();
        } else if (has_left || has_right) {
            result.not_judged += (has_left ? l : r)->second.rows().size();
        }
    }
    return result;
}

std::string render(NoiseReport const& noise) {
    std::string out;
    if (!noise.changes.empty()) {
        TextTable table;
        for (char const* name : {"table", "row", "column"}) table.add_column({name}, Align::left);
        for (char const* name : {"left", "right", "change"}) table.add_column({name}, Align::right);
        table.add_column({"judged by"}, Align::left);
        for (std::size_t i = 0; i < std::min(noise.changes.size(), kMaxLines); ++i) {
            auto const& change = noise.changes[i];
            table.add_row({change.table, shorten(printable(change.row), 60),
                           change.column.empty() ? "-" : change.column, change.left, change.right,
                           percent(change.relative),
                           change.judged_by.empty() ? "-" : change.judged_by});
        }
        out += table.render(std::numeric_limits<std::size_t>::max(), 0);
        if (noise.changes.size() > kMaxLines)
            out += ".. " +
                   format_integer(static_cast<std::int64_t>(noise.changes.size() - kMaxLines)) +
                   " more\n";
    }
    auto const count = [](std::uint64_t n) { return format_integer(static_cast<std::int64_t>(n)); };
    return out + count(noise.changes.size()) + " measured quantities changed beyond noise; " +
           count(noise.within) + " within noise, " + count(noise.not_judged) +
           " not judged (not measured, or no interval or second pass)\n";
}

}  // namespace ckvsim::report
