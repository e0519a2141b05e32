#include "app/plan_options.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>

#include "app/amounts.hpp"
#include "config/spec.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::app {

namespace {

char const* const kFooter =
    "Answers how many nodes every strategy of a fleet study needs within the SLO, with an "
    "interval,\n"
    "cost and energy; sim/docs/plan.md says how.\n"
    "Examples: ckvsim plan workloads/specs/plan.json --slo p99=30ms --users 1e7,1e8,1e9\n"
    "          mpirun -n 2 ckvsim plan workloads/specs/plan.json --nodes 8,64 --check 20 -o "
    "plan.h5\n"
    "          ckvsim plan workloads/specs/plan.json -o plan.h5 --resume     (after Ctrl-C)\n"
    "          ckvsim plan my-fleet.json --users 5e7 --rps 250000";

[[noreturn]] void refuse(std::string const& why) { throw Error(ExitCode::usage, "plan: " + why); }

double parse_number(std::string const& option, std::string const& text) {
    double value = 0.0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
        value <= 0.0)
        refuse(option + " " + text + ": give a number above 0, for example 250000");
    return value;
}

std::vector<double> parse_numbers(std::string const& option, std::string const& text) {
    std::vector<double> values;
    for (std::size_t begin = 0; begin <= text.size();) {
        auto const end = std::min(text.find(',', begin), text.size());
        values.push_back(parse_number(option, text.substr(begin, end - begin)));
        begin = end + 1;
    }
    return values;
}

std::string number_text(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", value);
    return text;
}

/// What a plan cannot answer is refused before anything runs.
void require_plannable(config::FleetStudy const& study, std::string const& file) {
    std::vector<ConfigProblem> problems;
    bool const away = study.fleet.routing.kind != fleet::RoutingKind::home ||
                      std::any_of(study.sweep.routing.begin(), study.sweep.routing.end(),
                                  [](auto kind) { return kind != fleet::RoutingKind::home; });
    if (away) {
        problems.push_back({"/fleet/routing/kind",
                            "plan evaluates one node of the fleet, which stands for all only where "
                            "users stay at home",
                            "home; try other kinds with ckvsim run on the planned fleet"});
    }
    if (study.fleet.traffic.shape != workload::ArrivalShape{}) {
        problems.push_back({"/traffic",
                            "plan sizes a fleet for a constant load; this one has time of day, "
                            "bursts or flash crowds",
                            "leave them out and give the load of the worst minute with --rps"});
    }
    if (study.fleet.start != fleet::StartState::stationary) {
        problems.push_back(
            {"/fleet/start", "plan is about fleets that have run for long", "stationary"});
    }
    if (!study.fleet.events.empty()) {
        problems.push_back({"/fleet/events", "plan sizes a fleet whose nodes stay as they are",
                            "leave them out; run them with ckvsim run on the planned fleet"});
    }
    if (!problems.empty()) throw ConfigError(file, problems);
}

/// Users and loads of the cases; says in words how the load follows from the users.
std::string set_population(config::FleetStudy& study, PlanOptions const& options) {
    if (!options.users.empty()) {
        study.sweep.users.clear();
        for (auto const users : parse_amounts("--users", options.users))
            study.sweep.users.push_back(static_cast<double>(users));
    }
    if (study.sweep.users.empty()) study.sweep.users = {static_cast<double>(study.fleet.users)};
    for (double const users : study.sweep.users)
        if (users < 1.0 || users > 1e10) refuse("--users " + number_text(users) + ": 1 to 1e10");
    std::sort(study.sweep.users.begin(), study.sweep.users.end());
    if (!options.rps.empty() && !options.rps_per_user.empty())
        refuse("--rps and --rps-per-user: give one of them");
    if (!options.rps.empty()) {
        study.sweep.requests_per_second = parse_numbers("--rps", options.rps);
        return "--rps " + options.rps + " requests/s whatever the users";
    }
    if (!options.rps_per_user.empty()) {
        double const each = parse_number("--rps-per-user", options.rps_per_user);
        study.sweep.requests_per_second.clear();
        study.fleet.traffic.requests_per_second = each * static_cast<double>(study.fleet.users);
        return number_text(each) + " requests/s per user (--rps-per-user)";
    }
    return number_text(study.fleet.traffic.requests_per_second /
                       static_cast<double>(study.fleet.users)) +
           " requests/s per user, as the spec has it (" +
           number_text(study.fleet.traffic.requests_per_second) + " for " +
           number_text(static_cast<double>(study.fleet.users)) + " users)";
}

/// All that two cases of one chain have in common.
std::string chain_key(FleetCase const& item, double spec_load) {
    return item.model.name + '|' + item.arm.name + '|' + number_text(item.catalogue_items) + '|' +
           std::to_string(item.candidates) + '|' + config::to_string(item.tiers) + '|' +
           fleet::to_string(item.policy) + '|' + number_text(item.efficiency) + '|' +
           number_text(spec_load);
}

void add_jobs(Plan& plan, std::vector<double> const& spec_loads,
              std::vector<std::uint64_t> const& fleets) {
    std::map<std::string, std::size_t> chain_of;
    for (std::size_t c = 0; c < plan.cases.size(); ++c) {
        auto const [at, added] =
            chain_of.emplace(chain_key(plan.cases[c], spec_loads[c]), plan.chains.size());
        if (added) plan.chains.emplace_back();
        plan.chains[at->second].push_back(plan.jobs.size());
        plan.jobs.push_back({plan.jobs.size(), c, 0});
    }
    for (std::size_t c = 0; c < plan.cases.size(); ++c) {
        for (auto const nodes : fleets) {
            plan.chains.push_back({plan.jobs.size()});
            plan.jobs.push_back({plan.jobs.size(), c, static_cast<std::uint32_t>(nodes)});
        }
    }
}

std::string digest_of(Plan const& plan) {
    std::string text = config::dump_fleet_study(plan.study) + plan.platform.digest;
    for (double const ratio : plan.noise) text += number_text(ratio) + ",";
    for (auto const& item : plan.cases)
        text += number_text(item.fleet.traffic.requests_per_second) + ";";
    for (auto const& job : plan.jobs) text += std::to_string(job.given_nodes) + ";";
    text += std::to_string(plan.replicates) + ";" + std::to_string(plan.sampling.users) + ";" +
            number_text(plan.sampling.requests) + ";" + std::to_string(plan.check) + ";" +
            (plan.finalists ? "1" : "0");
    return to_hex(hash_bytes(text.data(), text.size()));
}

}  // namespace

double parse_slo(std::string const& text) {
    auto const bad = [&]() { refuse("--slo " + text + ": write p99=30ms (ms, us or s)"); };
    if (!text.starts_with("p99=")) {
        if (text.starts_with("p")) refuse("--slo " + text + ": only p99 can be planned for");
        bad();
    }
    double value = 0.0;
    char const* const begin = text.data() + 4;
    auto const [end, error] = std::from_chars(begin, text.data() + text.size(), value);
    std::string const unit(end, text.data() + text.size());
    double const scale = unit == "ms" ? 1.0 : unit == "us" ? 1e-3 : unit == "s" ? 1e3 : 0.0;
    if (error != std::errc() || scale == 0.0 || !(value > 0.0) || !(value * scale < 1e7)) bad();
    return value * scale;
}

CLI::App* declare_plan(CLI::App& parent, PlanOptions& options) {
    auto* plan = parent.add_subcommand(
        "plan",
        "How many nodes a fleet needs within its SLO: smallest fleets, highest loads, costs");
    plan->footer(kFooter);
    plan->add_option("spec", options.spec, "Spec of a fleet study (\"study\": \"fleet\")")
        ->required();
    plan->add_option("--set", options.overrides,
                     "Override one value of the spec: /json/pointer=value; repeatable");
    plan->add_option("--slo", options.slo, "Limit, for example p99=30ms (default: fleet.slo_ms)");
    plan->add_option("--users", options.users,
                     "Populations, for example 1e7,1e8,1e9 (default: the spec's)");
    plan->add_option("--rps", options.rps,
                     "Loads of the whole fleet in requests/s, the same for all users (default: as "
                     "many per user as in the spec)");
    plan->add_option("--rps-per-user", options.rps_per_user,
                     "Load per user in requests/s, instead of the spec's");
    plan->add_option("--nodes", options.nodes,
                     "Also find the highest load of fleets of these sizes, for example 8,64");
    plan->add_option(
        "-o,--output", options.output,
        "Report file (default: results/local/<name>-plan.h5); the journal lies beside it");
    plan->add_flag("--resume", options.resume, "Go on where an interrupted plan stopped");
    plan->add_option("--replicates", options.replicates,
                     "Seeds that the interval rests on; 1 = no interval")
        ->capture_default_str()
        ->check(CLI::Range(1, 99));
    plan->add_option("--requests", options.requests, "Requests of one evaluation")
        ->capture_default_str();
    plan->add_option("--sample-users", options.sample_users, "Users that stand for a node's")
        ->capture_default_str();
    plan->add_option("--check", options.check,
                     "Also re-run so many further configurations in full (table plan_error)")
        ->check(CLI::Range(0, 100000));
    plan->add_flag("--finalists,!--no-finalists", options.finalists,
                   "Re-run the best configuration of every strategy in full (default)");
    plan->add_flag("-q,--quiet", options.quiet, "No progress on standard error");
    plan->add_option("-t,--threads", options.threads, "OpenMP threads per rank")
        ->check(CLI::Range(1, 4096));
    return plan;
}

Plan make_plan(PlanOptions const& options) {
    Plan plan;
    plan.study = config::load_fleet_study(options.spec, options.overrides);
    require_plannable(plan.study, options.spec);
    if (!options.slo.empty()) plan.study.fleet.slo_ms = parse_slo(options.slo);
    plan.load_words = set_population(plan.study, options);
    plan.study.sweep.nodes.clear();
    plan.platform = config::load_platform(plan.study.platform_path);
    plan.noise = load_noise(plan.study.noise_path);
    plan.replicates = options.replicates;
    plan.check = options.check;
    plan.finalists = options.finalists;
    plan.sampling.requests = static_cast<double>(parse_amount("--requests", options.requests));
    if (plan.sampling.requests < 2000.0)
        refuse("--requests " + options.requests + ": p99 needs 2000 requests and more");
    auto const sample = parse_amount("--sample-users", options.sample_users);
    if (sample < 1024 || sample > (1U << 24U))
        refuse("--sample-users " + options.sample_users + ": 1024 to 16777216");
    plan.sampling.users = static_cast<std::uint32_t>(sample);
    std::vector<std::uint64_t> fleets;
    if (!options.nodes.empty()) fleets = parse_amounts("--nodes", options.nodes);
    for (auto const nodes : fleets)
        if (nodes < 1 || nodes > 65536) refuse("--nodes " + std::to_string(nodes) + ": 1 to 65536");
    plan.cases = fleet_cases(plan.study, plan.platform);
    std::vector<double> spec_loads;
    for (auto& item : plan.cases) {
        auto& load = item.fleet.traffic.requests_per_second;
        spec_loads.push_back(load);
        if (options.rps.empty())
            load *=
                static_cast<double>(item.fleet.users) / static_cast<double>(plan.study.fleet.users);
    }
    add_jobs(plan, spec_loads, fleets);
    plan.output =
        !options.output.empty() ? options.output : "results/local/" + plan.study.name + "-plan.h5";
    plan.digest = digest_of(plan);
    return plan;
}

}  // namespace ckvsim::app
