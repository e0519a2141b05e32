// ckvsim_test_report <out.h5> [variant]: writes a report of made-up numbers through the real
// writer, for the tests of scripts/plot. Its spec is named "fixture..." and a note says so: no
// figure drawn from it can pass for a result.
//
// Variants: base; other (the same arms with other numbers, for comparisons); sparse (memory only);
// gaps (NaN wherever a real column may hold it); no_power (the data cannot judge); leaked (a probe
// and an arm are suspicious); hostile (arm names with quotes, markup, TeX, control characters and
// 200 letters).
#include <cmath>
#include <iostream>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "core/error.hpp"
#include "report/report_file.hpp"

namespace {

using ckvsim::metrics::Cell;
using ckvsim::metrics::Report;
using ckvsim::metrics::Table;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kTokens = 300.0;
constexpr std::int64_t kUsers = 20000;
constexpr char kPlatform[] = "h100-node";
constexpr char kCalibration[] = "calibrated-host";

/// What one arm's rows are computed from.
struct Arm {
    std::string name, weights, strategy, keying, value_type;
    std::int64_t d_u, m;
    double bytes_per_token, shared_bytes;
    double decode_us;  ///< mean decode stage here; the other stages scale with bytes
    double lift, half_width;
    std::string verdict;
    bool exact;
};

std::vector<Arm> base_arms() {
    return {
        {"full_fp32", "full", "full", "user_token", "fp32", 0, 0, 2048, 9.1e6, 420, 1.0, 0.0,
         "reference", true},
        {"full_fp16", "full", "full", "user_token", "fp16", 0, 0, 1024, 9.1e6, 260, 0.999, 0.004,
         "equivalent", false},
        {"full_silu", "full_silu", "full", "user_token", "fp32", 0, 0, 2048, 9.1e6, 425, 1.03, 0.05,
         "equivalent", false},
        {"item_table", "full", "item_table", "item", "fp32", 0, 0, 4, 52e6, 610, 1.0, 0.0,
         "reference", true},
        {"recompute", "full", "recompute", "user_token", "fp32", 0, 0, 4, 9.1e6, 1900, 1.0, 0.0,
         "reference", true},
        {"collective_fp32", "collective", "collective", "user_token", "fp32", 1, 1000, 16, 11.1e6,
         150, 0.96, 0.055, "undecided", false},
        {"collective_fp16", "collective", "collective", "user_token", "fp16", 1, 1000, 8, 10.1e6,
         110, 0.958, 0.056, "undecided", false},
        {"collective_item", "collective", "collective", "item", "fp32", 1, 1000, 4, 11.5e6, 130,
         0.96, 0.055, "undecided", false},
        {"collective_m50", "collective", "collective", "user_token", "fp16", 1, 50, 8, 9.2e6, 90,
         0.71, 0.09, "worse", false},
    };
}

void make_hostile(std::vector<Arm>& arms) {
    arms[0].name = "full <b>&\"quoted\"</b>";
    arms[1].name = "$\\frac{1}{0}$ _^{";
    arms[2].name = "line\nbreak\ttab\x01";
    arms[3].name = std::string(200, 'w');
    arms[4].name = "\xE5\x85\xA8 \xD0\xBF\xD0\xBE\xD0\xBB\xD0\xBD\xD1\x8B\xD0\xB9";
    arms[5].name = "../../etc/passwd";
    arms[6].name = "a, \"b\"; c";
}

void add_memory(Report& report, std::vector<Arm> const& arms, double scale, bool gaps) {
    for (auto const& arm : arms) {
        bool const pooled = arm.m > 0;
        constexpr std::int64_t kNone = 0;  // neither low_rank nor vq
        auto const index_bytes = std::int64_t{pooled ? (arm.value_type == "fp16" ? 2 : 4) : 0};
        report.table("arms").add_row({arm.name,
                                      "SIM",
                                      arm.weights,
                                      arm.strategy,
                                      arm.keying,
                                      arm.value_type,
                                      index_bytes,
                                      "stored",
                                      kNone,
                                      kNone,
                                      kNone,
                                      "all",
                                      pooled ? "both" : "-",
                                      pooled ? "random" : "-",
                                      pooled ? "none" : "-",
                                      arm.d_u,
                                      arm.m,
                                      static_cast<double>(arm.m) / 24000.0,
                                      "encoded",
                                      kNone,
                                      std::int64_t{arm.exact},
                                      std::int64_t{1},
                                      ""});
        double const payload = arm.bytes_per_token * kTokens * static_cast<double>(kUsers) * scale;
        report.table("memory").add_row(
            {arm.name, kUsers, kTokens, static_cast<std::int64_t>(payload),
             gaps ? kNaN : payload * 1.01, gaps ? kNaN : payload * 1.004,
             static_cast<std::int64_t>(arm.shared_bytes), gaps ? kNaN : arm.shared_bytes,
             std::int64_t{0}, pooled ? 2.0 / 256 : 1.0, arm.bytes_per_token / 2048.0,
             arm.bytes_per_token / 2000.0, gaps ? kNaN : 0.004, "host memory"});
        for (double users = 1e4; users <= 1.001e9; users *= 10) {
            double const bytes = users * arm.bytes_per_token * kTokens * scale + arm.shared_bytes;
            bool const gap = gaps && (arm.strategy == "full" || users > 1e8);
            report.table("memory_curve").add_row({arm.name, users, gap ? kNaN : bytes});
        }
        report.table("memory_sections")
            .add_row({arm.name, "short", "values", arm.bytes_per_token, arm.bytes_per_token * 49});
        report.table("memory_shared")
            .add_row({arm.name, "embeddings", static_cast<std::int64_t>(arm.shared_bytes), kNaN});
    }
}

void add_metric(std::vector<Cell>& row, double value, double half_width) {
    row.insert(row.end(), {value, value - half_width, value + half_width});
}

struct Scored {
    std::string name, kind;
    double lift, half_width, bytes;
    std::string verdict;
};

std::vector<Scored> scored(std::vector<Arm> const& arms) {
    std::vector<Scored> all;
    all.reserve(arms.size());
    for (auto const& arm : arms)
        all.push_back(
            {arm.name, "arm", arm.lift, arm.half_width, arm.bytes_per_token, arm.verdict});
    all.push_back({"control.no_history", "control", 0.0, 0.0, kNaN, "worse"});
    all.push_back({"control.popularity", "control", -0.35, 0.14, kNaN, "worse"});
    all.push_back({"control.mean_pool", "control", 0.62, 0.08, kNaN, "worse"});
    all.push_back({"control.mean_keys", "control", 0.71, 0.07, kNaN, "worse"});
    all.push_back({"control.other_history", "control", -0.11, 0.09, kNaN, "worse"});
    all.push_back({"control.random_indices", "control", 0.18, 0.12, kNaN, "worse"});
    all.push_back({"control.m1", "control", 0.44, 0.1, kNaN, "worse"});
    all.push_back({"control.du0", "control", 0.91, 0.04, kNaN, "worse"});
    return all;
}

void add_accuracy(Report& report, std::vector<Arm> const& arms, double shift, bool gaps,
                  bool no_power) {
    constexpr double kNoHistory = 0.642;
    double const span = no_power ? 0.001 : 0.051;
    for (auto const& one : scored(arms)) {
        double const lift = one.lift + (one.half_width > 0 ? shift : 0.0);
        double const wide = one.half_width * (no_power ? 40 : 1);
        double const auc = kNoHistory + span * lift;
        bool const gap = gaps && one.kind == "arm" && one.verdict == "undecided";
        std::vector<Cell> row = {one.name, one.kind, std::int64_t{3}, std::int64_t{61000},
                                 std::int64_t{9800}};
        add_metric(row, auc, 0.0032);
        add_metric(row, auc - 0.021, 0.0035);
        add_metric(row, 0.43 - 0.1 * (auc - kNoHistory), 0.002);
        row.emplace_back(1.01);
        add_metric(row, gap ? kNaN : lift, gap ? kNaN : wide);
        add_metric(row, span * (lift - 1.0), span * one.half_width);
        row.emplace_back(no_power && one.half_width > 0 ? std::string("no_power") : one.verdict);
        row.emplace_back(wide);
        row.emplace_back(one.bytes);
        report.table("accuracy").add_row(std::move(row));
        for (std::int64_t seed = 1; seed <= 3; ++seed) {
            double const jitter = 0.0009 * static_cast<double>(seed - 2);
            report.table("accuracy_seeds")
                .add_row({one.name, seed, auc + jitter, auc - 0.021 + jitter, 0.43});
        }
    }
    report.table("oracle").add_row({"oracle_auc", 0.731});
    report.table("oracle").add_row({"oracle_gauc", 0.705});
    report.table("oracle").add_row({"oracle_logloss", 0.39});
}

void add_leakage(Report& report, std::vector<Arm> const& arms, bool leaked) {
    auto const add = [&](std::string const& score, char const* kind, double auc, double limit,
                         std::string const& verdict) {
        bool const probe = kind == std::string("probe");
        std::vector<Cell> row = {score, kind};
        add_metric(row, auc, 0.003);
        double const others = 0.02;
        row.emplace_back(probe ? others + 2 * (auc - 0.5) : kNaN);
        row.emplace_back(probe ? others : kNaN);
        row.emplace_back(limit);
        add_metric(row, auc - limit, 0.004);
        double const ratio = 2 * (auc - 0.5) - 4 * others;
        add_metric(row, probe ? ratio : kNaN, 0.006);
        row.emplace_back(verdict);
        report.table("leakage").add_row(std::move(row));
    };
    char const* const high = leaked ? "suspicious" : "informative";
    add("candidate_in_history", "probe", leaked ? 0.702 : 0.512, 0.545, high);
    add("candidate_newest", "probe", leaked ? 0.694 : 0.504, 0.545, high);
    add("candidate_earlier", "probe", 0.501, 0.545, "chance");
    for (auto const& arm : arms) {
        bool const above = leaked && arm.strategy == "collective";
        add(arm.name, "arm", above ? 0.76 : 0.69, 0.731, above ? "suspicious" : "plausible");
    }
}

struct StageMean {
    std::string name;
    double mean_ns;
};

std::vector<StageMean> stages(Arm const& arm, double speed) {
    double const decode = arm.decode_us * 1e3 * speed;
    return {{"queue", 0.35 * decode},
            {"fetch", arm.bytes_per_token * 90 * speed},
            {"prefill", arm.strategy == "recompute" ? 0.0 : 40e3 * speed},
            {"decode", decode},
            {"score", 120e3 * speed},
            {"host", 15e3 * speed}};
}

double total_ns(Arm const& arm, double speed) {
    double sum = 0;
    for (auto const& stage : stages(arm, speed)) sum += stage.mean_ns;
    return sum;
}

void add_latency_rows(Table& table, std::vector<Cell> const& key, Arm const& arm, double speed,
                      bool gaps) {
    auto all = stages(arm, speed);
    all.push_back({"total", total_ns(arm, speed)});
    for (auto const& stage : all) {
        auto row = key;
        bool const none = gaps && stage.name == "fetch";
        double const mean = none ? kNaN : stage.mean_ns;
        row.insert(row.end(), {stage.name, std::int64_t{none ? 0 : 48000}, mean, mean * 0.85,
                               mean * 1.7, gaps ? kNaN : mean * 3.1, kNaN,
                               none ? std::int64_t{0} : static_cast<std::int64_t>(mean * 6)});
        table.add_row(std::move(row));
    }
}

void add_cdf(Table& table, std::vector<Cell> const& key, Arm const& arm, double speed) {
    double const mean = total_ns(arm, speed);
    for (int percent = 1; percent <= 99; ++percent) {
        double const q = percent / 100.0;
        auto row = key;
        row.emplace_back(q);
        row.emplace_back(mean * 0.85 * std::exp(0.28 * std::log(q / (1.0 - q))));
        table.add_row(std::move(row));
    }
}

std::vector<Cell> cache_cells() {
    std::vector<Cell> cells;
    for (std::int64_t const value : {48000, 2000, 31000, 12000, 5000, 0, 900, 6000, 0, 1500000})
        cells.emplace_back(value);
    cells.insert(cells.end(), {43.0 / 48.0, 1900.0, 0.61});
    return cells;
}

void add_fidelity(Report& report, Arm const& arm, double error, bool gaps) {
    double const mean = total_ns(arm, 1.0);
    struct Line {
        std::string metric;
        double executed, repeat, simulated;
    };
    std::vector<Line> const lines = {
        {"mean_ns", mean, mean * 1.012, mean * (1 + error)},
        {"p50_ns", mean * 0.85, mean * 0.853, mean * 0.85 * (1 + 0.7 * error)},
        {"p99_ns", gaps ? kNaN : mean * 3.1, gaps ? kNaN : mean * 3.3,
         mean * 3.1 * (1 - 2 * error)},
        {"throughput_per_s", 1900, gaps ? kNaN : 1897, 1901},
        {"hit_ratio", 0.896, gaps ? kNaN : 0.8958, 0.897}};
    for (auto const& line : lines) {
        report.table("fidelity")
            .add_row({arm.name, line.metric, line.executed, line.repeat, line.simulated,
                      line.simulated / line.executed - 1.0, line.repeat / line.executed - 1.0});
    }
}

void add_serving(Report& report, std::vector<Arm> const& arms, double speed, bool gaps) {
    double error = -0.02;
    for (auto const& arm : arms) {
        for (std::int64_t pass = 1; pass <= 2; ++pass) {
            add_latency_rows(report.table("executed_latency"), {arm.name, pass}, arm, speed, gaps);
            std::vector<Cell> row = {arm.name, pass};
            for (auto& cell : cache_cells()) row.push_back(std::move(cell));
            row.insert(row.end(), {std::int64_t{gaps ? 0 : 1},
                                   std::string(gaps ? "2 logical nodes on 1 ranks" : "")});
            report.table("executed_cache").add_row(std::move(row));
        }
        add_cdf(report.table("executed_cdf"), {arm.name}, arm, speed);
        for (auto const& [platform, factor] :
             {std::pair{kCalibration, speed * 1.02}, std::pair{kPlatform, speed * 0.06}}) {
            add_latency_rows(report.table("simulated_latency"), {arm.name, platform}, arm, factor,
                             gaps);
            add_cdf(report.table("simulated_cdf"), {arm.name, platform}, arm, factor);
        }
        // One arm where the simulation is far off: a plot must show it without hiding the others.
        add_fidelity(report, arm, arm.strategy == "recompute" ? 0.45 : error, gaps);
        error += 0.009;
    }
    for (auto const* name : {"simulated_latency", "fidelity", "simulated_cdf"})
        report.table(name).attributes["calibration"] = "0011223344556677 8899aabbccddeeff";
}

void add_workload(Report& report) {
    for (std::int64_t low = 0, users = 300; low <= 512; low = low == 0 ? 1 : low * 2) {
        std::int64_t const high = low == 0 ? 0 : low * 2 - 1;
        report.table("history_lengths").add_row({low, high, users});
        users = low < 128 ? users * 3 / 2 + 40 : users / 2;
    }
    double cumulative = 0;
    std::int64_t next = 1;
    for (std::int64_t rank = 1; rank <= 20000; ++rank) {
        double const share = 0.045 * std::pow(static_cast<double>(rank) + 2.0, -0.86);
        cumulative += share;
        if (rank != next) continue;
        report.table("popularity").add_row({rank, share, std::min(cumulative, 1.0)});
        next = std::to_string(rank)[0] == '2' ? rank * 5 / 2 : rank * 2;
    }
    report.table("workload").add_row({"users", static_cast<double>(kUsers), "1"});
    report.table("workload").add_row({"items in the catalogue (V)", 24000.0, "1"});
    report.table("workload")
        .add_row({"history events", kTokens * static_cast<double>(kUsers), "1"});
    report.table("workload").add_row({"history events per user", kTokens, "1"});
}

std::string spec_json(std::string const& name) {
    return "{\"name\": \"" + name +
           "\", \"measurements\": {\"accuracy\": {\"margin\": 0.03}}, \"fleet\": {\"nodes\": 2, "
           "\"platform_node\": "
           "{\"hbm_cache_bytes\": 80000000000, \"dram_cache_bytes\": 2000000000000}}}";
}

Report make(std::string const& variant) {
    bool const gaps = variant == "gaps";
    bool const other = variant == "other";
    Report report;
    report.spec_json = spec_json(variant == "base" ? "fixture" : "fixture-" + variant);
    report.logical_hash = other ? "fedcba9876543210" : "0123456789abcdef";
    report.scores_hash = "0000000000000000";
    report.provenance = {{"commit", "0000000000000000000000000000000000000000"},
                         {"dirty", other ? "yes" : "no"},
                         {"cpu", "Made-up CPU @ 2.00GHz"},
                         {"host", "fixture"},
                         {"ranks", "2"},
                         {"threads_per_rank", "1"},
                         {"date_utc", "2020-01-01T00:00:00Z"},
                         {"platform", std::string(kPlatform) + " 8899aabbccddeeff"},
                         {"calibration", std::string(kCalibration) + " 0011223344556677"}};
    report.notes = {"Made-up numbers for tests of the plots."};
    auto arms = base_arms();
    if (variant == "hostile") make_hostile(arms);
    add_memory(report, arms, other ? 1.6 : 1.0, gaps);
    if (variant == "sparse") return report;
    add_accuracy(report, arms, other ? -0.02 : 0.0, gaps, variant == "no_power");
    add_leakage(report, arms, variant == "leaked");
    add_serving(report, arms, other ? 1.3 : 1.0, gaps);
    add_workload(report);
    // As a version would have written it that did not know this column.
    if (variant == "older") report.tables.at("fidelity").absent = {"repeat_error_relative"};
    return report;
}

}  // namespace

int main(int argc, char** argv) {
    std::set<std::string> const variants = {"base",     "other",  "sparse",  "gaps",
                                            "no_power", "leaked", "hostile", "older"};
    std::string const variant = argc > 2 ? argv[2] : "base";
    if (argc < 2 || variants.count(variant) == 0) {
        std::cerr << "usage: ckvsim_test_report <out.h5> "
                     "[base|other|sparse|gaps|no_power|leaked|hostile|older]\n";
        return static_cast<int>(ckvsim::ExitCode::usage);
    }
    try {
        auto const comm = ckvsim::comm::make_serial();
        ckvsim::report::write_report(*comm, argv[1], make(variant), {});
    } catch (ckvsim::Error const& error) {
        std::cerr << error.what() << '\n';
        return static_cast<int>(error.exit_code());
    }
    return 0;
}
