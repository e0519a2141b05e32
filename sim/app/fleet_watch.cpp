#include "app/fleet_watch.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file_lock.hpp"

namespace ckvsim::app {

namespace {

using Json = nlohmann::ordered_json;

constexpr double kRunningPeriod_s = 10.0;  // a day of running makes a file of 3 MB

double p99_ms(fleet::FleetResult const& result) {
    return result.latency[static_cast<std::size_t>(fleet::FleetStage::total)].quantile_ns(0.99) *
           1e-6;
}

double hit_ratio(fleet::FleetResult const& result) {
    auto const looked = static_cast<double>(result.offered - result.shed - result.lost);
    auto const missed =
        static_cast<double>(result.found[static_cast<std::size_t>(fleet::Residence::none)]);
    return looked > 0.0 ? 1.0 - missed / looked : std::nan("");
}

/// "p99 12.3 ms, hits 91.2 %"; what has too few samples is left out.
std::string figures_text(fleet::FleetResult const& result) {
    std::string words;
    char text[64];
    if (double const p99 = p99_ms(result); std::isfinite(p99)) {
        std::snprintf(text, sizeof text, "p99 %.3g ms", p99);
        words = text;
    }
    if (double const hits = hit_ratio(result); std::isfinite(hits)) {
        std::snprintf(text, sizeof text, "%shits %.1f %%", words.empty() ? "" : ", ", 100.0 * hits);
        words += text;
    }
    return words;
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// What every line begins with.
Json line_of(char const* state, FleetCase const& item, std::size_t cases) {
    return {{"state", state},
            {"case", item.number},
            {"cases", cases},
            {"model", item.model.name},
            {"strategy", item.arm.name},
            {"users", item.fleet.users},
            {"tiers", config::to_string(item.tiers)},
            {"efficiency", item.efficiency}};
}

void add_figures(Json& line, fleet::FleetResult const& result) {
    line["offered"] = result.offered;
    line["shed"] = result.shed;
    line["lost"] = result.lost;
    line["p99_ms"] = number(p99_ms(result));
    line["hit_ratio"] = number(hit_ratio(result));
}

std::string dump(Json const& line) {
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string partial_results_path(std::string const& report, int rank) {
    return report + ".partial" + (rank == 0 ? "" : "-" + std::to_string(rank)) + ".jsonl";
}

std::vector<std::string> partial_results_of(std::string const& report) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    fs::path const path(report);
    auto const folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    std::string const start = path.filename().string() + ".partial";
    std::vector<std::string> found;
    for (fs::directory_iterator at(folder, ignored), end; at != end; at.increment(ignored)) {
        auto const name = at->path().filename().string();
        if (name.rfind(start, 0) == 0 && at->path().extension() == ".jsonl")
            found.push_back(at->path().string());
        if (ignored) break;
    }
    std::sort(found.begin(), found.end());
    return found;
}

void remove_partial_results(std::string const& report) {
    std::error_code ignored;
    for (auto const& file : partial_results_of(report)) std::filesystem::remove(file, ignored);
}

FleetWatch::FleetWatch(Progress& progress, std::string const& report, int rank, std::size_t cases)
    : progress_(progress),
      path_(partial_results_path(report, rank)),
      cases_(cases),
      root_(rank == 0),
      last_line_(Clock::now()) {
    if (root_ && open())
        write_line(dump({{"state", "begun"}, {"cases", cases}, {"locked", locked_}}));
}

FleetWatch::~FleetWatch() {
    if (file_ == nullptr) return;
    std::error_code ignored;
    if (finished_ == 0) std::filesystem::remove(path_, ignored);
    std::fclose(file_);
    if (root_ && finished_ > 0 && std::uncaught_exceptions() > 0)
        progress_.note("cases that ended before the failure: " + path_);
}

bool FleetWatch::open() {
    std::error_code ignored;
    auto const folder = std::filesystem::path(path_).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder, ignored);
    file_ = std::fopen(path_.c_str(), "w");
    // The lock tells whoever follows that the run lives, where the file system has locks.
    locked_ = file_ != nullptr && root_ && lock_file(::fileno(file_));
    return file_ != nullptr;
}

void FleetWatch::write_line(std::string const& line) {
    if (broken_) return;
    // Whole lines reach the file at once, so that a reader never waits for the rest of one.
    bool const good = (file_ != nullptr || open()) &&
                      std::fwrite(line.data(), 1, line.size(), file_) == line.size() &&
                      std::fputc('\n', file_) == '\n' && std::fflush(file_) == 0;
    if (good) return;
    broken_ = true;
    progress_.note(path_ + ": " + std::strerror(errno) +
                   "; the run goes on without partial results. free space or choose another output "
                   "folder for the report");
}

void FleetWatch::remember(std::string const& strategy, std::string const& figures) {
    for (auto& [name, text] : latest_) {
        if (name == strategy) {
            text = figures;
            return;
        }
    }
    latest_.emplace_back(strategy, figures);
}

std::string FleetWatch::all_figures() const {
    std::string text;
    for (auto const& [name, figures] : latest_)
        if (!figures.empty()) text += (text.empty() ? "" : "; ") + name + " " + figures;
    return text;
}

void FleetWatch::running(FleetCase const& item, fleet::FleetResult const& part, std::uint64_t done,
                         std::uint64_t total) {
    progress_.update(done, total, [&] { return figures_text(part); });
    auto const now = Clock::now();
    if (!root_ || std::chrono::duration<double>(now - last_line_).count() < kRunningPeriod_s)
        return;
    last_line_ = now;
    auto line = line_of("running", item, cases_);
    line["requests_done"] = done;
    line["requests_expected"] = total;
    add_figures(line, part);
    write_line(dump(line));
}

void FleetWatch::finished(FleetCase const& item, FleetOutcome const& outcome, double seconds) {
    auto line = line_of("finished", item, cases_);
    line["nodes"] = outcome.nodes;
    line["requests_per_second"] = outcome.requests_per_second;
    add_figures(line, outcome.result);
    if (!outcome.search.empty()) line["search"] = outcome.search;
    line["feasible"] = outcome.feasible;
    line["seconds"] = number(seconds);
    write_line(dump(line));
    ++finished_;
    remember(item.arm.name, figures_text(outcome.result));
}

void FleetWatch::cases_done(std::uint64_t done, std::uint64_t total) {
    progress_.update(done, total, [this] { return all_figures(); });
}

void FleetWatch::complete() {
    if (file_ == nullptr) return;
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);  // first: a file without a lock is of a dead run
    std::fclose(file_);
    file_ = nullptr;
}

}  // namespace ckvsim::app
