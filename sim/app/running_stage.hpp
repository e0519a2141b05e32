// What this process is doing, for messages that must name it although nobody can unwind any more:
// a rank that the launcher stops because another one was lost, or one that crashes.
#pragma once

#include <string>

namespace ckvsim::app {

/// Sets what the process works on, for example "scan histories". Cheap; one thread only.
void set_running_stage(std::string const& stage);

/// The stage set last. Empty before the first.
std::string running_stage();

/// While it lives, SIGTERM and crashes (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) first write one
/// line with rank and stage to standard error; the signal then does what it did before. One at a
/// time.
class StageSignals {
  public:
    /// `who` begins the line, for example "rank 1 of 3"; empty when there is only one process.
    explicit StageSignals(std::string const& who);
    ~StageSignals();
    StageSignals(StageSignals const&) = delete;
    StageSignals& operator=(StageSignals const&) = delete;
};

}  // namespace ckvsim::app
