// Which strategy wins in which regime.
#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "app/fleet_rows.hpp"
#include "app/row.hpp"
#include "report/table_view.hpp"

namespace ckvsim::app {

namespace {

using report::TableView;

struct Entry {
    std::string strategy;
    std::string keeping;
    double figure = 0.0;
    bool collective = false;
    bool rounding_only = false;  ///< exact up to the stored type
};

using Regime =
    std::tuple<std::string, std::string, double, double, double, std::int64_t, std::string, double>;

bool is_collective(std::string const& keeping) {
    return keeping == "collective" || keeping == "collective_item";
}

/// Case numbers of a table by row.
std::map<std::int64_t, std::size_t> rows_by_case(TableView const& table) {
    std::map<std::int64_t, std::size_t> rows;
    for (std::size_t r = 0; r < table.rows(); ++r)
        rows[static_cast<std::int64_t>(table.real(r, "case"))] = r;
    return rows;
}

void add_regime(metrics::Report& report, Regime const& regime, std::string const& among,
                std::vector<Entry> entries, bool larger_wins) {
    if (entries.empty()) return;
    // Equal figures: the first in the study's order.
    std::stable_sort(entries.begin(), entries.end(), [&](Entry const& a, Entry const& b) {
        return larger_wins ? a.figure > b.figure : a.figure < b.figure;
    });
    auto const better = [&](double a, double b) { return larger_wins ? a / b : b / a; };
    auto const& [model, model_class, users, load, items, candidates, tiers, efficiency] = regime;
    auto const collective =
        std::find_if(entries.begin(), entries.end(), [](Entry const& e) { return e.collective; });
    auto const other =
        std::find_if(entries.begin(), entries.end(), [](Entry const& e) { return !e.collective; });
    double const margin =
        entries.size() > 1 ? better(entries[0].figure, entries[1].figure) : std::nan("");
    bool const both = collective != entries.end() && other != entries.end();
    Row(report.table("fleet_regimes"))
        .set("model", model)
        .set("model_class", model_class)
        .set("users", users)
        .set("requests_per_second", load)
        .set("catalogue_items", items)
        .set("candidates", candidates)
        .set("tiers", tiers)
        .set("efficiency", efficiency)
        .set("among", among)
        .set("winner", entries[0].strategy)
        .set("figure", entries[0].figure)
        .set("second", entries.size() > 1 ? entries[1].strategy : std::string())
        .set("margin", margin)
        .set("collective_best", collective == entries.end() ? std::string() : collective->strategy)
        .set("collective_margin", both ? better(collective->figure, other->figure) : std::nan(""))
        .add();
}

}  // namespace

void report_regimes(metrics::Report& report, config::FleetStudy const& study) {
    if (study.search == config::FleetSearch::none) return;
    bool const loads = study.search == config::FleetSearch::max_load;
    TableView const cases(report, "fleet_cases");
    TableView const results(report, "fleet");
    auto const result_row = rows_by_case(results);
    std::map<Regime, std::vector<Entry>> regimes;
    std::vector<Regime> order;
    for (std::size_t r = 0; r < cases.rows(); ++r) {
        auto const at = result_row.find(static_cast<std::int64_t>(cases.real(r, "case")));
        if (at == result_row.end() || results.real(at->second, "meets_slo") == 0.0) continue;
        double const load = cases.real(r, "requests_per_second");
        Regime const regime{cases.text(r, "model"),
                            cases.text(r, "model_class"),
                            cases.real(r, "users"),
                            loads ? 0.0 : load,
                            cases.real(r, "catalogue_items"),
                            static_cast<std::int64_t>(cases.real(r, "candidates")),
                            cases.text(r, "tiers"),
                            cases.real(r, "efficiency")};
        Entry entry;
        entry.strategy = cases.text(r, "strategy");
        entry.keeping = cases.text(r, "keeping");
        entry.collective = is_collective(entry.keeping);
        entry.rounding_only = !entry.collective;
        entry.figure = loads ? load / cases.real(r, "nodes") : cases.real(r, "nodes");
        if (regimes.find(regime) == regimes.end()) order.push_back(regime);
        regimes[regime].push_back(entry);
    }
    for (auto const& regime : order) {
        auto const& entries = regimes[regime];
        add_regime(report, regime, "all", entries, loads);
        std::vector<Entry> exact;
        std::copy_if(entries.begin(), entries.end(), std::back_inserter(exact),
                     [](Entry const& e) { return e.rounding_only; });
        add_regime(report, regime, "without_pools", exact, loads);
    }
}

}  // namespace ckvsim::app
