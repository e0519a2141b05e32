// The comparison table: what a busy engineer reads first.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "report/report_show.hpp"
#include "report/table_view.hpp"
#include "report/text_table.hpp"

namespace ckvsim::report {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
/// Names of arms give way when the table would be wider than kTextWidth, down to this.
constexpr std::size_t kShortestName = 28;

/// "100 %", "12.5 %", "1.57 %".
std::string ratio_text(double ratio) {
    double const percent = 100.0 * std::abs(ratio);
    return format_percent(ratio, percent >= 99.95 ? 0 : percent >= 9.995 ? 1 : 2);
}

std::string lift_text(TableView const& accuracy, std::size_t row) {
    double const lift = accuracy.real(row, "lift_kept");
    if (std::isnan(lift)) return "-";
    return format_percent(lift, 1) + " [" +
           format_fixed(100.0 * accuracy.real(row, "lift_low"), 1) + ", " +
           format_fixed(100.0 * accuracy.real(row, "lift_high"), 1) + "]";
}

std::string interval_text(TableView const& accuracy, std::size_t row, std::string const& name) {
    double const value = accuracy.real(row, name.c_str());
    if (std::isnan(value)) return "-";
    return format_fixed(value, 4) + " [" +
           format_fixed(accuracy.real(row, (name + "_low").c_str()), 4) + ", " +
           format_fixed(accuracy.real(row, (name + "_high").c_str()), 4) + "]";
}

/// The provenance entry "platform" is "<name> <digest>".
std::string fleet_platform(metrics::Report const& report) {
    auto const found = report.provenance.find("platform");
    if (found == report.provenance.end()) return "";
    return found->second.substr(0, found->second.rfind(' '));
}

class Summary {
  public:
    explicit Summary(metrics::Report const& report)
        : report_(report),
          arms_(report, "arms"),
          memory_(report, "memory"),
          executed_(report, "executed_latency"),
          executed_cache_(report, "executed_cache"),
          simulated_(report, "simulated_latency"),
          accuracy_(report, "accuracy"),
          oracle_(report, "oracle"),
          fidelity_(report, "fidelity"),
          fleet_(fleet_platform(report)) {}

    std::string render() {
        std::string out = heading();
        if (arms_.rows() == 0) return out + "no arms in this report\n";
        auto table = arm_table(std::numeric_limits<std::size_t>::max());
        if (table.width() > kTextWidth) {
            std::size_t const excess = table.width() - kTextWidth;
            std::size_t const longest = longest_name();
            std::size_t const room = longest > excess ? longest - excess : 0;
            table = arm_table(std::max(room, kShortestName));
        }
        out += table.render(kTextWidth, 2);
        return out + control_block() + footer();
    }

  private:
    [[nodiscard]] std::string heading() const {
        std::string out = "model";
        std::string last;
        for (std::size_t r = 0; r < arms_.rows(); ++r) {
            auto const& model = arms_.text(r, "model");
            if (model != last) out += " " + (model.empty() ? std::string("-") : printable(model));
            last = model;
        }
        auto const workload = report_.provenance.find("workload");
        if (workload != report_.provenance.end()) out += "; " + printable(workload->second);
        return out + "\n";
    }

    [[nodiscard]] std::size_t longest_name() const {
        std::size_t longest = 0;
        for (std::size_t r = 0; r < arms_.rows(); ++r)
            longest = std::max(longest, display_width(printable(arms_.text(r, "arm"))));
        return longest;
    }

    TextTable arm_table(std::size_t name_width) {
        TextTable table;
        footnotes_.clear();
        table.add_column({"arm"}, Align::left);
        table.add_column({"scope"}, Align::left);
        for (char const* name : {"m/V", "B/user", "B/inter.", "real", "paper", "p50", "p99", "hit",
                                 "p50", "p99", "AUC", "lift kept [95 %]"}) {
            table.add_column({name}, Align::right);
        }
        table.add_column({"verdict"}, Align::left);
        for (std::size_t const first : {3U, 7U, 10U, 12U}) table.separate_before(first);
        table.add_group(3, 6, "memory against full fp32 [derived]");
        table.add_group(7, 9, "executed [measured]");
        table.add_group(10, 11, "fleet [simulated]");
        table.add_group(12, 14, "accuracy as served [measured]");
        for (std::size_t r = 0; r < arms_.rows(); ++r) table.add_row(arm_cells(r, name_width));
        return table;
    }

    std::vector<std::string> arm_cells(std::size_t arm, std::size_t name_width) {
        auto const& name = arms_.text(arm, "arm");
        double const share = arms_.real(arm, "pool_share_of_catalogue");
        // Absent in older reports: both, random, none.
        auto const& sides = arms_.text(arm, "sides");
        bool const one_side = sides == "k" || sides == "v";
        auto const& start = arms_.text(arm, "start");
        bool const warm = start == "full" || start == "full_silu";
        auto const& teacher = arms_.text(arm, "teacher");
        bool const distilled = teacher == "full" || teacher == "full_silu";
        std::vector<std::string> cells = {shorten(printable(name), name_width),
                                          printable(arms_.text(arm, "scope")) +
                                              (one_side ? "/" + sides : std::string()) +
                                              (warm ? "/warm" : "") + (distilled ? "/distil" : ""),
                                          share > 0 ? ratio_text(share) : ""};
        append(cells, memory_cells(arm, name));
        append(cells, executed_cells(name));
        append(cells, fleet_cells(name));
        append(cells, accuracy_cells(arm, name));
        return cells;
    }

    static void append(std::vector<std::string>& cells, std::vector<std::string> more) {
        cells.insert(cells.end(), std::make_move_iterator(more.begin()),
                     std::make_move_iterator(more.end()));
    }

    std::vector<std::string> memory_cells(std::size_t arm, std::string const& name) const {
        auto const row = memory_.find({{"arm", name}});
        if (!row) return {"-", "-", "-", "-"};
        double const users = memory_.real(*row, "users");
        double const entries = memory_.real(*row, "predicted_user_bytes");
        double const payload = entries - memory_.real(*row, "padding_bytes");
        double const tokens = users * memory_.real(*row, "tokens_mean");
        bool const named = !arms_.text(arm, "model").empty() && !arms_.text(arm, "scope").empty();
        return {format_bytes(users > 0 ? entries / users : kNaN),
                format_bytes(tokens > 0 ? payload / tokens : kNaN),
                named ? ratio_text(memory_.real(*row, "real_ratio")) : "-",
                named ? ratio_text(memory_.real(*row, "paper_ratio")) : "-"};
    }

    /// First pass; starred when the report says that wall-clock figures are not comparable.
    std::vector<std::string> executed_cells(std::string const& name) {
        std::string star;
        std::string hit = "-";
        if (auto const row = executed_cache_.find({{"arm", name}})) {
            hit = format_percent(executed_cache_.real(*row, "hit_ratio"), 1);
            if (executed_cache_.integer(*row, "comparable") == 0) {
                star = "*";
                add_footnote("* executed times are not comparable: " +
                             printable(executed_cache_.text(*row, "reason")));
            }
        }
        auto const row = executed_.find({{"arm", name}, {"stage", "total"}});
        if (!row) return {"-", "-", hit};
        return {format_ns(executed_.real(*row, "p50_ns")) + star,
                format_ns(executed_.real(*row, "p99_ns")) + star, hit};
    }

    std::vector<std::string> fleet_cells(std::string const& name) const {
        auto const row = simulated_.find({{"arm", name}, {"platform", fleet_}, {"stage", "total"}});
        if (!row) return {"-", "-"};
        return {format_ns(simulated_.real(*row, "p50_ns")),
                format_ns(simulated_.real(*row, "p99_ns"))};
    }

    std::vector<std::string> accuracy_cells(std::size_t arm, std::string const& name) {
        if (arms_.integer(arm, "applies") == 0) {
            add_footnote(shorten(printable(name), 60) +
                         " was refused: " + printable(arms_.text(arm, "refusal")));
            return {"-", "-", "refused"};
        }
        auto const row = accuracy_.find({{"arm", name}});
        if (!row) return {"-", "-", "-"};
        return {format_fixed(accuracy_.real(*row, "auc"), 4), lift_text(accuracy_, *row),
                printable(accuracy_.text(*row, "verdict"))};
    }

    /// Everything scored that is no arm of the spec, and the oracle.
    [[nodiscard]] std::string control_block() const {
        TextTable table;
        table.add_column({"controls [measured]"}, Align::left);
        for (char const* name : {"AUC [95 %]", "gAUC [95 %]", "logloss", "lift kept [95 %]"})
            table.add_column({name}, Align::right);
        table.add_column({"verdict"}, Align::left);
        bool empty = true;
        for (std::size_t r = 0; r < accuracy_.rows(); ++r) {
            auto const& name = accuracy_.text(r, "arm");
            if (arms_.find({{"arm", name}})) continue;
            empty = false;
            table.add_row({shorten(printable(name), 32), interval_text(accuracy_, r, "auc"),
                           interval_text(accuracy_, r, "gauc"),
                           format_fixed(accuracy_.real(r, "logloss"), 4), lift_text(accuracy_, r),
                           printable(accuracy_.text(r, "verdict"))});
        }
        if (oracle_.rows() > 0) {
            empty = false;
            auto const value = [&](char const* metric) {
                auto const row = oracle_.find({{"metric", metric}});
                return format_fixed(row ? oracle_.real(*row, "value") : kNaN, 4);
            };
            table.add_row({"oracle (upper bound)", value("oracle_auc"), value("oracle_gauc"),
                           value("oracle_logloss"), "", ""});
        }
        return empty ? "" : "\n" + table.render(kTextWidth, 1);
    }

    [[nodiscard]] std::string footer() const {
        std::string out = "\n";
        if (accuracy_.rows() > 0) {
            out += "accuracy: " + format_integer(accuracy_.integer(0, "seeds")) +
                   " training seeds, " + format_integer(accuracy_.integer(0, "impressions")) +
                   " test impressions each; lift kept = (AUC - no history) / (full KV - no "
                   "history)\n";
        }
        if (memory_.rows() > 0) {
            out +=
                "memory: user entries alone; real = all stored bytes, paper = (d_u + 1) / d; "
                "shared pools and tables are in table memory_shared\n";
        }
        if (!fleet_.empty() && simulated_.rows() > 0) out += "fleet: " + printable(fleet_) + "\n";
        out += fidelity_line();
        for (auto const& footnote : footnotes_) out += footnote + "\n";
        return out;
    }

    /// Largest error of the simulated twin over the arms, beside the repeat error of that arm.
    [[nodiscard]] std::string fidelity_line() const {
        std::string parts;
        for (char const* metric : {"mean_ns", "p50_ns", "p99_ns"}) {
            std::optional<std::size_t> worst;
            for (std::size_t r = 0; r < fidelity_.rows(); ++r) {
                double const error = std::abs(fidelity_.real(r, "error_relative"));
                if (fidelity_.text(r, "metric") != metric || std::isnan(error)) continue;
                if (!worst || error > std::abs(fidelity_.real(*worst, "error_relative"))) worst = r;
            }
            if (!worst) continue;
            std::string const name(metric, std::string_view(metric).size() - 3);
            parts += (parts.empty() ? "" : ", ") + name + " " +
                     format_percent(fidelity_.real(*worst, "error_relative"), 1) + " (repeat " +
                     format_percent(fidelity_.real(*worst, "repeat_error_relative"), 1) + ")";
        }
        if (parts.empty()) return "";
        return "simulated against executed on this machine, worst arm: " + parts + "\n";
    }

    void add_footnote(std::string const& text) {
        if (std::find(footnotes_.begin(), footnotes_.end(), text) == footnotes_.end())
            footnotes_.push_back(text);
    }

    metrics::Report const& report_;
    TableView arms_, memory_, executed_, executed_cache_, simulated_, accuracy_, oracle_, fidelity_;
    std::string fleet_;
    std::vector<std::string> footnotes_;
};

}  // namespace

std::string comparison_table(metrics::Report const& report) {
    if (report.tables.contains("plan")) return plan_summary(report);
    if (report.tables.contains("fleet_cases")) return fleet_summary(report);
    if (report.tables.contains("fidelity_points")) return fidelity_summary(report);
    return Summary(report).render();
}

}  // namespace ckvsim::report
