#include "app/plan_solve.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::app {

namespace {

using fleet::Device;
using fleet::FleetStage;
using fleet::PlanProbe;

constexpr std::uint32_t kMostNodes = 65536;
constexpr double kMostNodeLoad = 1e9;   ///< requests/s of a node; nothing carries more
constexpr double kLeastNodeLoad = 0.1;  ///< longer gaps say nothing about latency
constexpr double kFirstNodeLoad = 1e5;  ///< a chain's first guess
constexpr std::uint64_t kMostFullUsers = 60'000'000;  ///< of one node in a full run: 1 GB
// Verdicts this far from the limit need no second seed: five standard errors of the work that 10^5
// requests bring (sim/docs/plan.md).
constexpr double kSurelyCarried = 0.9;
constexpr double kSurelyInTime = 0.8;
constexpr double kSurelyTooMuch = 1.1;

std::string number_text(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value);
    return text;
}

/// One evaluation.
struct Trial {
    FleetOutcome outcome;
    double factor = 1.0;
    bool good = false;
    double pressure = 1.0;
    double p99_ns = 0.0;
    double most_busy = 0.0;
    bool certain = false;
};

PlanFigures figures_of(FleetOutcome const& outcome) {
    auto const& r = outcome.result;
    auto const& total = r.latency[static_cast<std::size_t>(FleetStage::total)];
    double const looked = static_cast<double>(r.offered - r.shed);
    PlanFigures f;
    f.p50_ns = total.quantile_ns(0.5);
    f.p99_ns = total.quantile_ns(0.99);
    f.hit_ratio =
        1.0 -
        static_cast<double>(r.found[static_cast<std::size_t>(fleet::Residence::none)]) / looked;
    f.hbm_ratio =
        static_cast<double>(r.found[static_cast<std::size_t>(fleet::Residence::hbm)]) / looked;
    f.busy = outcome.busy();
    f.decision_hash = r.decision_hash;
    return f;
}

/// What gives out first, in words.
std::string bound_words(FleetOutcome const& outcome) {
    auto const& r = outcome.result;
    auto const busy = outcome.busy();
    auto const most =
        static_cast<std::size_t>(std::max_element(busy.begin(), busy.end()) - busy.begin());
    double const reads =
        static_cast<double>(r.nvme_read_bytes) * outcome.setup.ns_per_nvme_read_byte;
    double const writes =
        static_cast<double>(r.nvme_write_bytes) * outcome.setup.ns_per_nvme_write_byte;
    std::array<char const*, fleet::kDevices> const words = {
        "GPU time", "transfers to the GPUs", "transfers from the GPUs",
        writes > reads ? "flash writes" : "flash reads", "the network"};
    // A device at nine tenths queues; below that the latency itself says where it comes from.
    if (busy[most] >= kSurelyCarried) return words[most];
    if (r.shed * 1000 > r.offered) return std::string("full queues, ") + words[most] + " first";
    static constexpr std::array kStages = {"waiting for entries",        "waiting for a batch",
                                           "prefilling misses",          "appending events",
                                           "attention over the history", "scoring"};
    std::size_t longest = 0;
    double longest_ns = -1.0;
    for (std::size_t s = 0; s < kStages.size(); ++s) {
        auto const& sketch = r.latency[s];
        if (sketch.count() == 0) continue;
        double const p99 = sketch.quantile_unchecked_ns(0.99);
        if (p99 > longest_ns) longest = s, longest_ns = p99;
    }
    return std::string("latency: ") + kStages[longest];
}

/// Seeds of further replicates have nothing to do with the first one's.
std::uint64_t seed_of(std::uint64_t seed, std::uint32_t replicate) {
    return replicate == 0 ? seed : mix64(seed ^ mix64(0x9B1A4E2F00000000ULL + replicate));
}

/// Evaluates fleets of one case.
class Evaluator {
  public:
    Evaluator(Plan const& plan, FleetCase const& item, FleetCaseSetup const& setup)
        : plan_(plan), item_(item), setup_(setup) {
        fleet::FleetUsers const users(1, 1, item.fleet.activity, item.fleet.history,
                                      item.fleet.seed);
        mean_bytes_ = users.mean_over_lengths([&](std::uint32_t events) {
            return static_cast<double>(
                setup.costs.entry_bytes(std::min(events, setup.costs.max_interactions())));
        });
    }
    [[nodiscard]] double mean_entry_bytes() const { return mean_bytes_; }

    Trial operator()(std::uint32_t nodes, double load, std::uint32_t replicate) const {
        auto params = item_.fleet;
        params.nodes = nodes;
        params.traffic.requests_per_second = load;
        params.seed = seed_of(params.seed, replicate);
        auto const& study = plan_.study;
        auto const sampled =
            fleet::sample_node(params, setup_.setup, mean_bytes_, plan_.sampling,
                               study.warmup_share, study.least_slos * params.slo_ms * 1e-3);
        Trial trial;
        trial.factor = sampled.factor;
        auto& outcome = trial.outcome;
        outcome.result = fleet::run_fleet(sampled.params, sampled.setup, setup_.costs, {});
        outcome.setup = sampled.setup;
        outcome.simulated_requests = outcome.result.offered + outcome.result.warmup_requests;
        outcome.requests_per_second = load;
        outcome.nodes = nodes;
        outcome.simulated_nodes = 1;
        outcome.duration_s = sampled.params.traffic.duration_s;
        outcome.measured_s = outcome.duration_s - sampled.params.warmup_s;
        judge(trial);
        return trial;
    }

  private:
    void judge(Trial& trial) const {
        auto const& r = trial.outcome.result;
        trial.good = meets_slo(plan_.study, trial.outcome);
        auto const busy = trial.outcome.busy();
        trial.most_busy = *std::max_element(busy.begin(), busy.end());
        trial.p99_ns = r.latency[static_cast<std::size_t>(FleetStage::total)].quantile_ns(0.99);
        // What was shed would have been work, too.
        double const kept = r.offered == 0 ? 1.0
                                           : static_cast<double>(r.offered - r.shed) /
                                                 static_cast<double>(r.offered);
        trial.pressure = trial.most_busy / std::max(kept, 0.05);
        trial.certain = trial.good
                            ? trial.most_busy <= kSurelyCarried && r.shed == 0 &&
                                  trial.p99_ns <= kSurelyInTime * plan_.study.fleet.slo_ms * 1e6
                            : trial.most_busy >= kSurelyTooMuch;
    }

    Plan const& plan_;
    FleetCase const& item_;
    FleetCaseSetup const& setup_;
    double mean_bytes_ = 0.0;
};

/// Why no fleet can serve the case, from formulas alone.
std::optional<std::string> hopeless(Plan const& plan, FleetCase const& item,
                                    FleetCaseSetup const& setup) {
    double const least_ms = setup.least_request_ms();
    if (plan.study.fleet.slo_ms < least_ms) {
        return "one request without history takes " + number_text(least_ms) +
               " ms on an idle GPU: more than the SLO";
    }
    if (setup.largest_tier_bytes() < setup.costs.entry_bytes(item.model.max_interactions)) {
        return "no tier has room for one entry of " +
               std::to_string(setup.costs.entry_bytes(item.model.max_interactions)) + " bytes";
    }
    return std::nullopt;
}

/// Evaluations of one question by grid point and replicate, each made once.
class Search {
  public:
    Search(fleet::PlanGrid grid, std::function<Trial(double ease, std::uint32_t)> evaluate)
        : grid_(std::move(grid)), evaluate_(std::move(evaluate)) {}

    fleet::PlanFound run(std::size_t start, std::uint32_t replicates) {
        return fleet::find_hardest_good(
            grid_, start, replicates, [&](std::size_t index, std::uint32_t replicate) {
                auto const& trial = at(index, replicate);
                return PlanProbe{trial.good, trial.certain, trial.pressure};
            });
    }
    Trial const& at(std::size_t index, std::uint32_t replicate) {
        auto& slot = trials_[{index, replicate}];
        if (!slot) {
            slot = std::make_unique<Trial>(evaluate_(grid_.ease(index), replicate));
            ++evaluations;
            requests += slot->outcome.simulated_requests;
        }
        return *slot;
    }
    [[nodiscard]] fleet::PlanGrid const& grid() const { return grid_; }
    /// The hardest points around the answer that failed, and those that were good.
    [[nodiscard]] auto const& trials() const { return trials_; }

    std::uint64_t evaluations = 0;
    std::uint64_t requests = 0;

  private:
    fleet::PlanGrid grid_;
    std::function<Trial(double, std::uint32_t)> evaluate_;
    std::map<std::pair<std::size_t, std::uint32_t>, std::unique_ptr<Trial>> trials_;
};

/// What gives out one step harder than the answer; what is busiest where nothing is harder.
std::string bound_of(Search& search, fleet::PlanFound const& found) {
    if (!found.feasible) return "";
    Trial const* failing = nullptr;
    for (auto const& [key, trial] : search.trials())
        if (key.first < found.index && !trial->good) failing = trial.get();
    return failing == nullptr ? std::string("nothing") : bound_words(failing->outcome);
}

std::uint32_t nodes_at(double ease) { return static_cast<std::uint32_t>(std::lround(ease)); }

void fill_common(PlanAnswer& answer, Search& search, fleet::PlanFound const& found) {
    auto const& trial = search.at(found.index, 0);
    answer.feasible = found.feasible;
    answer.figures = figures_of(trial.outcome);
    answer.factor = trial.factor;
    answer.users_simulated = trial.outcome.result.simulated_users;
    answer.bound = bound_of(search, found);
    answer.evaluations = search.evaluations;
    answer.requests = search.requests;
}

void solve_nodes(PlanAnswer& answer, Plan const& plan, FleetCase const& item,
                 Evaluator const& evaluate, std::uint32_t guess) {
    double const load = item.fleet.traffic.requests_per_second;
    auto const most = static_cast<std::uint32_t>(
        std::clamp(std::min(static_cast<double>(item.fleet.users), load / kLeastNodeLoad), 1.0,
                   static_cast<double>(kMostNodes)));
    Search search(fleet::PlanGrid::of_nodes(most), [&](double ease, std::uint32_t replicate) {
        return evaluate(nodes_at(ease), load, replicate);
    });
    auto const found = search.run(search.grid().index_of(guess), plan.replicates);
    fill_common(answer, search, found);
    auto const& grid = search.grid();
    answer.load = answer.load_low = answer.load_high = load;
    answer.nodes = nodes_at(grid.ease(found.index));
    answer.nodes_high = nodes_at(grid.ease(found.highest));
    // Between two grid points more than one node apart the answer is not known.
    answer.nodes_low = found.lowest == 0 ? 1 : nodes_at(grid.ease(found.lowest - 1)) + 1;
    if (!found.feasible) {
        answer.reason = "even " + std::to_string(answer.nodes) + " nodes miss the SLO (p99 " +
                        number_text(answer.figures.p99_ns * 1e-6) +
                        " ms): " + bound_words(search.at(found.index, 0).outcome);
        return;
    }
    for (auto const& [key, trial] : search.trials()) {
        if (key.second != 0 || !trial->good || key.first < found.index) continue;
        auto const nodes = nodes_at(grid.ease(key.first));
        if (nodes > 4 * answer.nodes) continue;
        answer.points.push_back({nodes, trial->p99_ns, trial->outcome.busy()[0]});
    }
}

void solve_load(PlanAnswer& answer, Plan const& plan, FleetCase const& item,
                Evaluator const& evaluate, std::uint32_t nodes) {
    Search search(fleet::PlanGrid::of_loads(kMostNodeLoad * nodes, kLeastNodeLoad * nodes),
                  [&](double ease, std::uint32_t replicate) {
                      return evaluate(nodes, 1.0 / ease, replicate);
                  });
    auto const found = search.run(
        search.grid().index_of(1.0 / item.fleet.traffic.requests_per_second), plan.replicates);
    fill_common(answer, search, found);
    auto const& grid = search.grid();
    answer.nodes = answer.nodes_low = answer.nodes_high = nodes;
    answer.load = 1.0 / grid.ease(found.index);
    answer.load_low = 1.0 / grid.ease(found.highest);
    answer.load_high = 1.0 / grid.ease(found.lowest == 0 ? 0 : found.lowest - 1);
    if (!found.feasible) {
        answer.reason = "no load meets the SLO: even " + number_text(answer.load) +
                        " requests/s miss it: " + bound_words(search.at(found.index, 0).outcome);
    }
}

}  // namespace

double PlanSolver::node_load_without_memory_limit(FleetCase const& item,
                                                  FleetCaseSetup const& setup) {
    std::string const key = item.model.name + '|' + item.arm.name + '|' +
                            number_text(item.catalogue_items) + '|' +
                            std::to_string(item.candidates) + '|' + number_text(item.efficiency);
    {
        std::lock_guard const lock(mutex_);
        auto const known = node_loads_.find(key);
        if (known != node_loads_.end()) return known->second;
    }
    FleetCase everybody = item;
    everybody.fleet.users = plan_.sampling.users;
    FleetCaseSetup roomy = setup;
    roomy.setup = fleet::without_memory_limit(setup.setup);
    Evaluator const evaluate(plan_, everybody, roomy);
    Search search(fleet::PlanGrid::of_loads(kMostNodeLoad, kLeastNodeLoad),
                  [&](double ease, std::uint32_t) { return evaluate(1, 1.0 / ease, 0); });
    auto const found = search.run(search.grid().index_of(1.0 / kFirstNodeLoad), 1);
    double const load = found.feasible ? 1.0 / search.grid().ease(found.index) : 0.0;
    std::lock_guard const lock(mutex_);
    return node_loads_.emplace(key, load).first->second;
}

PlanAnswer PlanSolver::answer(PlanJob const& job, PlanAnswer const* before) {
    FleetCase const& item = plan_.cases[job.case_number];
    PlanAnswer answer;
    answer.job = job.number;
    answer.nodes = job.given_nodes;
    double const load = item.fleet.traffic.requests_per_second;
    answer.load = load;
    if (item.refusal) {
        answer.applies = false;
        answer.reason = *item.refusal;
        return answer;
    }
    std::optional<FleetCaseSetup> setup;
    try {
        setup.emplace(plan_.study, plan_.platform, plan_.noise, item);
    } catch (ConfigError const& error) {
        answer.reason = error.problems().empty() ? error.what() : error.problems().front().message;
        return answer;
    }
    if (auto const why = hopeless(plan_, item, *setup)) {
        answer.reason = *why;
        return answer;
    }
    Evaluator const evaluate(plan_, item, *setup);
    double const node_load = node_load_without_memory_limit(item, *setup);
    if (job.given_nodes > 0) {
        solve_load(answer, plan_, item, evaluate, job.given_nodes);
        answer.without_memory_limit = node_load * job.given_nodes;
        // Both are found to 2 %.
        answer.memory_bound =
            answer.feasible && answer.load_high * 1.02 < answer.without_memory_limit;
        return answer;
    }
    double guess = load / (node_load > 0.0 ? node_load : kFirstNodeLoad);
    if (before != nullptr && before->feasible) {
        auto const& smaller = plan_.cases[plan_.jobs[before->job].case_number];
        guess = before->nodes * static_cast<double>(item.fleet.users) /
                static_cast<double>(smaller.fleet.users);
    }
    solve_nodes(answer, plan_, item, evaluate,
                static_cast<std::uint32_t>(std::clamp(std::ceil(guess), 1.0, 1.0 * kMostNodes)));
    answer.without_memory_limit = node_load > 0.0 ? std::ceil(load / node_load) : std::nan("");
    answer.memory_bound = answer.feasible && answer.nodes_low > answer.without_memory_limit;
    return answer;
}

PlanCheck PlanSolver::check(PlanAnswer const& answer, bool finalist) {
    FleetCase item = plan_.cases[plan_.jobs[answer.job].case_number];
    PlanCheck check;
    check.job = answer.job;
    check.finalist = finalist;
    check.nodes = answer.nodes;
    check.sampled = answer.figures;
    FleetCaseSetup const setup(plan_.study, plan_.platform, plan_.noise, item);
    item.fleet.sampled_nodes = 1;
    auto const run = [&](std::uint32_t nodes, bool keep) {
        FleetCase trial = item;
        trial.fleet.nodes = nodes;
        auto const outcome =
            outcome_of(plan_.study, trial, setup, run_case(plan_.study, trial, setup, {}, {}));
        if (keep) {
            check.full = figures_of(outcome);
            check.users_simulated = outcome.result.simulated_users;
        }
        return meets_slo(plan_.study, outcome);
    };
    auto const grid = fleet::PlanGrid::of_nodes(
        static_cast<std::uint32_t>(std::min<std::uint64_t>(kMostNodes, item.fleet.users)));
    std::size_t at = grid.index_of(answer.nodes);
    auto const too_many = [&](std::uint32_t nodes) {
        return item.fleet.users / nodes > kMostFullUsers;
    };
    if (too_many(answer.nodes)) {
        check.skipped = std::to_string(item.fleet.users / answer.nodes) +
                        " users on a node are more than a full run takes (" +
                        std::to_string(kMostFullUsers) + ")";
        return check;
    }
    bool good = run(answer.nodes, true);
    bool const up = !good;
    check.nodes_full_is = up ? "above" : "below";
    auto const found = [&](char const* is) {
        check.nodes_full = nodes_at(grid.ease(at));
        check.nodes_full_is = is;
    };
    for (int step = 0; step < kMostCheckSteps; ++step) {
        if (up) {
            if (good || at + 1 == grid.size()) break;
            good = run(nodes_at(grid.ease(++at)), false);
            if (good) found("exact");
        } else {
            bool const untried = at > 0 && too_many(nodes_at(grid.ease(at - 1)));
            if (at == 0 || untried || !run(nodes_at(grid.ease(at - 1)), false)) {
                found(untried ? "at most" : "exact");
                break;
            }
            --at;
        }
    }
    return check;
}

}  // namespace ckvsim::app
