// Keeps the state of one case of a fleet study in its checkpoint folder.
//   done-CASE-EPOCH-RANK-N   merged results of the nodes that a rank finished since the epoch began
//   base-CASE-EPOCH          ... of all ranks before it (an epoch is one process's life)
//   node-CASE-NODE-N         a node in progress, users at home
//   window-CASE-N-RANK       all nodes of a rank at one edge of a window; valid with
//   window-CASE-N.json       which names the files, their sizes and digests
// Of every kind the last two are kept, so that the older one serves when the newer is damaged.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/checkpoint_folder.hpp"
#include "comm/communicator.hpp"
#include "fleet/run_keeper.hpp"

namespace ckvsim::app {

/// What keeping states took, and gave.
struct KeepingCost {
    double seconds = 0.0;       ///< wall clock of the writing threads, flushes included
    std::uint64_t writes = 0;   ///< files
    std::uint64_t bytes = 0;    ///< in them
    std::uint64_t resumed = 0;  ///< nodes that went on from a kept state or result

    void add(KeepingCost const& other) {
        seconds += other.seconds;
        writes += other.writes;
        bytes += other.bytes;
        resumed += other.resumed;
    }
};

/// One on each rank and case.
class FleetKeeper final : public fleet::RunKeeper {
  public:
    /// Collective.
    FleetKeeper(CheckpointFolder& folder, comm::Communicator& comm, std::size_t number);

    [[nodiscard]] bool is_done(std::uint32_t node) const override { return before_.contains(node); }
    [[nodiscard]] fleet::FleetResult done_before() const override { return base_; }
    bool restore(std::uint32_t node, std::uint64_t layout, Load const& load) override;
    [[nodiscard]] bool is_due(std::uint32_t node) override;
    void keep(std::uint32_t node, std::uint64_t layout, Save const& save) override;
    void done(std::uint32_t node, fleet::FleetResult const& result) override;

    std::optional<Nanoseconds> restore_window(std::vector<std::uint32_t> const& nodes,
                                              std::uint64_t layout, LoadNode const& load) override;
    [[nodiscard]] bool window_is_due() override;
    void keep_window(Nanoseconds edge, std::vector<std::uint32_t> const& nodes,
                     std::uint64_t layout, SaveNode const& save) override;

    /// Local, by rank 0 when the case's rows are kept: its states are of no more use.
    void forget();
    /// Of this rank, so far.
    [[nodiscard]] KeepingCost const& cost() const { return cost_; }

  private:
    using Clock = std::chrono::steady_clock;
    struct Slot {
        std::uint64_t last = 0;  ///< number of the last good file; 0: none
        std::uint64_t next = 1;
        Clock::time_point due;
    };
    void read_done();
    bool read_done_file(std::string const& name, std::set<std::uint32_t>& nodes,
                        fleet::FleetResult& sum) const;
    std::uint64_t write_done(std::string const& name, std::set<std::uint32_t> const& nodes,
                             fleet::FleetResult& sum);
    void keep_done();
    bool restore_files(std::string const& manifest, std::vector<std::uint32_t> const& nodes,
                       std::uint64_t layout, LoadNode const& load, Nanoseconds& edge);
    Slot& slot_of(std::uint32_t node);
    [[nodiscard]] std::string name(char const* kind) const;
    [[nodiscard]] Clock::time_point in(double seconds) const;
    void remove(std::string const& name) const;
    /// Calls `write`, which returns bytes; false, with a warning, when the file system refuses.
    /// Counts what it took.
    template <class Write>
    bool written(Write&& write, double& seconds);

    CheckpointFolder& folder_;
    comm::Communicator& comm_;
    std::size_t case_;
    std::mutex mutex_;
    std::set<std::uint32_t> before_;  ///< nodes in base_, on every rank
    fleet::FleetResult base_;         ///< rank 0
    std::set<std::uint32_t> mine_;
    fleet::FleetResult sum_;
    Slot done_slot_;
    std::map<std::uint32_t, Slot> slots_;
    Slot window_slot_;
    KeepingCost cost_;
};

}  // namespace ckvsim::app
