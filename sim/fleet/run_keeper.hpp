// What run_fleet() asks of whoever keeps its state, so that a run that was killed can go on. Where
// users stay at home nodes are independent: each is kept on its own, whenever it is due, by the
// thread that simulates it. Where routing looks at load all nodes are kept together at an edge of
// a window. The files are the application's (app/fleet_keeper.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "core/archive.hpp"
#include "core/ids.hpp"
#include "fleet/fleet_result.hpp"

namespace ckvsim::fleet {

class RunKeeper {
  public:
    using Save = std::function<void(ByteSink&)>;
    /// Throws DataError for a state that cannot be; may be called again with an older one.
    using Load = std::function<void(ByteSource&)>;
    using SaveNode = std::function<void(std::uint32_t node, ByteSink&)>;
    using LoadNode = std::function<void(std::uint32_t node, ByteSource&)>;

    virtual ~RunKeeper() = default;

    // Users at home; thread-safe.

    /// Nodes whose result is part of done_before().
    [[nodiscard]] virtual bool is_done(std::uint32_t node) const = 0;
    /// Merged results of the nodes that an earlier process finished; on rank 0, zero elsewhere.
    [[nodiscard]] virtual FleetResult done_before() const = 0;
    /// Calls `load` with the newest good state of the node. False: there is none.
    virtual bool restore(std::uint32_t node, std::uint64_t layout, Load const& load) = 0;
    [[nodiscard]] virtual bool is_due(std::uint32_t node) = 0;
    /// Never throws for a file that cannot be written: the run goes on.
    virtual void keep(std::uint32_t node, std::uint64_t layout, Save const& save) = 0;
    virtual void done(std::uint32_t node, FleetResult const& result) = 0;

    // Windows; collective but for window_is_due().

    /// Calls `load` for every one of this rank's nodes with their state at one edge, which it
    /// returns; nothing when there is no good set of all ranks' nodes.
    virtual std::optional<Nanoseconds> restore_window(std::vector<std::uint32_t> const& nodes,
                                                      std::uint64_t layout,
                                                      LoadNode const& load) = 0;
    /// Whether this rank wishes to keep the state; one wish is enough.
    [[nodiscard]] virtual bool window_is_due() = 0;
    virtual void keep_window(Nanoseconds edge, std::vector<std::uint32_t> const& nodes,
                             std::uint64_t layout, SaveNode const& save) = 0;
};

}  // namespace ckvsim::fleet
