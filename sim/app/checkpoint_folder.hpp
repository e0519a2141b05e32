// The folder in which a fleet study keeps what it has done, `<report>.checkpoint` by default: a
// description of the study, the rows of finished cases, and the state of the running one
// (app/fleet_keeper.hpp). Files and rules: sim/docs/checkpoints.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "core/section_file.hpp"

namespace ckvsim::app {

/// Kinds of sections.
enum class CheckpointKind : std::uint64_t { rows = 1, done = 2, node = 3, window = 4 };

/// What the command line says.
struct CheckpointOptions {
    std::string folder;       ///< empty: beside the report; "none": no checkpoints
    double interval_s = 0.0;  ///< 0: the longer of 5 minutes and 50 times the last write
    bool resume = false;
};

/// What a checkpoint belongs to.
struct CheckpointStudy {
    std::string spec_json;  ///< resolved
    std::string inputs;     ///< digests of the files that the study reads
    std::string report;     ///< the report's path
    std::uint64_t cases = 0;
    std::uint64_t state_bytes = 0;  ///< that one set of states takes at most, all ranks together
};

/// Rows of finished cases and which they are.
struct FinishedCases {
    std::set<std::size_t> numbers;
    std::vector<std::byte> rows;  ///< of all of them, as pack_rows() made them
};

/// "version commit": who may go on from whose state.
std::string checkpoint_program();
std::string checkpoint_folder_of(std::string const& report);

/// One on every rank. Files that cannot be written cost a warning, never the run.
class CheckpointFolder {
  public:
    /// Collective. Opens or begins the folder. All ranks throw: DataError for a checkpoint of
    /// another study or program, BackendError for a folder given by the user that is in use, cannot
    /// be made or lacks space; one beside the report is then not used, with a warning.
    CheckpointFolder(comm::Communicator& comm, CheckpointOptions const& options,
                     CheckpointStudy const& study);
    /// Says how to go on when a run fails; takes an empty folder away.
    ~CheckpointFolder();
    CheckpointFolder(CheckpointFolder const&) = delete;
    CheckpointFolder& operator=(CheckpointFolder const&) = delete;

    [[nodiscard]] bool on() const { return on_; }
    /// Whether there is room for the states of nodes, too.
    [[nodiscard]] bool keeps_states() const { return on_ && keeps_states_; }
    /// `rows` on rank 0 only.
    [[nodiscard]] FinishedCases const& finished() const { return finished_; }
    /// One thread at a time.
    void keep_case(std::size_t number, std::vector<std::byte> const& rows);
    /// Local, by rank 0: the report is written.
    void complete();

    // For FleetKeeper.
    [[nodiscard]] std::string file(std::string const& name) const { return path_ + "/" + name; }
    [[nodiscard]] std::uint64_t key() const { return key_; }
    [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
    /// Names that begin with `start`, sorted.
    [[nodiscard]] std::vector<std::string> names(std::string const& start) const;
    /// Seconds until the next write after one that took so long.
    [[nodiscard]] double pause_s(double last_write_s) const;
    /// A line on standard error, whichever rank this is.
    static void warn(std::string const& text);

  private:
    void open(CheckpointOptions const& options, CheckpointStudy const& study, bool required);
    void require_same(CheckpointStudy const& study);
    void describe(CheckpointStudy const& study) const;
    void lock();
    void read_finished();
    void share(comm::Communicator& comm);
    void check_space(CheckpointStudy const& study, bool required);

    std::string path_;
    bool on_ = false;
    bool keeps_states_ = true;
    bool root_;
    int rank_;
    double interval_s_;
    std::uint64_t key_ = 0;
    std::uint64_t epoch_ = 1;
    int lock_ = -1;
    FinishedCases finished_;
    std::unique_ptr<SectionJournal> journal_;
    bool journal_warned_ = false;
    std::chrono::steady_clock::time_point last_flush_;
};

/// For `ckvsim finish` and messages.
struct CheckpointDescription {
    std::string program;
    std::string spec_json;
    std::string inputs;
    std::string report;
    std::string started;
    std::uint64_t key = 0;
    std::uint64_t epoch = 0;
    std::uint64_t cases = 0;
};
/// DataError when there is none or it is damaged.
CheckpointDescription read_checkpoint_description(std::string const& folder);
/// Whole rows of every journal; damaged rests are left out and told to `warn`.
FinishedCases read_finished_cases(std::string const& folder, std::uint64_t key,
                                  std::function<void(std::string const&)> const& warn);
/// Whether a living process uses the folder.
bool checkpoint_in_use(std::string const& folder);

}  // namespace ckvsim::app
