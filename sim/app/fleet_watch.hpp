// A fleet study while it runs: progress lines with p99 and hit ratio per strategy, and a side file
// of partial results, one JSON object a line, that anyone may read meanwhile.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "app/fleet_cases.hpp"
#include "app/progress.hpp"

namespace ckvsim::app {

/// Side file of a rank: `<report>.partial.jsonl`, other ranks than 0
/// `<report>.partial-<rank>.jsonl`.
std::string partial_results_path(std::string const& report, int rank);

/// The side files of a report, of all ranks, sorted.
std::vector<std::string> partial_results_of(std::string const& report);

/// Removes the side files that an earlier run of any number of ranks left. Errors are ignored: the
/// files are replaced anyway.
void remove_partial_results(std::string const& report);

/// One on each rank; calls by one thread at a time. Rank 0's side file begins at once and is locked
/// while the run lives. A side file that cannot be written costs a line on standard error, never
/// the run. Its keys: sim/docs/fleet.md.
class FleetWatch {
  public:
    FleetWatch(Progress& progress, std::string const& report, int rank, std::size_t cases);
    /// When a run fails, says where the finished cases are.
    ~FleetWatch();
    FleetWatch(FleetWatch const&) = delete;
    FleetWatch& operator=(FleetWatch const&) = delete;

    /// A case in one of its runs: requests done and expected on this rank, and what a part of the
    /// fleet has counted so far. Rate-limited; cheap to call often.
    void running(FleetCase const& item, fleet::FleetResult const& part, std::uint64_t done,
                 std::uint64_t total);
    /// A case with its result; `seconds` of wall clock.
    void finished(FleetCase const& item, FleetOutcome const& outcome, double seconds);
    /// Progress in cases, with the last figures of every strategy.
    void cases_done(std::uint64_t done, std::uint64_t total);
    /// The report is written: the side file is removed.
    void complete();

  private:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] bool open();
    void write_line(std::string const& line);
    void remember(std::string const& strategy, std::string const& figures);
    [[nodiscard]] std::string all_figures() const;

    Progress& progress_;
    std::string path_;
    std::size_t cases_;
    std::FILE* file_ = nullptr;
    bool broken_ = false;
    bool root_;
    bool locked_ = false;
    std::size_t finished_ = 0;
    Clock::time_point last_line_;
    /// Strategy -> figures of its last case, in order of appearance.
    std::vector<std::pair<std::string, std::string>> latest_;
};

}  // namespace ckvsim::app
