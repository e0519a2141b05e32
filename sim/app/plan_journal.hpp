// The journal of a plan: one JSON object a line, appended as answers are found, so that a plan that
// was stopped goes on where it was. Each line ends with the hash of its text. The same objects,
// without it, carry answers between ranks and make the hash of the plan.
#pragma once

#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/plan_solve.hpp"

namespace ckvsim::app {

/// Answers and full re-runs by job.
struct PlanResults {
    std::map<std::size_t, PlanAnswer> answers;
    std::map<std::size_t, PlanCheck> checks;

    /// Takes a line of to_line(). False: it is none (a header, or cut short).
    bool take(std::string const& line);
};

/// Without the newline.
std::string to_line(PlanAnswer const& answer);
std::string to_line(PlanCheck const& check);

/// `<report>.journal.jsonl` of rank 0, `<report>.journal-<rank>.jsonl` of the others.
std::string journal_path(std::string const& report, int rank);

/// Journals of all ranks that an earlier run left, however many ranks it had. Throws DataError when
/// one belongs to another plan. A last line that was cut short is ignored, a line that is not what
/// its hash says is left out with a warning, and so is a journal whose header is damaged.
PlanResults read_journals(std::string const& report, std::string const& digest,
                          std::vector<std::string>& warnings);
void remove_journals(std::string const& report);
/// Those of other ranks than 0.
void remove_journals_of_others(std::string const& report);

/// One rank's journal; one thread at a time. Every line is on its way to the disk when append()
/// returns: a killed process loses none.
class PlanJournal {
  public:
    /// Starts a new journal with the results that are known already. Throws BackendError.
    PlanJournal(std::string const& report, int rank, std::string const& digest,
                PlanResults const& known);
    ~PlanJournal();
    PlanJournal(PlanJournal const&) = delete;
    PlanJournal& operator=(PlanJournal const&) = delete;
    /// `line`: of to_line().
    void append(std::string const& line);

  private:
    std::string path_;
    std::FILE* file_ = nullptr;
};

}  // namespace ckvsim::app
