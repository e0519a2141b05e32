// What every event of a fleet case did: requests lost, the worst of it, the time to recover.
#include <algorithm>
#include <cmath>

#include "app/fleet_rows.hpp"
#include "app/row.hpp"

namespace ckvsim::app {

namespace {

using fleet::kSeriesBins;
using fleet::PartCounts;

constexpr double kHitTolerance = 0.01;
constexpr double kP99Tolerance = 1.1;
constexpr double kRefusedTolerance = 0.001;
constexpr std::size_t kBinsBefore = 10;  ///< at most, for the level before the event
constexpr std::size_t kBinsInARow = 3;   ///< good ones end a recovery

struct Level {
    PartCounts sum;
    std::size_t bins = 0;
    [[nodiscard]] double served() const {
        return static_cast<double>(sum.requests - sum.shed - sum.lost);
    }
    [[nodiscard]] double hit_ratio() const {
        return served() > 0.0 ? static_cast<double>(sum.hits) / served() : std::nan("");
    }
    [[nodiscard]] double refused() const {
        return sum.requests == 0
                   ? 0.0
                   : static_cast<double>(sum.shed + sum.lost) / static_cast<double>(sum.requests);
    }
    [[nodiscard]] double p99_ns() const { return sum.latency.quantile_ns(0.99); }
};

Level level(fleet::FleetResult const& result, std::size_t from, std::size_t to) {
    Level all;
    for (std::size_t b = from; b < to; ++b, ++all.bins) {
        auto const& bin = result.series[b];
        all.sum.requests += bin.requests;
        all.sum.hits += bin.hits;
        all.sum.shed += bin.shed;
        all.sum.lost += bin.lost;
        all.sum.made_bytes += bin.made_bytes;
        all.sum.latency.merge(bin.latency);
    }
    return all;
}

/// Answers, and with `hits` the caches behind them, are as before. A figure that a bin has too few
/// requests for says nothing against it.
bool as_before(Level const& bin, Level const& before, bool hits) {
    return !(hits && bin.hit_ratio() < before.hit_ratio() - kHitTolerance) &&
           !(bin.p99_ns() > before.p99_ns() * kP99Tolerance) &&
           bin.refused() <= before.refused() + kRefusedTolerance;
}

/// First of kBinsInARow bins that are as before, from `from` on; kSeriesBins when there is none.
std::size_t recovered(fleet::FleetResult const& result, Level const& before, std::size_t from,
                      bool hits) {
    std::size_t in_a_row = 0;
    for (std::size_t b = from; b < kSeriesBins; ++b) {
        in_a_row = as_before(level(result, b, b + 1), before, hits) ? in_a_row + 1 : 0;
        if (in_a_row == kBinsInARow) return b + 1 - kBinsInARow;
    }
    return kSeriesBins;
}

/// Bins of an event: the ones before it, its own, and the first that is as before again.
struct Bins {
    std::size_t first = 0;
    std::size_t last = 0;  ///< in which it ends
    std::size_t answers_back = kSeriesBins;
    std::size_t all_back = kSeriesBins;
    Level before;
};

/// From where on it is as before, after the first bin that is not.
std::size_t back(fleet::FleetResult const& result, Bins const& bins, bool hits) {
    std::size_t bad = bins.first;
    std::size_t const latest = std::min(bins.last + 2, kSeriesBins);  // it may show a bin late
    while (bad < latest && as_before(level(result, bad, bad + 1), bins.before, hits)) ++bad;
    return bad == latest ? bins.first
                         : recovered(result, bins.before, std::max(bad, bins.last), hits);
}

Bins bins_of(fleet::FleetResult const& result, double at, double ends, double measured_from,
             double duration) {
    auto const bin_at = [&](double t) {
        return std::min(static_cast<std::size_t>(std::max(t, 0.0) / duration * kSeriesBins),
                        kSeriesBins - 1);
    };
    Bins bins;
    bins.first = bin_at(at);
    bins.last = bin_at(ends);
    auto const start =
        static_cast<std::size_t>(std::ceil(measured_from / duration * kSeriesBins - 1e-9));
    if (start >= bins.first) return bins;
    bins.before =
        level(result, std::max(start, bins.first - std::min(bins.first, kBinsBefore)), bins.first);
    bins.answers_back = back(result, bins, false);
    bins.all_back = back(result, bins, true);
    return bins;
}

void add_event(metrics::Report& report, FleetCase const& item, FleetOutcome const& outcome,
               fleet::EventPlan const& plan, std::size_t index) {
    auto const& event = plan.events()[index];
    auto const& counts = outcome.result.events[index];
    double const at = plan.at_s(index);
    double const ends = event.mean_between > 0.0 ? outcome.duration_s : at + plan.lasts_s(index);
    auto const bins = bins_of(outcome.result, at, ends, outcome.duration_s - outcome.measured_s,
                              outcome.duration_s);
    std::size_t const until = std::min(std::max(bins.all_back, bins.last + 1), kSeriesBins);
    auto const during = level(outcome.result, bins.first, until);
    double lowest = std::nan("");
    double worst = std::nan("");
    for (std::size_t b = bins.first; b < until; ++b) {
        auto const bin = level(outcome.result, b, b + 1);
        lowest = std::fmin(lowest, bin.hit_ratio());
        worst = std::fmax(worst, bin.p99_ns());
    }
    double const usual = bins.before.bins == 0 ? 0.0
                                               : static_cast<double>(bins.before.sum.made_bytes) /
                                                     static_cast<double>(bins.before.bins);
    double const width = outcome.duration_s / kSeriesBins;
    auto const seconds_to = [&](std::size_t bin) {
        return bin == kSeriesBins ? std::nan("")
                                  : std::max(static_cast<double>(bin) * width - at, 0.0);
    };
    Row(report.table("fleet_events"))
        .set("case", item.number)
        .set("event", index)
        .set("kind", fleet::to_string(event.kind))
        .set("at_s", at)
        .set("ends_s", ends)
        .set("times", counts.times)
        .set("entries", counts.entries)
        .set("lost", counts.lost)
        .set("shed", during.sum.shed)
        .set("recover_s", seconds_to(bins.answers_back))
        .set("refill_s", seconds_to(bins.all_back))
        .set("hit_before", bins.before.hit_ratio())
        .set("hit_lowest", lowest)
        .set("p99_before_ns", bins.before.p99_ns())
        .set("p99_during_ns", during.p99_ns())
        .set("p99_worst_ns", worst)
        .set("refill_bytes", std::max(static_cast<double>(during.sum.made_bytes) -
                                          usual * static_cast<double>(during.bins),
                                      0.0))
        .set("swap_bytes", counts.swap_bytes)
        .add();
}

}  // namespace

void report_events(metrics::Report& report, FleetCase const& item, FleetOutcome const& outcome) {
    fleet::EventPlan const plan(item.fleet.events, {}, outcome.duration_s - outcome.measured_s,
                                outcome.duration_s, item.fleet.seed);
    for (std::size_t e = 0; e < plan.events().size(); ++e)
        add_event(report, item, outcome, plan, e);
}

}  // namespace ckvsim::app
