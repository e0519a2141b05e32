// The summary of a plan: for every population and model what each strategy needs, in a line or two.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "report/report_show.hpp"
#include "report/table_view.hpp"
#include "report/text_table.hpp"

namespace ckvsim::report {

namespace {

/// "10^7", "2.5e6": as engineers write populations.
std::string users_text(double users) {
    double const power = std::log10(users);
    if (users >= 1e4 && std::abs(power - std::round(power)) < 1e-9)
        return "10^" + std::to_string(static_cast<int>(std::round(power)));
    return format_integer(static_cast<std::int64_t>(users));
}

std::string interval(TableView const& plan, std::size_t r) {
    return format_integer(plan.integer(r, "nodes")) + " [" +
           format_integer(plan.integer(r, "nodes_low")) + ", " +
           format_integer(plan.integer(r, "nodes_high")) + "]";
}

std::string bound_text(TableView const& plan, std::size_t r) {
    auto const bound = printable(plan.text(r, "bound"));
    if (bound == "nothing") return "one node is enough";
    return std::string(plan.integer(r, "memory_bound") != 0 ? "memory: " : "load: ") + bound;
}

using Scenario =
    std::tuple<double, std::string, double, double, std::int64_t, double, std::int64_t>;

Scenario scenario_of(TableView const& plan, std::size_t r) {
    bool const load = plan.text(r, "find") == "load";
    return {plan.real(r, "users"),
            plan.text(r, "model"),
            load ? 0.0 : plan.real(r, "requests_per_second"),
            plan.real(r, "catalogue_items"),
            plan.integer(r, "candidates"),
            plan.real(r, "efficiency"),
            load ? plan.integer(r, "nodes") : 0};
}

/// Best rows of every strategy of a scenario, the best strategy first; then those without one.
struct Lines {
    std::vector<std::size_t> best;
    std::map<std::string, std::string> infeasible;  ///< strategy -> reason
};

std::string strategies_text(TableView const& plan, Lines lines, bool load) {
    std::stable_sort(lines.best.begin(), lines.best.end(), [&](std::size_t a, std::size_t b) {
        if (load) return plan.real(a, "requests_per_second") > plan.real(b, "requests_per_second");
        return plan.integer(a, "nodes") < plan.integer(b, "nodes");
    });
    std::string out;
    for (auto const r : lines.best) {
        out += (out.empty() ? "" : "; ") + printable(plan.text(r, "strategy")) + " ";
        out += load ? format_real(std::round(plan.real(r, "requests_per_second"))) + "/s"
                    : interval(plan, r);
        out += " (" + bound_text(plan, r) + ")";
        lines.infeasible.erase(plan.text(r, "strategy"));
        if (plan.text(r, "checked") == "re-run") out += " *";
        if (plan.text(r, "checked") == "re-run, differs") out += " !";
    }
    for (auto const& [strategy, reason] : lines.infeasible)
        out +=
            (out.empty() ? "" : "; ") + printable(strategy) + " none (" + printable(reason) + ")";
    return out;
}

/// Breaks at "; " so that no line is too wide where words allow it; further lines are indented.
std::string wrapped(std::string const& head, std::string const& text) {
    std::string out = head;
    std::size_t column = display_width(head);
    for (std::size_t begin = 0; begin < text.size();) {
        auto end = text.find("; ", begin);
        end = end == std::string::npos ? text.size() : end + 2;
        auto const piece = text.substr(begin, end - begin);
        if (column > 2 && column + display_width(piece) > kTextWidth) {
            out += "\n    ";
            column = 4;
        }
        out += piece;
        column += display_width(piece);
        begin = end;
    }
    return out + "\n";
}

std::string checks_text(metrics::Report const& report) {
    TableView const errors(report, "plan_error");
    std::int64_t ran = 0, agree = 0, within = 0;
    double hits = 0.0, p99 = 0.0;
    for (std::size_t r = 0; r < errors.rows(); ++r) {
        if (!errors.text(r, "skipped").empty()) continue;
        ++ran;
        agree += errors.integer(r, "nodes_agree");
        within += errors.integer(r, "nodes_within");
        hits = std::max(hits, std::abs(errors.real(r, "hit_ratio_error")));
        p99 = std::max(p99, std::abs(errors.real(r, "p99_error")));
    }
    if (ran == 0) return "estimated from sampled users; nothing was re-run in full\n";
    return "re-run in full: " + std::to_string(ran) + " fleets; the same nodes for " +
           std::to_string(agree) + ", within the interval for " + std::to_string(within) +
           "; largest errors at the plan's nodes: hits " + format_percent(hits, 2) +
           " of requests, p99 " + format_percent(p99, 1) + "\n";
}

}  // namespace

std::string plan_summary(metrics::Report const& report) {
    constexpr std::size_t kMostScenarios = 40;
    TableView const plan(report, "plan");
    std::map<Scenario, Lines> scenarios;
    std::set<std::string> scenery;
    for (std::size_t r = 0; r < plan.rows(); ++r) {
        auto& lines = scenarios[scenario_of(plan, r)];
        if (plan.integer(r, "best") != 0) lines.best.push_back(r);
        if (plan.integer(r, "feasible") == 0 && plan.integer(r, "applies") != 0)
            lines.infeasible.emplace(plan.text(r, "strategy"), plan.text(r, "reason"));
        scenery.insert(format_real(plan.real(r, "catalogue_items")) +
                       " items, C = " + std::to_string(plan.integer(r, "candidates")) + ", " +
                       format_percent(plan.real(r, "efficiency"), 0) + " of nominal");
    }
    auto const found = report.tables.find("plan");
    auto const attribute = [&](char const* name) {
        if (found == report.tables.end()) return std::string("?");
        auto const at = found->second.attributes.find(name);
        return at == found->second.attributes.end() ? std::string("?") : printable(at->second);
    };
    std::string out =
        "Fewest nodes with " + attribute("slo") + " on " + attribute("platform") +
        "; [could be as few, could be as many]; best tiers and policy of each strategy\n";
    std::size_t printed = 0;
    for (auto const& [scenario, lines] : scenarios) {
        if (++printed > kMostScenarios) break;
        auto const& [users, model, load, items, candidates, efficiency, nodes] = scenario;
        std::string head = users_text(users) + " users, " + printable(model);
        head += nodes > 0 ? ", highest load of " + format_integer(nodes) + " nodes"
                          : ", " + format_real(load) + " requests/s";
        if (scenery.size() > 1) {
            head += ", " + format_real(items) + " items, C = " + std::to_string(candidates) + ", " +
                    format_percent(efficiency, 0) + " of nominal";
        }
        out += wrapped(head + ": ", strategies_text(plan, lines, nodes > 0));
    }
    if (scenarios.size() > kMostScenarios)
        out += "... and " + std::to_string(scenarios.size() - kMostScenarios) +
               " more (ckvsim show)\n";
    return out + checks_text(report) + "* = re-run in full within the interval, ! = outside it\n";
}

}  // namespace ckvsim::report
