// `ckvsim plan`: questions over ranks and threads, the journal, full re-runs, the report.
#include "app/plan_command.hpp"

#include <omp.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <exception>
#include <mutex>

#include "app/machine.hpp"
#include "app/plan_rows.hpp"
#include "app/progress.hpp"
#include "app/row.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "report/report_file.hpp"
#include "report/report_show.hpp"

namespace ckvsim::app {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// While it lives, SIGINT and SIGTERM say how to go on before they end the process.
class ResumeHint {
  public:
    explicit ResumeHint(std::string const& journal) {
        std::string const text = "\nckvsim: interrupted; the answers found so far are in " +
                                 journal + ". go on with the same command and --resume\n";
        bytes_ = std::min(text.size(), line_.size());
        std::memcpy(line_.data(), text.data(), bytes_);
        struct sigaction action {};
        action.sa_handler = on_signal;
        sigemptyset(&action.sa_mask);
        for (std::size_t i = 0; i < kSignals.size(); ++i)
            ::sigaction(kSignals[i], &action, &before_[i]);
    }
    ~ResumeHint() {
        for (std::size_t i = 0; i < kSignals.size(); ++i)
            ::sigaction(kSignals[i], &before_[i], nullptr);
    }
    ResumeHint(ResumeHint const&) = delete;
    ResumeHint& operator=(ResumeHint const&) = delete;

  private:
    static constexpr std::array kSignals = {SIGINT, SIGTERM};
    static void on_signal(int number) {
        [[maybe_unused]] auto const ignored = ::write(STDERR_FILENO, line_.data(), bytes_);
        for (std::size_t i = 0; i < kSignals.size(); ++i)
            if (kSignals[i] == number) ::sigaction(number, &before_[i], nullptr);
        ::raise(number);
    }
    // A handler has nothing else to read from.
    inline static std::array<char, 1024> line_{};
    inline static std::size_t bytes_ = 0;
    inline static std::array<struct sigaction, 2> before_{};
};

/// What this run did itself, for table plan_speed.
struct Part {
    char const* name;
    double seconds = 0.0;
    std::uint64_t questions = 0;
    std::uint64_t evaluations = 0;
    std::uint64_t requests = 0;
};

class Runner {
  public:
    Runner(Plan const& plan, comm::Communicator& comm, Progress& progress, PlanJournal& journal,
           PlanResults& results)
        : plan_(plan),
          comm_(comm),
          progress_(progress),
          journal_(journal),
          results_(results),
          solver_(plan) {}

    Part answers() {
        Part part{"answers"};
        auto const begin = Clock::now();
        std::vector<std::vector<std::size_t>> mine;
        for (std::size_t c = 0; c < plan_.chains.size(); ++c)
            if (is_mine(c)) mine.push_back(plan_.chains[c]);
        std::size_t total = 0;
        for (auto const& chain : mine) total += chain.size();
        std::size_t done = 0;
        work("answering", "questions of rank 0", mine.size(), [&](std::size_t i) {
            PlanAnswer before;
            bool first = true;
            for (auto const number : mine[i]) {
                bool known = false;
                PlanAnswer answer = known_answer(number, known);
                if (!known) answer = solver_.answer(plan_.jobs[number], first ? nullptr : &before);
                before = answer;
                first = false;
                std::lock_guard const lock(mutex_);
                if (!known) {
                    keep(to_line(answer));
                    ++part.questions;
                    part.evaluations += answer.evaluations;
                    part.requests += answer.requests;
                }
                progress_.update(++done, total);
            }
        });
        part.seconds = seconds_since(begin);
        return part;
    }

    Part checks() {
        Part part{"checks"};
        auto const begin = Clock::now();
        auto const best = best_jobs(plan_, results_);
        auto const jobs = jobs_to_check(plan_, results_);
        std::vector<std::size_t> mine;
        for (std::size_t i = 0; i < jobs.size(); ++i)
            if (is_mine(i) && !results_.checks.contains(jobs[i])) mine.push_back(jobs[i]);
        std::size_t done = 0;
        work("re-running in full", "fleets of rank 0", mine.size(), [&](std::size_t i) {
            auto const check = solver_.check(results_.answers.at(mine[i]),
                                             plan_.finalists && best.contains(mine[i]));
            std::lock_guard const lock(mutex_);
            keep(to_line(check));
            ++part.questions;
            progress_.update(++done, mine.size());
        });
        part.seconds = seconds_since(begin);
        return part;
    }

  private:
    [[nodiscard]] bool is_mine(std::size_t i) const {
        return static_cast<int>(i % static_cast<std::size_t>(comm_.size())) == comm_.rank();
    }
    PlanAnswer known_answer(std::size_t number, bool& known) const {
        auto const found = results_.answers.find(number);
        known = found != results_.answers.end();
        return known ? found->second : PlanAnswer{};
    }
    void keep(std::string const& line) {
        journal_.append(line);
        fresh_ += line + "\n";
    }
    /// Items over this rank's threads; then every rank has every rank's results.
    template <class Body>
    void work(std::string const& phase, std::string const& unit, std::size_t items, Body&& body) {
        progress_.begin(phase, unit);
        fresh_.clear();
        comm_.run_phase(phase, [&] {
            std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1)
            for (std::size_t i = 0; i < items; ++i) {
                try {
                    body(i);
                } catch (...) {
                    std::lock_guard const lock(mutex_);
                    failure = std::current_exception();
                }
            }
            if (failure) std::rethrow_exception(failure);
        });
        auto all = comm_.gather(std::as_bytes(std::span(fresh_.data(), fresh_.size())));
        comm_.broadcast(all);
        std::string const text(reinterpret_cast<char const*>(all.data()), all.size());
        for (std::size_t at = 0; at < text.size();) {
            auto const end = text.find('\n', at);
            validate(end != std::string::npos && results_.take(text.substr(at, end - at)),
                     "plan: an answer was not readable on another rank");
            at = end + 1;
        }
        progress_.end();
    }

    Plan const& plan_;
    comm::Communicator& comm_;
    Progress& progress_;
    PlanJournal& journal_;
    PlanResults& results_;
    PlanSolver solver_;
    std::mutex mutex_;
    std::string fresh_;
};

/// What an interrupted plan left; on every rank.
PlanResults known_results(comm::Communicator& comm, Plan const& plan, bool resume) {
    std::string lines;
    comm.run_phase("reading the journal", [&] {
        if (!comm.is_root() || !resume) return;
        std::vector<std::string> warnings;
        auto const known = read_journals(plan.output, plan.digest, warnings);
        for (auto const& warning : warnings)
            std::fprintf(stderr, "ckvsim: warning: %s\n", warning.c_str());
        for (auto const& [job, answer] : known.answers) lines += to_line(answer) + "\n";
        for (auto const& [job, check] : known.checks) lines += to_line(check) + "\n";
    });
    std::vector<std::byte> bytes(lines.size());
    if (!lines.empty()) std::memcpy(bytes.data(), lines.data(), lines.size());
    comm.broadcast(bytes);
    lines.assign(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    PlanResults results;
    for (std::size_t at = 0; at < lines.size();) {
        auto const end = lines.find('\n', at);
        results.take(lines.substr(at, end - at));
        at = end + 1;
    }
    return results;
}

/// Rank 0 first rewrites its journal with everything known; only then the others' old ones go.
std::unique_ptr<PlanJournal> open_journal(comm::Communicator& comm, Plan const& plan,
                                          PlanResults const& known) {
    std::unique_ptr<PlanJournal> journal;
    comm.run_phase("writing the journal", [&] {
        if (!comm.is_root()) return;
        journal = std::make_unique<PlanJournal>(plan.output, 0, plan.digest, known);
        remove_journals_of_others(plan.output);
    });
    comm.run_phase("writing the journal", [&] {
        if (!comm.is_root())
            journal =
                std::make_unique<PlanJournal>(plan.output, comm.rank(), plan.digest, PlanResults{});
    });
    return journal;
}

std::string text_of(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", value);
    return text;
}

void add_notes(metrics::Report& report, Plan const& plan) {
    auto const& p = plan.platform;
    report.notes.push_back("Load: " + plan.load_words + ".");
    if (p.kind == node::PlatformKind::nominal) {
        report.notes.push_back(
            "Nominal platform: rates come from data sheets times the stated efficiency; nothing "
            "was measured on such a node.");
    }
    if (plan.noise.size() == 1)
        report.notes.push_back("Service times do not vary (files.noise is empty).");
    if (p.cost_per_node_hour <= 0.0)
        report.notes.push_back("Cost: not given by the platform file (cost_per_node_hour).");
    if (p.busy_watts <= 0.0) {
        report.notes.push_back("Energy: not given by the platform file (busy_watts, idle_watts).");
    } else if (p.idle_watts <= 0.0) {
        report.notes.push_back(
            "Energy: an upper bound, nodes always drawing busy_watts; the platform file gives no "
            "idle_watts.");
    }
}

void add_attributes(metrics::Report& report, Plan const& plan, PlanResults const& results) {
    if (!results.checks.empty())
        report.table("plan_error").attributes["check_steps"] = std::to_string(kMostCheckSteps);
    auto& attributes = report.table("plan").attributes;
    auto const& p = plan.platform;
    attributes["slo"] = "p99 within " + text_of(plan.study.fleet.slo_ms) + " ms";
    attributes["load"] = plan.load_words;
    attributes["platform"] =
        p.name + (p.kind == node::PlatformKind::nominal ? " (nominal)" : " (measured)");
    attributes["calibration"] = p.digest;
    attributes["replicates"] = std::to_string(plan.replicates);
    attributes["requests"] = text_of(plan.sampling.requests);
    attributes["sample_users"] = std::to_string(plan.sampling.users);
    attributes["currency"] = p.cost_per_node_hour > 0.0 ? p.currency : "not given";
    attributes["cost_per_node_hour"] =
        p.cost_per_node_hour > 0.0 ? text_of(p.cost_per_node_hour) : "not given";
    attributes["watts"] = p.busy_watts <= 0.0 ? "not given"
                                              : (p.idle_watts > 0.0 ? text_of(p.idle_watts)
                                                                    : std::string("not given")) +
                                                    " idle, " + text_of(p.busy_watts) + " busy";
}

void finish(Plan const& plan, PlanResults const& results, std::vector<Part> const& parts,
            comm::Communicator& comm, Progress& progress, metrics::Report& report) {
    if (comm.is_root()) {
        report_plan(report, plan, results);
        add_attributes(report, plan, results);
        add_notes(report, plan);
        report.logical_hash = to_hex(plan_hash(results));
        for (auto const& [phase, seconds] : progress.phases())
            Row(report.table("phases")).set("phase", phase).set("seconds", seconds).add();
    }
    for (auto const& part : parts) {
        std::array<std::uint64_t, 3> sums = {part.questions, part.evaluations, part.requests};
        std::array<double, 1> most = {part.seconds};
        comm.sum(std::span<std::uint64_t>(sums));
        comm.max(std::span<double>(most));
        if (!comm.is_root()) continue;
        Row(report.table("plan_speed"))
            .set("part", std::string(part.name))
            .set("seconds", most[0])
            .set("questions", sums[0])
            .set("evaluations", sums[1])
            .set("requests", sums[2])
            .set("requests_per_core_s",
                 static_cast<double>(sums[2]) / (most[0] * comm.size() * omp_get_max_threads()))
            .add();
    }
    report.scores_hash = to_hex(0);
    report.spec_json = config::dump_fleet_study(plan.study);
    for (auto& [key, value] : machine_provenance()) report.provenance[key] = value;
    report.provenance["ranks"] = std::to_string(comm.size());
    report.provenance["mpi"] = comm::Runtime::library_version();
    report.provenance["seed"] = std::to_string(plan.study.fleet.seed);
    report.provenance["platform"] = plan.platform.name + " " + plan.platform.digest;
    report.provenance["plan"] = plan.digest;
    progress.begin("write " + plan.output);
    report::write_report(comm, plan.output, report, {});
    progress.end();
}

}  // namespace

int plan_command(comm::Communicator& comm, PlanOptions const& options) {
    if (options.threads > 0) omp_set_num_threads(options.threads);
    Plan plan;
    comm.run_phase("reading the plan", [&] { plan = make_plan(options); });
    comm.require_equal(hash_bytes(plan.digest.data(), plan.digest.size()), "the resolved plan");
    Progress progress(options.quiet || !comm.is_root());
    PlanResults results = known_results(comm, plan, options.resume);
    if (comm.is_root() && !results.answers.empty()) {
        progress.note("going on with " + std::to_string(results.answers.size()) + " of " +
                      std::to_string(plan.jobs.size()) + " answers from the journal");
    }
    auto journal = open_journal(comm, plan, results);
    metrics::Report report;
    {
        std::optional<ResumeHint> hint;
        if (comm.is_root()) hint.emplace(journal_path(plan.output, 0));
        Runner runner(plan, comm, progress, *journal, results);
        std::vector<Part> parts = {runner.answers()};
        parts.push_back(runner.checks());
        finish(plan, results, parts, comm, progress, report);
    }
    journal.reset();
    comm.barrier();
    if (comm.is_root()) {
        remove_journals(plan.output);
        std::printf("%s", report::plan_summary(report).c_str());
        for (auto const& note : report.notes) std::printf("note: %s\n", note.c_str());
        std::printf("hash/logical %s\nreport       %s\n", report.logical_hash.c_str(),
                    plan.output.c_str());
    }
    return 0;
}

}  // namespace ckvsim::app
