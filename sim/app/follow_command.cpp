// `ckvsim show --follow`: a running fleet study as its side files tell it (app/fleet_watch.hpp).
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/checkpoint_folder.hpp"
#include "app/commands.hpp"
#include "app/fleet_watch.hpp"
#include "core/error.hpp"
#include "core/file_lock.hpp"
#include "report/text_table.hpp"

namespace ckvsim::app {

namespace {

using Json = nlohmann::json;

constexpr auto kPollPeriod = std::chrono::milliseconds(500);

/// " p99 12.3 ms": with a sign for what has too few samples.
std::string figure(Json const& line, char const* key, char const* before, double scale,
                   char const* after) {
    auto const found = line.find(key);
    if (found == line.end()) return "";
    char text[80];
    if (found->is_null())
        std::snprintf(text, sizeof text, ", %s-", before);
    else
        std::snprintf(text, sizeof text, ", %s%.3g%s", before, scale * found->get<double>(), after);
    return text;
}

/// Requests that got no answer in time or none at all, over all.
std::string share(Json const& line, char const* key, char const* name) {
    auto const part = line.value(key, std::uint64_t{0});
    auto const all = line.value("offered", std::uint64_t{0});
    if (part == 0 || all == 0) return "";
    char text[80];
    std::snprintf(text, sizeof text, ", %s %.3g %%", name,
                  100.0 * static_cast<double>(part) / static_cast<double>(all));
    return text;
}

/// One line for people; empty for a state that this version does not know.
std::string words_of(Json const& line) {
    auto const state = line.value("state", std::string());
    if (state == "begun")
        return "a run of " + std::to_string(line.value("cases", std::uint64_t{0})) + " cases";
    if (state != "running" && state != "finished") return "";
    char head[96];
    std::snprintf(head, sizeof head, "case %lu of %lu, ",
                  static_cast<unsigned long>(line.value("case", std::uint64_t{0}) + 1),
                  static_cast<unsigned long>(line.value("cases", std::uint64_t{0})));
    char users[48];
    std::snprintf(users, sizeof users, ", %.4g users",
                  static_cast<double>(line.value("users", std::uint64_t{0})));
    std::string words = head + report::printable(line.value("model", std::string())) + " " +
                        report::printable(line.value("strategy", std::string())) + users;
    if (state == "running") {
        auto const done = line.value("requests_done", std::uint64_t{0});
        auto const total = line.value("requests_expected", std::uint64_t{0});
        char text[48];
        std::snprintf(
            text, sizeof text, ", %.0f %% done so far",
            total > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total) : 0.0);
        words += text;
    }
    words += figure(line, "p99_ms", "p99 ", 1.0, " ms") +
             figure(line, "hit_ratio", "hits ", 100.0, " %") + share(line, "shed", "shed") +
             share(line, "lost", "lost") + figure(line, "nodes", "nodes ", 1.0, "");
    if (!line.value("feasible", true)) words += ", not within its SLO";
    return words + figure(line, "seconds", "took ", 1.0, " s");
}

/// A file that grows. It stays open, because a run removes its file when the report stands: what
/// was written since the last look can still be read. Begins again when another file has its name.
class Tail {
  public:
    /// Whole lines that came since the last call.
    std::vector<std::string> read(std::string const& path) {
        std::vector<std::string> lines;
        drain(lines);
        struct stat about {};
        if (::stat(path.c_str(), &about) != 0) return lines;
        if (about.st_ino != inode_ || static_cast<std::uint64_t>(about.st_size) < read_) {
            file_ = std::ifstream(path, std::ios::binary);
            inode_ = about.st_ino;
            read_ = 0;
            drain(lines);
        }
        return lines;
    }

  private:
    void drain(std::vector<std::string>& lines) {
        file_.clear();
        file_.seekg(static_cast<std::streamoff>(read_));
        for (std::string line; std::getline(file_, line) && !file_.eof();) {
            read_ += line.size() + 1;
            lines.push_back(std::move(line));
        }
    }

    std::ifstream file_;
    ::ino_t inode_ = 0;
    std::uint64_t read_ = 0;
};

class Follower {
  public:
    explicit Follower(std::string const& report) : report_(report) {}

    /// Prints what is new; false when no side file is there.
    bool print_news() {
        auto const files = partial_results_of(report_);
        for (auto const& file : files) tails_[file];
        for (auto& [file, tail] : tails_) {  // those that are gone, too
            std::string running;             // of several only the last is news
            for (auto const& text : tail.read(file)) {
                try {
                    auto const line = Json::parse(text);
                    can_tell_ = line.value("locked", can_tell_);
                    auto const words = words_of(line);
                    if (line.value("state", std::string()) == "running")
                        running = words;
                    else if (!words.empty())
                        std::printf("%s\n", words.c_str());
                } catch (Json::exception const& error) {
                    throw DataError(file, 0,
                                    std::string("holds a line that is none of ckvsim's (") +
                                        error.what() + ")");
                }
            }
            if (!running.empty()) std::printf("%s\n", running.c_str());
        }
        std::fflush(stdout);
        return !files.empty();
    }
    /// Without locks a run is taken to live as long as its side file is there.
    [[nodiscard]] bool lives() const {
        std::error_code ignored;
        if (!can_tell_) return std::filesystem::exists(partial_results_path(report_, 0), ignored);
        return is_locked(partial_results_path(report_, 0)) ||
               checkpoint_in_use(checkpoint_folder_of(report_));
    }

  private:
    std::string report_;
    bool can_tell_ = true;
    std::map<std::string, Tail> tails_;
};

}  // namespace

int follow_command(std::string const& report) {
    Follower follower(report);
    // Dead twice: a run that begins has its file a moment before the file's lock.
    for (int dead = 0;;) {
        dead = follower.lives() ? 0 : dead + 1;  // before reading: nothing of a dead run is missed
        bool const files = follower.print_news();
        if (dead == 2) {
            if (files)
                throw BackendError(
                    report +
                    ": its run ended without writing it. where it kept a checkpoint (the default), "
                    "go on with ckvsim run --resume or make a partial report with ckvsim finish");
            std::error_code ignored;
            if (std::filesystem::exists(report, ignored)) return 0;
            throw DataError(report, 0,
                            "no such report, and no run that is to write it. only fleet studies "
                            "(\"study\": \"fleet\") can be followed");
        }
        std::this_thread::sleep_for(kPollPeriod);
    }
}

}  // namespace ckvsim::app
