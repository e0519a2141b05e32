// The clock of the executed twin: the wall's, or one that is told what was done and how long that
// takes, so that the executed engine can be compared with the simulated one decision by decision.
#pragma once

#include "engine/wall_clock.hpp"
#include "workload/requests.hpp"

namespace ckvsim::engine {

/// Time as the executed twin sees it. The engine reports the work that no backend sees; a clock of
/// virtual time adds its duration. Called on the serving thread.
class ExecutionClock {
  public:
    ExecutionClock() = default;
    ExecutionClock(ExecutionClock const&) = delete;
    ExecutionClock& operator=(ExecutionClock const&) = delete;
    virtual ~ExecutionClock() = default;

    /// Time counts from here.
    virtual void start() = 0;
    [[nodiscard]] virtual Nanoseconds now_ns() const = 0;
    /// Returns the time at which it woke up, not before `at`.
    virtual Nanoseconds wait_until(Nanoseconds at) = 0;
    /// Completion times are reproducible: they enter ServingResult::decision_hash.
    [[nodiscard]] virtual bool is_virtual() const = 0;
    /// An entry of so many tokens was copied between tiers or to a batch's workspace.
    virtual void copied(std::uint32_t /*tokens*/) {}
    /// The host's part of a request was done.
    virtual void assembled(workload::Request const& /*request*/) {}
};

/// The machine's monotonic clock: times are measured and differ from run to run.
class WallExecutionClock final : public ExecutionClock {
  public:
    void start() override { clock_ = WallClock(); }
    [[nodiscard]] Nanoseconds now_ns() const override { return clock_.now_ns(); }
    Nanoseconds wait_until(Nanoseconds at) override { return clock_.wait_until(at); }
    [[nodiscard]] bool is_virtual() const override { return false; }

  private:
    WallClock clock_;
};

}  // namespace ckvsim::engine
