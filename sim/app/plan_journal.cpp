#include "app/plan_journal.hpp"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::app {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 2;

/// Shortest digits that read back as the same number; null for NaN.
Json real(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
double real_of(Json const& value) {
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

Json figures_json(PlanFigures const& f) {
    Json busy = Json::array();
    for (double const share : f.busy) busy.push_back(real(share));
    return {{"p50_ns", real(f.p50_ns)},
            {"p99_ns", real(f.p99_ns)},
            {"hit_ratio", real(f.hit_ratio)},
            {"hbm_ratio", real(f.hbm_ratio)},
            {"busy", busy},
            {"hash", f.decision_hash}};
}
PlanFigures figures_of(Json const& json) {
    PlanFigures f;
    f.p50_ns = real_of(json.at("p50_ns"));
    f.p99_ns = real_of(json.at("p99_ns"));
    f.hit_ratio = real_of(json.at("hit_ratio"));
    f.hbm_ratio = real_of(json.at("hbm_ratio"));
    for (std::size_t d = 0; d < f.busy.size(); ++d) f.busy[d] = real_of(json.at("busy").at(d));
    f.decision_hash = json.at("hash").get<std::uint64_t>();
    return f;
}

constexpr std::string_view kSealKey = ",\"line\":\"";
constexpr std::size_t kSealBytes = kSealKey.size() + 16 + 2;  // 16 digits, quote, brace

std::string seal_of(std::string const& payload) {
    return std::string(kSealKey) + to_hex(hash_bytes(payload.data(), payload.size())) + "\"}";
}
/// The object with the hash of its text as its last key.
std::string sealed(std::string const& payload) {
    return payload.substr(0, payload.size() - 1) + seal_of(payload);
}
/// What was sealed; nothing where the text is not what its hash says, or has none.
std::optional<std::string> unsealed(std::string const& line) {
    if (line.size() < kSealBytes) return std::nullopt;
    auto const end = line.size() - kSealBytes;
    auto payload = line.substr(0, end) + "}";
    if (line.substr(end) != seal_of(payload)) return std::nullopt;
    return payload;
}

PlanAnswer answer_of(Json const& json) {
    PlanAnswer a;
    json.at("job").get_to(a.job);
    json.at("applies").get_to(a.applies);
    json.at("feasible").get_to(a.feasible);
    json.at("reason").get_to(a.reason);
    auto const& nodes = json.at("nodes");
    nodes.at(0).get_to(a.nodes);
    nodes.at(1).get_to(a.nodes_low);
    nodes.at(2).get_to(a.nodes_high);
    auto const& load = json.at("load");
    a.load = real_of(load.at(0));
    a.load_low = real_of(load.at(1));
    a.load_high = real_of(load.at(2));
    a.without_memory_limit = real_of(json.at("without_memory_limit"));
    json.at("memory_bound").get_to(a.memory_bound);
    json.at("bound").get_to(a.bound);
    a.figures = figures_of(json.at("figures"));
    a.factor = real_of(json.at("factor"));
    json.at("users_simulated").get_to(a.users_simulated);
    json.at("evaluations").get_to(a.evaluations);
    json.at("requests").get_to(a.requests);
    for (auto const& point : json.at("points"))
        a.points.push_back(
            {point.at(0).get<std::uint32_t>(), real_of(point.at(1)), real_of(point.at(2))});
    return a;
}

PlanCheck check_of(Json const& json) {
    PlanCheck c;
    json.at("job").get_to(c.job);
    json.at("finalist").get_to(c.finalist);
    json.at("skipped").get_to(c.skipped);
    json.at("nodes").get_to(c.nodes);
    json.at("nodes_full").get_to(c.nodes_full);
    json.at("nodes_full_is").get_to(c.nodes_full_is);
    c.sampled = figures_of(json.at("sampled"));
    c.full = figures_of(json.at("full"));
    json.at("users_simulated").get_to(c.users_simulated);
    return c;
}

/// Calls visit(path) for every journal beside a report.
template <class Visit>
void for_each_journal(std::string const& report, Visit&& visit) {
    namespace fs = std::filesystem;
    fs::path const path(report);
    auto const folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    std::string const begin = path.filename().string() + ".journal";
    std::error_code ignored;
    std::vector<std::string> paths;
    for (auto const& entry : fs::directory_iterator(folder, ignored)) {
        auto const name = entry.path().filename().string();
        if (!name.starts_with(begin) || !name.ends_with(".jsonl")) continue;
        auto const middle = name.substr(begin.size(), name.size() - begin.size() - 6);
        bool const rank = middle.size() > 1 && middle[0] == '-' &&
                          middle.find_first_not_of("0123456789", 1) == std::string::npos;
        if (middle.empty() || rank) paths.push_back(entry.path().string());
    }
    for (auto const& found : paths) visit(found);
}

[[noreturn]] void foreign(std::string const& path, std::string const& why) {
    throw DataError(path, 1,
                    why +
                        "; run the same command with the same spec, platform and options to go "
                        "on, or leave --resume out to begin anew");
}

void read_journal(std::string const& path, std::string const& digest, PlanResults& results,
                  std::vector<std::string>& warnings) {
    std::ifstream in(path);
    std::string line;
    if (!std::getline(in, line) || in.eof()) return;  // stopped before its header was written
    Json const header = Json::parse(unsealed(line).value_or(""), nullptr, false);
    if (!header.is_object() || !header.contains("ckvsim_plan")) {
        warnings.push_back(path + ":1: damaged; all its answers are found again");
        return;
    }
    if (header.value("ckvsim_plan", 0) != kVersion)
        foreign(path, "the journal is of another version of ckvsim plan");
    if (header.value("digest", std::string()) != digest) {
        foreign(path, "the journal is of another plan (digest " +
                          header.value("digest", std::string("missing")) + ", this one is " +
                          digest + ": spec, platform or options differ)");
    }
    for (std::size_t number = 2; std::getline(in, line); ++number) {
        if (in.eof()) break;  // without a newline: cut short
        auto const payload = unsealed(line);
        if (!payload || !results.take(*payload)) {
            warnings.push_back(path + ":" + std::to_string(number) +
                               ": damaged; that answer is found again");
        }
    }
}

}  // namespace

std::string to_line(PlanAnswer const& a) {
    Json points = Json::array();
    for (auto const& point : a.points)
        points.push_back(Json::array({point.nodes, real(point.p99_ns), real(point.gpu_busy)}));
    Json const json = {{"kind", "answer"},
                       {"job", a.job},
                       {"applies", a.applies},
                       {"feasible", a.feasible},
                       {"reason", a.reason},
                       {"nodes", Json::array({a.nodes, a.nodes_low, a.nodes_high})},
                       {"load", Json::array({real(a.load), real(a.load_low), real(a.load_high)})},
                       {"without_memory_limit", real(a.without_memory_limit)},
                       {"memory_bound", a.memory_bound},
                       {"bound", a.bound},
                       {"figures", figures_json(a.figures)},
                       {"factor", real(a.factor)},
                       {"users_simulated", a.users_simulated},
                       {"evaluations", a.evaluations},
                       {"requests", a.requests},
                       {"points", points}};
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_line(PlanCheck const& c) {
    Json const json = {{"kind", "check"},
                       {"job", c.job},
                       {"finalist", c.finalist},
                       {"skipped", c.skipped},
                       {"nodes", c.nodes},
                       {"nodes_full", c.nodes_full},
                       {"nodes_full_is", c.nodes_full_is},
                       {"sampled", figures_json(c.sampled)},
                       {"full", figures_json(c.full)},
                       {"users_simulated", c.users_simulated}};
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool PlanResults::take(std::string const& line) {
    Json const json = Json::parse(line, nullptr, false);
    if (!json.is_object()) return false;
    try {
        auto const kind = json.value("kind", std::string());
        if (kind == "answer") {
            auto answer = answer_of(json);
            answers[answer.job] = std::move(answer);
            return true;
        }
        if (kind == "check") {
            auto check = check_of(json);
            checks[check.job] = std::move(check);
            return true;
        }
    } catch (nlohmann::json::exception const&) {  // a key is missing or of another type
    }
    return false;
}

std::string journal_path(std::string const& report, int rank) {
    return report + ".journal" + (rank == 0 ? "" : "-" + std::to_string(rank)) + ".jsonl";
}

PlanResults read_journals(std::string const& report, std::string const& digest,
                          std::vector<std::string>& warnings) {
    PlanResults results;
    for_each_journal(
        report, [&](std::string const& path) { read_journal(path, digest, results, warnings); });
    return results;
}

void remove_journals(std::string const& report) {
    for_each_journal(report, [](std::string const& path) {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    });
}

void remove_journals_of_others(std::string const& report) {
    for_each_journal(report, [&](std::string const& path) {
        std::error_code ignored;
        if (!path.ends_with(".journal.jsonl")) std::filesystem::remove(path, ignored);
    });
}

PlanJournal::PlanJournal(std::string const& report, int rank, std::string const& digest,
                         PlanResults const& known)
    : path_(journal_path(report, rank)) {
    std::error_code ignored;
    auto const folder = std::filesystem::path(path_).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder, ignored);
    // Written beside and renamed: the old journal stays until the new one has its results.
    auto const fresh = path_ + ".new";
    file_ = std::fopen(fresh.c_str(), "w");
    if (file_ == nullptr) {
        throw BackendError(path_ + ": cannot be written (" + std::strerror(errno) +
                           "); the journal of a plan lies beside its report: choose another -o");
    }
    Json const header = {{"ckvsim_plan", kVersion}, {"digest", digest}};
    append(header.dump());
    for (auto const& [job, answer] : known.answers) append(to_line(answer));
    for (auto const& [job, check] : known.checks) append(to_line(check));
    if (std::rename(fresh.c_str(), path_.c_str()) != 0)
        throw BackendError(path_ + ": cannot be written (" + std::strerror(errno) + ")");
}

PlanJournal::~PlanJournal() {
    if (file_ != nullptr) std::fclose(file_);
}

void PlanJournal::append(std::string const& line) {
    std::string const text = sealed(line) + "\n";
    if (std::fwrite(text.data(), 1, text.size(), file_) != text.size() || std::fflush(file_) != 0) {
        throw BackendError(path_ + ": cannot be written (" + std::strerror(errno) +
                           "); make room and go on with --resume");
    }
}

}  // namespace ckvsim::app
