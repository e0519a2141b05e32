// The summary of a fleet study: one line a case.
#include <algorithm>
#include <cmath>
#include <map>

#include "report/report_show.hpp"
#include "report/table_view.hpp"
#include "report/text_table.hpp"

namespace ckvsim::report {

namespace {

std::map<std::int64_t, std::size_t> rows_by_case(TableView const& table) {
    std::map<std::int64_t, std::size_t> rows;
    for (std::size_t r = 0; r < table.rows(); ++r) rows[table.integer(r, "case")] = r;
    return rows;
}

std::string milliseconds(double ns) { return std::isnan(ns) ? "-" : format_fixed(ns * 1e-6, 2); }

template <class Value>
bool varies(TableView const& table, Value&& value) {
    for (std::size_t r = 1; r < table.rows(); ++r)
        if (value(r) != value(0)) return true;
    return false;
}

}  // namespace

std::string fleet_summary(metrics::Report const& report) {
    constexpr std::size_t kMostLines = 60;
    TableView const cases(report, "fleet_cases");
    TableView const results(report, "fleet");
    auto const result_row = rows_by_case(results);
    TextTable table;
    for (char const* name : {"model", "strategy"}) table.add_column({name}, Align::left);
    // What the study varies besides load and size.
    std::vector<std::string> axes;
    for (char const* name : {"tiers", "policy", "routing"}) {
        if (varies(cases, [&](std::size_t r) { return cases.text(r, name); })) {
            axes.emplace_back(name);
            table.add_column({name}, Align::left);
        }
    }
    bool const efficiency = varies(
        cases, [&](std::size_t r) { return format_percent(cases.real(r, "efficiency"), 0); });
    if (efficiency) table.add_column({"of nominal"}, Align::right);
    for (char const* name : {"users", "V", "C", "nodes", "requests/s", "B/user", "HBM hit", "hit",
                             "p50 ms", "p99 ms", "good"})
        table.add_column({name}, Align::right);
    table.add_column({"limited by"}, Align::left);
    for (std::size_t r = 0; r < std::min(cases.rows(), kMostLines); ++r) {
        std::vector<std::string> cells = {printable(cases.text(r, "model")),
                                          printable(cases.text(r, "strategy"))};
        for (auto const& axis : axes) cells.push_back(cases.text(r, axis.c_str()));
        if (efficiency) cells.push_back(format_percent(cases.real(r, "efficiency"), 0));
        cells.insert(
            cells.end(),
            {format_real(cases.real(r, "users")), format_real(cases.real(r, "catalogue_items")),
             format_fixed(cases.real(r, "candidates"), 0), format_fixed(cases.real(r, "nodes"), 0),
             format_real(cases.real(r, "requests_per_second"))});
        auto const at = result_row.find(cases.integer(r, "case"));
        if (at == result_row.end()) {
            for (int i = 0; i < 6; ++i) cells.emplace_back("-");
            cells.push_back("does not apply");
        } else {
            std::size_t const row = at->second;
            cells.push_back(format_real(results.real(row, "entry_bytes")));
            cells.push_back(format_percent(results.real(row, "hbm_ratio"), 1));
            cells.push_back(format_percent(results.real(row, "hit_ratio"), 1));
            cells.push_back(milliseconds(results.real(row, "p50_ns")));
            cells.push_back(milliseconds(results.real(row, "p99_ns")));
            cells.push_back(format_percent(results.real(row, "good_ratio"), 2));
            cells.push_back(results.text(row, "limited_by"));
        }
        table.add_row(cells);
    }
    std::string out = table.render(kTextWidth, 2);
    if (cases.rows() > kMostLines)
        out +=
            "... and " + std::to_string(cases.rows() - kMostLines) + " cases more (ckvsim show)\n";
    return out;
}

}  // namespace ckvsim::report
