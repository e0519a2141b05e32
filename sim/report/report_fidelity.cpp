// The summary of `ckvsim validate-sim`: how large errors are, and where they are small enough.
#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "report/report_show.hpp"
#include "report/table_view.hpp"
#include "report/text_table.hpp"

namespace ckvsim::report {

namespace {

/// Judged rows of one metric.
struct MetricErrors {
    std::vector<double> errors;  ///< absolute
    std::vector<double> repeats;
    std::size_t held = 0;
    std::size_t noisy = 0;  ///< held only because the passes differ, not by the target
    std::size_t worst_row = 0;
};

double quantile(std::vector<double> values, double q) {
    std::sort(values.begin(), values.end());
    auto const rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size())));
    return values[std::max<std::size_t>(rank, 1) - 1];
}

std::string signed_percent(double value) {
    return std::isnan(value) ? "-" : (value < 0 ? "" : "+") + format_percent(value, 1);
}

MetricErrors errors_of(TableView const& points, std::string const& metric) {
    MetricErrors result;
    double worst = -1.0;
    for (std::size_t r = 0; r < points.rows(); ++r) {
        if (points.text(r, "metric") != metric || points.text(r, "verdict") == "insufficient")
            continue;
        double const error = std::abs(points.real(r, "error"));
        result.errors.push_back(error);
        result.repeats.push_back(points.real(r, "repeat_error"));
        bool const held = points.text(r, "verdict") == "within";
        result.held += held ? 1 : 0;
        result.noisy += held && error > points.real(r, "target") ? 1 : 0;
        if (error <= worst) continue;
        worst = error;
        result.worst_row = r;
    }
    return result;
}

std::string where(TableView const& points, std::size_t row) {
    return printable(points.text(row, "arm")) + ", load " + format_real(points.real(row, "load")) +
           ", C " + format_fixed(points.real(row, "candidates"), 0) + ", " +
           format_fixed(points.real(row, "max_tokens"), 0) + " tokens, entries " +
           format_real(points.real(row, "oversubscription")) + " x the tiers";
}

}  // namespace

std::string fidelity_summary(metrics::Report const& report) {
    TableView const points(report, "fidelity_points");
    TableView const regimes(report, "fidelity_regimes");
    TextTable metrics;
    metrics.add_column({"metric"}, Align::left);
    for (char const* name :
         {"points", "within", "by noise", "median error", "90th", "worst", "median repeat"})
        metrics.add_column({name}, Align::right);
    metrics.add_column({"worst at"}, Align::left);
    bool noisy = false;
    for (char const* metric : {"mean_ns", "p50_ns", "p99_ns", "throughput_per_s", "hit_ratio"}) {
        auto const e = errors_of(points, metric);
        if (e.errors.empty()) continue;
        noisy = noisy || 2 * e.noisy > e.errors.size();
        metrics.add_row({metric, std::to_string(e.errors.size()), std::to_string(e.held),
                         std::to_string(e.noisy), format_percent(quantile(e.errors, 0.5), 2),
                         format_percent(quantile(e.errors, 0.9), 2),
                         signed_percent(points.real(e.worst_row, "error")),
                         format_percent(quantile(e.repeats, 0.5), 2), where(points, e.worst_row)});
    }
    TextTable trusted;
    trusted.add_column({"axis"}, Align::left);
    trusted.add_column({"value"}, Align::left);
    for (char const* name : {"points", "hold", "worst mean", "worst p99", "worst hit ratio"})
        trusted.add_column({name}, Align::right);
    for (std::size_t r = 0; r < regimes.rows(); ++r) {
        trusted.add_row({regimes.text(r, "axis"), printable(regimes.text(r, "value")),
                         format_integer(regimes.integer(r, "points")),
                         format_integer(regimes.integer(r, "held")),
                         signed_percent(regimes.real(r, "worst_mean_error")),
                         signed_percent(regimes.real(r, "worst_p99_error")),
                         signed_percent(regimes.real(r, "worst_hit_ratio_error"))});
    }
    return "simulated against executed on held-out points; within = |error| <= max(target, 1.5 x "
           "repeat error)\n" +
           metrics.render(kTextWidth, 1) + "\nwhere it holds (every metric of a point within)\n" +
           trusted.render(kTextWidth, 2);
}

}  // namespace ckvsim::report
