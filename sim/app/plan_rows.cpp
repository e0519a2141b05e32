#include "app/plan_rows.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "app/row.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "fleet/plan_front.hpp"

namespace ckvsim::app {

namespace {

constexpr double kNotGiven = std::numeric_limits<double>::quiet_NaN();

FleetCase const& case_of(Plan const& plan, PlanJob const& job) {
    return plan.cases[job.case_number];
}

/// What is the same for all fleets that compete.
using Scenario =
    std::tuple<std::string, std::uint64_t, double, double, std::uint32_t, double, std::uint32_t>;
Scenario scenario_of(Plan const& plan, PlanJob const& job) {
    auto const& item = case_of(plan, job);
    return {item.model.name,
            item.fleet.users,
            job.given_nodes > 0 ? 0.0 : item.fleet.traffic.requests_per_second,
            item.catalogue_items,
            item.candidates,
            item.efficiency,
            job.given_nodes};
}

bool better(PlanAnswer const& a, PlanAnswer const& b, bool nodes) {
    if (!nodes && a.load != b.load) return a.load > b.load;
    if (a.nodes != b.nodes) return a.nodes < b.nodes;
    if (a.figures.p99_ns != b.figures.p99_ns) return a.figures.p99_ns < b.figures.p99_ns;
    return a.job < b.job;
}

fleet::PlanCosts costs_of(Plan const& plan, PlanAnswer const& answer) {
    if (!answer.feasible) return {kNotGiven, kNotGiven};
    return fleet::costs_per_million(plan.platform, answer.nodes, answer.load,
                                    answer.figures.busy[0]);
}

bool within(PlanAnswer const& answer, PlanCheck const& check) {
    return check.nodes_full >= answer.nodes_low && check.nodes_full <= answer.nodes_high;
}

std::string checked_words(PlanAnswer const& answer, PlanResults const& results) {
    if (!answer.feasible) return "";
    auto const found = results.checks.find(answer.job);
    if (found == results.checks.end() || !found->second.skipped.empty()) return "estimated";
    return within(answer, found->second) ? "re-run" : "re-run, differs";
}

void add_answer(metrics::Report& report, Plan const& plan, PlanResults const& results,
                PlanJob const& job, bool best) {
    auto const& a = results.answers.at(job.number);
    auto const& item = case_of(plan, job);
    auto const& keeping = item.arm.keeping;
    bool const pools = keeping.keeping == fleet::Keeping::collective ||
                       keeping.keeping == fleet::Keeping::collective_item;
    Row row(report.table("plan"));
    row.set("question", job.number)
        .set("find", std::string(job.given_nodes > 0 ? "load" : "nodes"))
        .set("model", item.model.name)
        .set("model_class", fleet::to_string(item.model.model_class))
        .set("strategy", item.arm.name)
        .set("keeping", fleet::to_string(keeping.keeping))
        .set("type", fleet::to_string(keeping.type))
        .set("d_u", pools ? keeping.d_u : 0U)
        .set("m", pools ? keeping.m : 0U)
        .set("users", static_cast<double>(item.fleet.users))
        .set("catalogue_items", item.catalogue_items)
        .set("candidates", item.candidates)
        .set("tiers", config::to_string(item.tiers))
        .set("policy", fleet::to_string(item.policy))
        .set("efficiency", item.efficiency)
        .set("applies", a.applies ? 1 : 0)
        .set("feasible", a.feasible ? 1 : 0)
        .set("reason", a.reason)
        .set("nodes", a.nodes)
        .set("nodes_low", a.nodes_low)
        .set("nodes_high", a.nodes_high)
        .set("requests_per_second", a.load)
        .set("memory_bound", a.memory_bound ? 1 : 0)
        .set("bound", a.bound)
        .set("best", best ? 1 : 0)
        .set("checked", checked_words(a, results))
        .set("users_simulated", a.users_simulated)
        .set("evaluations", a.evaluations)
        .set("requests", a.requests)
        .set("decision_hash", to_hex(a.figures.decision_hash));
    if (a.evaluations > 0) {
        auto const& f = a.figures;
        auto const costs = costs_of(plan, a);
        row.set("load_low", a.load_low)
            .set("load_high", a.load_high)
            .set("without_memory_limit", a.without_memory_limit)
            .set("hit_ratio", f.hit_ratio)
            .set("hbm_ratio", f.hbm_ratio)
            .set("p50_ns", f.p50_ns)
            .set("p99_ns", f.p99_ns)
            .set("sampling_factor", a.factor)
            .set("cost_per_million", costs.money)
            .set("energy_per_million", costs.energy_kwh);
        for (std::size_t d = 0; d < fleet::kDevices; ++d)
            row.set(fleet::to_string(static_cast<fleet::Device>(d)) + "_busy", f.busy[d]);
    }
    row.add();
}

struct Candidate {
    std::size_t job;
    PlanPoint point;
};

void add_front(metrics::Report& report, Plan const& plan, PlanResults const& results) {
    std::map<Scenario, std::vector<Candidate>> scenarios;
    for (auto const& job : plan.jobs) {
        if (job.given_nodes > 0) continue;
        for (auto const& point : results.answers.at(job.number).points)
            scenarios[scenario_of(plan, job)].push_back({job.number, point});
    }
    for (auto const& [scenario, candidates] : scenarios) {
        std::vector<fleet::PlanGoals> goals;
        for (auto const& c : candidates) {
            double const load = results.answers.at(c.job).load;
            auto const costs =
                fleet::costs_per_million(plan.platform, c.point.nodes, load, c.point.gpu_busy);
            goals.push_back({static_cast<double>(c.point.nodes), costs.money, costs.energy_kwh,
                             c.point.p99_ns});
        }
        for (auto const i : fleet::pareto_front(goals)) {
            auto const& c = candidates[i];
            auto const& item = case_of(plan, plan.jobs[c.job]);
            Row(report.table("plan_front"))
                .set("question", c.job)
                .set("nodes", c.point.nodes)
                .set("model", item.model.name)
                .set("strategy", item.arm.name)
                .set("tiers", config::to_string(item.tiers))
                .set("policy", fleet::to_string(item.policy))
                .set("users", static_cast<double>(item.fleet.users))
                .set("requests_per_second", results.answers.at(c.job).load)
                .set("p99_ns", c.point.p99_ns)
                .set("gpu_busy", c.point.gpu_busy)
                .set("cost_per_million", goals[i][1])
                .set("energy_per_million", goals[i][2])
                .add();
        }
    }
}

void add_error(metrics::Report& report, Plan const& plan, PlanResults const& results,
               PlanCheck const& check) {
    auto const& job = plan.jobs[check.job];
    auto const& item = case_of(plan, job);
    auto const& answer = results.answers.at(check.job);
    bool const ran = check.skipped.empty();
    Row row(report.table("plan_error"));
    row.set("question", check.job)
        .set("model", item.model.name)
        .set("strategy", item.arm.name)
        .set("tiers", config::to_string(item.tiers))
        .set("policy", fleet::to_string(item.policy))
        .set("users", static_cast<double>(item.fleet.users))
        .set("finalist", check.finalist ? 1 : 0)
        .set("skipped", check.skipped)
        .set("nodes", check.nodes)
        .set("nodes_full", check.nodes_full)
        .set("nodes_full_is", check.nodes_full_is)
        .set("nodes_agree", ran && check.nodes_full == check.nodes ? 1 : 0)
        .set("nodes_within", ran && within(answer, check) ? 1 : 0)
        .set("hit_ratio", check.sampled.hit_ratio)
        .set("p50_ns", check.sampled.p50_ns)
        .set("p99_ns", check.sampled.p99_ns)
        .set("users_simulated", check.users_simulated);
    if (ran) {
        auto const& busy = check.full.busy;
        auto const most =
            static_cast<std::size_t>(std::max_element(busy.begin(), busy.end()) - busy.begin());
        row.set("hit_ratio_full", check.full.hit_ratio)
            .set("hit_ratio_error", check.sampled.hit_ratio - check.full.hit_ratio)
            .set("p50_full_ns", check.full.p50_ns)
            .set("p50_error", check.sampled.p50_ns / check.full.p50_ns - 1.0)
            .set("p99_full_ns", check.full.p99_ns)
            .set("p99_error", check.sampled.p99_ns / check.full.p99_ns - 1.0)
            .set("busy_error", check.sampled.busy[most] / busy[most] - 1.0);
    }
    row.add();
}

}  // namespace

std::set<std::size_t> best_jobs(Plan const& plan, PlanResults const& results) {
    std::map<std::pair<Scenario, std::string>, std::size_t> best;
    for (auto const& job : plan.jobs) {
        auto const& answer = results.answers.at(job.number);
        if (!answer.feasible) continue;
        auto const key = std::pair{scenario_of(plan, job), case_of(plan, job).arm.name};
        auto const [at, added] = best.emplace(key, job.number);
        if (!added && better(answer, results.answers.at(at->second), job.given_nodes == 0))
            at->second = job.number;
    }
    std::set<std::size_t> jobs;
    for (auto const& [key, job] : best) jobs.insert(job);
    return jobs;
}

std::vector<std::size_t> jobs_to_check(Plan const& plan, PlanResults const& results) {
    auto const best = best_jobs(plan, results);
    std::vector<std::size_t> jobs;
    std::vector<std::size_t> others;
    for (auto const& job : plan.jobs) {
        if (job.given_nodes > 0 || !results.answers.at(job.number).feasible) continue;
        bool const finalist = plan.finalists && best.contains(job.number);
        (finalist ? jobs : others).push_back(job.number);
    }
    auto const wanted = std::min<std::size_t>(plan.check, others.size());
    for (std::size_t i = 0; i < wanted; ++i) jobs.push_back(others[i * others.size() / wanted]);
    std::sort(jobs.begin(), jobs.end());
    return jobs;
}

void report_plan(metrics::Report& report, Plan const& plan, PlanResults const& results) {
    auto const best = best_jobs(plan, results);
    for (auto const& job : plan.jobs)
        add_answer(report, plan, results, job, best.contains(job.number));
    add_front(report, plan, results);
    for (auto const& [job, check] : results.checks) add_error(report, plan, results, check);
}

std::uint64_t plan_hash(PlanResults const& results) {
    UnorderedHash hash;
    for (auto const& [job, answer] : results.answers) {
        auto const line = to_line(answer);
        hash.add(job, hash_bytes(line.data(), line.size()));
    }
    for (auto const& [job, check] : results.checks) {
        auto const line = to_line(check);
        hash.add(job ^ (std::uint64_t{1} << 40U), hash_bytes(line.data(), line.size()));
    }
    return hash.value();
}

}  // namespace ckvsim::app
