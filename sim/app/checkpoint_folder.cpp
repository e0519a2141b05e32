#include "app/checkpoint_folder.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/fleet_rows.hpp"
#include "app/machine.hpp"
#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/file_lock.hpp"
#include "core/hash.hpp"

namespace ckvsim::app {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Of names and meanings of files and sections; layouts of states have digests of their own.
constexpr std::uint64_t kFormat = 1;
constexpr double kShortestPause_s = 300.0;
constexpr double kWritesShare = 50.0;  // a write takes at most 2 % of the time
constexpr double kFlushPeriod_s = 5.0;
char const* const kDescription = "checkpoint.json";
char const* const kLock = "lock";

std::uint64_t key_of(std::string const& spec_json, std::string const& inputs) {
    auto const text =
        std::to_string(kFormat) + "\n" + checkpoint_program() + "\n" + inputs + "\n" + spec_json;
    return hash_bytes(text.data(), text.size());
}

bool is_ours(std::string const& name) {
    for (char const* start : {"cases-", "base-", "done-", "node-", "window-", "checkpoint.json"})
        if (name.rfind(start, 0) == 0) return true;
    return name == kLock;
}

std::vector<std::string> names_in(std::string const& folder, std::string const& start) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
        auto name = at->path().filename().string();
        if (name.rfind(start, 0) == 0) names.push_back(std::move(name));
    }
    std::sort(names.begin(), names.end());
    return names;
}

void remove_ours(std::string const& folder) {
    std::error_code ignored;
    for (auto const& name : names_in(folder, ""))
        if (is_ours(name)) fs::remove(folder + "/" + name, ignored);
    fs::remove(folder, ignored);  // stays when something else is in it
}

}  // namespace

std::string checkpoint_program() {
    auto const about = machine_provenance();
    return about.at("version") + " " + about.at("commit");
}

std::string checkpoint_folder_of(std::string const& report) { return report + ".checkpoint"; }

void CheckpointFolder::warn(std::string const& text) {
    std::fprintf(stderr, "ckvsim: warning: %s\n", text.c_str());
}

CheckpointFolder::CheckpointFolder(comm::Communicator& comm, CheckpointOptions const& options,
                                   CheckpointStudy const& study)
    : path_(options.folder.empty() ? checkpoint_folder_of(study.report) : options.folder),
      root_(comm.is_root()),
      rank_(comm.rank()),
      interval_s_(options.interval_s),
      key_(key_of(study.spec_json, study.inputs)),
      last_flush_(std::chrono::steady_clock::now()) {
    if (options.folder == "none") return;
    bool const required = !options.folder.empty() || options.resume;
    comm.run_phase("opening the checkpoint", [&] {
        if (!root_) return;
        try {
            open(options, study, required);
            on_ = true;
        } catch (BackendError const& error) {
            if (required) throw;
            warn(std::string(error.what()) + "; the run goes on without checkpoints");
        }
    });
    share(comm);
}

CheckpointFolder::~CheckpointFolder() {
    bool const failed = root_ && on_ && std::uncaught_exceptions() > 0;
    bool kept = journal_ != nullptr || !finished_.numbers.empty();
    for (char const* start : {"cases-", "done-", "node-", "window-"})
        kept = kept || !names(start).empty();
    if (failed && kept)
        std::fprintf(stderr, "what was done is kept in %s; go on from there with --resume\n",
                     path_.c_str());
    journal_.reset();
    if (failed && !kept) remove_ours(path_);
    if (lock_ >= 0) ::close(lock_);
}

void CheckpointFolder::open(CheckpointOptions const& options, CheckpointStudy const& study,
                            bool required) {
    auto const description = file(kDescription);
    std::error_code error;
    bool const there = fs::exists(description, error);
    if (options.resume && !there) {
        std::fprintf(stderr, "no checkpoint in %s: the run begins at the beginning\n",
                     path_.c_str());
    }
    fs::create_directories(path_, error);
    if (error)
        throw BackendError(path_ + ": cannot create folder (" + error.message() +
                           "). choose another with --checkpoint, or --checkpoint none");
    lock();
    if (there && options.resume) {
        require_same(study);
        read_finished();
    } else {
        for (auto const& name : names("")) {
            if (is_ours(name)) continue;
            throw BackendError(path_ + ": holds " + name +
                               ", which is of no checkpoint. choose an empty folder");
        }
        // The last run's is kept until the next one: nobody loses hours to a forgotten --resume.
        auto const old = path_ + ".old";
        if (there) {
            std::fprintf(stderr,
                         "an unfinished run's checkpoint was moved to %s; --resume goes on "
                         "from one\n",
                         old.c_str());
            remove_ours(old);
            fs::rename(path_, old, error);
            if (lock_ >= 0) ::close(lock_);
            lock_ = -1;
            if (error) remove_ours(path_);
            fs::create_directories(path_, error);
            lock();
        } else {
            for (auto const& name : names(""))
                if (name != kLock) fs::remove(file(name), error);
        }
    }
    check_space(study, required);
    describe(study);
}

void CheckpointFolder::require_same(CheckpointStudy const& study) {
    auto const found = read_checkpoint_description(path_);
    auto const refuse = [&](std::string const& reason) {
        throw DataError(path_, 0,
                        reason +
                            ". resume with what began it, or begin again without --resume "
                            "(`ckvsim finish` makes a report of what is done)");
    };
    if (found.program != checkpoint_program())
        refuse("was made by ckvsim " + found.program + ", this is " + checkpoint_program() +
               ": another build may decide otherwise");
    if (found.spec_json != study.spec_json) refuse("belongs to another study: its spec differs");
    if (found.inputs != study.inputs)
        refuse("belongs to other input files: " + found.inputs + ", now " + study.inputs);
    epoch_ = found.epoch + 1;
}

void CheckpointFolder::describe(CheckpointStudy const& study) const {
    Json json = {{"format", kFormat},      {"program", checkpoint_program()},
                 {"key", to_hex(key_)},    {"epoch", epoch_},
                 {"cases", study.cases},   {"report", study.report},
                 {"inputs", study.inputs}, {"started", machine_provenance().at("date_utc")},
                 {"spec", study.spec_json}};
    write_file_atomically(file(kDescription),
                          json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void CheckpointFolder::lock() {
    lock_ = ::open(file(kLock).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_ < 0)
        throw BackendError(file(kLock) + ": cannot create (" + std::strerror(errno) + ")");
    if (!lock_file(lock_)) {
        ::close(lock_);
        lock_ = -1;
        throw BackendError(path_ +
                           ": another run uses this checkpoint. wait for its end or choose "
                           "another folder with --checkpoint");
    }
}

void CheckpointFolder::check_space(CheckpointStudy const& study, bool required) {
    struct statvfs system {};
    if (study.state_bytes == 0 || ::statvfs(path_.c_str(), &system) != 0) return;
    std::uint64_t const free = std::uint64_t{system.f_bavail} * system.f_frsize;
    std::uint64_t const need = 2 * study.state_bytes;
    if (free >= need) return;
    auto const text = path_ + ": two states of this run may take " + std::to_string(need) +
                      " bytes, but " + std::to_string(free) + " are free there";
    if (required)
        throw BackendError(text + ". free some, or choose another folder with --checkpoint");
    warn(text + "; only finished cases are kept");
    keeps_states_ = false;
}

void CheckpointFolder::read_finished() { finished_ = read_finished_cases(path_, key_, warn); }

/// What rank 0 knows, on all ranks.
void CheckpointFolder::share(comm::Communicator& comm) {
    std::vector<std::uint64_t> words;
    if (root_) {
        words = {on_ ? 1U : 0U, keeps_states_ ? 1U : 0U, epoch_};
        words.insert(words.end(), finished_.numbers.begin(), finished_.numbers.end());
    }
    auto const raw = std::as_bytes(std::span(words));
    std::vector<std::byte> bytes(raw.begin(), raw.end());
    comm.broadcast(bytes);
    if (root_) return;
    words.resize(bytes.size() / sizeof(std::uint64_t));
    std::memcpy(words.data(), bytes.data(), bytes.size());
    on_ = words.at(0) != 0;
    keeps_states_ = words.at(1) != 0;
    epoch_ = words.at(2);
    finished_.numbers = {words.begin() + 3, words.end()};
}

void CheckpointFolder::keep_case(std::size_t number, std::vector<std::byte> const& rows) {
    if (!on_) return;
    try {
        if (!journal_)
            journal_ = std::make_unique<SectionJournal>(
                file("cases-" + std::to_string(epoch_) + "-" + std::to_string(rank_)), key_);
        journal_->append(
            {static_cast<std::uint64_t>(CheckpointKind::rows), number, 0, packed_layout()}, rows);
        auto const now = std::chrono::steady_clock::now();
        if (std::chrono::duration<double>(now - last_flush_).count() < kFlushPeriod_s) return;
        last_flush_ = now;
        journal_->flush();
    } catch (BackendError const& error) {
        if (!journal_warned_)
            warn(std::string(error.what()) +
                 "; the run goes on, and would do this case again after a --resume");
        journal_warned_ = true;
    }
}

void CheckpointFolder::complete() {
    if (!on_) return;
    journal_.reset();
    remove_ours(path_);
}

std::vector<std::string> CheckpointFolder::names(std::string const& start) const {
    return names_in(path_, start);
}

double CheckpointFolder::pause_s(double last_write_s) const {
    return interval_s_ > 0.0 ? interval_s_
                             : std::max(kShortestPause_s, kWritesShare * last_write_s);
}

CheckpointDescription read_checkpoint_description(std::string const& folder) {
    auto const path = folder + "/" + kDescription;
    auto const text = read_file(path);
    CheckpointDescription found;
    try {
        auto const json = Json::parse(text);
        if (json.at("format").get<std::uint64_t>() != kFormat)
            throw DataError(path, 0, "is of another format than this ckvsim writes");
        found.program = json.at("program").get<std::string>();
        found.spec_json = json.at("spec").get<std::string>();
        found.inputs = json.at("inputs").get<std::string>();
        found.report = json.at("report").get<std::string>();
        found.started = json.at("started").get<std::string>();
        found.epoch = json.at("epoch").get<std::uint64_t>();
        found.cases = json.at("cases").get<std::uint64_t>();
        auto const key = json.at("key").get<std::string>();
        auto const program_text = std::to_string(kFormat) + "\n" + found.program + "\n" +
                                  found.inputs + "\n" + found.spec_json;
        found.key = hash_bytes(program_text.data(), program_text.size());
        if (to_hex(found.key) != key) throw DataError(path, 0, "was changed after ckvsim wrote it");
    } catch (nlohmann::json::exception const& error) {
        throw DataError(path, 0, std::string("is damaged (") + error.what() + ")");
    }
    return found;
}

FinishedCases read_finished_cases(std::string const& folder, std::uint64_t key,
                                  std::function<void(std::string const&)> const& warn) {
    FinishedCases finished;
    for (auto const& name : names_in(folder, "cases-")) {
        try {
            SectionFile const journal(folder + "/" + name, key);
            for (auto const& entry : journal.entries()) {
                if (entry.name.kind != static_cast<std::uint64_t>(CheckpointKind::rows) ||
                    finished.numbers.contains(entry.name.first))
                    continue;
                if (entry.name.layout != packed_layout())
                    throw DataError(folder + "/" + name, 0,
                                    "holds rows of a ckvsim with other report columns; use that "
                                    "one (checkpoint.json names it)");
                auto const source = journal.open(entry);
                std::vector<std::byte> rows(entry.bytes);
                source->read(rows);
                finished.numbers.insert(entry.name.first);
                finished.rows.insert(finished.rows.end(), rows.begin(), rows.end());
            }
            if (!journal.torn().empty())
                warn(folder + "/" + name + ": " + journal.torn() +
                     "; the cases before that are used");
        } catch (DataError const& error) {
            warn(std::string(error.what()) + "; its remaining cases are simulated again");
        }
    }
    return finished;
}

bool checkpoint_in_use(std::string const& folder) { return is_locked(folder + "/" + kLock); }

}  // namespace ckvsim::app
