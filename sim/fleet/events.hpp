// What happens to a fleet besides traffic: new models, crashes, slow parts, lost tiers. Scheduled
// or drawn from the seed; a pure function of (parameters, node), so equal for any number of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.hpp"
#include "fleet/tiers.hpp"

namespace ckvsim::fleet {

enum class EventKind : std::uint8_t {
    refresh,    ///< a new model: what was made by the old one is stale
    crash,      ///< the node is gone for `duration`; its queues are lost, it returns empty
    slow,       ///< GPU service times times `slowdown`
    link,       ///< transfer times between host and GPUs times `slowdown`
    nic,        ///< ... over the network
    nvme,       ///< ... from and to flash
    tier_loss,  ///< `tier` is emptied and takes nothing for `duration`
    scale_in,   ///< the node serves what it has and gets no more; not under home routing
    scale_out,  ///< the node comes with empty tiers and was not there before; as scale_in
    catalogue,  ///< new items: rows of shared tables, delivered as a new model is
    new_users,  ///< `users_share` of the node's users sign up; see sign_ups.hpp
    count_
};
std::string to_string(EventKind value);

/// What the times of an event are measured in.
enum class EventClock : std::uint8_t {
    fraction,  ///< of the measured time, from its start: keeps its meaning when a sweep changes it
    seconds    ///< virtual, from the start of the run
};

/// How a refresh with `rolling` > 0 spreads.
enum class RollingBy : std::uint8_t {
    nodes,  ///< node after node, each with all its users
    users   ///< every node moves its users over in kRollingSlices equal parts
};
inline constexpr std::uint16_t kRollingSlices = 64;

/// At most so many events in a study: results count each of them.
inline constexpr std::size_t kMostEvents = 16;

/// A change of the fleet as its spec describes it. Times are in the unit that `clock` names:
/// fractions of the measured time, or seconds of virtual time.
struct FleetEvent {
    EventKind kind = EventKind::refresh;
    EventClock clock = EventClock::fraction;
    double at = 0.5;                        ///< begins; only without mean_between
    double duration = 0.0;                  ///< kinds that last
    double mean_between = 0.0;              ///< > 0: drawn, exponential, for each node on its own
    std::vector<std::uint32_t> nodes = {};  ///< empty: `share` of the nodes, drawn from the seed
    double share = 1.0;
    double slowdown = 2.0;                    ///< slow, link, nic, nvme
    double rolling = 0.0;                     ///< refresh, new_users: time it is spread over
    RollingBy rolling_by = RollingBy::nodes;  ///< refresh
    /// refresh, CollectiveKV over items: share of a user's tokens whose code differs under the new
    /// model. Below 1 his entry stays, and that share is encoded at his next visit; what knows
    /// which items changed is outside the model.
    double changed_share = 1.0;
    /// catalogue: new items over those before. NodeSetup::growth has what follows from it.
    double growth = 0.0;
    /// refresh, catalogue: share of link and network that delivering weights, pools and tables, or
    /// the new items' rows, takes; 0 = delivery is not counted.
    double swap_share = 0.5;
    /// new_users: of the users at home on the nodes that it hits; below 1. 0 = nobody.
    double users_share = 0.0;
    bool keeps_flash = false;          ///< crash: entries on flash are there after the return
    Residence tier = Residence::dram;  ///< tier_loss: dram or nvme

    bool operator==(FleetEvent const&) const = default;
};

/// Of the events' catalogue event; 0 without one.
double catalogue_growth(std::vector<FleetEvent> const& events);

/// One thing that happens to a node.
struct NodeAction {
    enum class What : std::uint8_t { refresh, begin, end, link_swapped, nic_swapped };
    Nanoseconds at_ns = 0;
    std::uint16_t event = 0;  ///< index in the list of events
    What what = What::begin;
    std::uint16_t slice = 0;  ///< refresh: of `slices` parts of the users
    std::uint16_t slices = 1;

    bool operator==(NodeAction const&) const = default;
};
/// Orders a node's actions: by time, ends before begins, then by event.
bool happens_before(NodeAction const& a, NodeAction const& b);

/// A run's events with the nodes that they hit.
class EventPlan {
  public:
    /// `simulated`: nodes of the run over all ranks, ascending; only they are hit.
    EventPlan(std::vector<FleetEvent> events, std::vector<std::uint32_t> simulated, double warmup_s,
              double duration_s, std::uint64_t seed);

    [[nodiscard]] std::vector<FleetEvent> const& events() const { return events_; }
    /// What happens to a node before the end of the run, in order.
    [[nodiscard]] std::vector<NodeAction> actions(std::uint32_t node) const;
    /// Nodes an event hits, ascending.
    [[nodiscard]] std::vector<std::uint32_t> const& nodes(std::size_t event) const {
        return nodes_[event];
    }
    /// Start of a scheduled event; the start of the measured time for a drawn one.
    [[nodiscard]] double at_s(std::size_t event) const;
    /// How long a scheduled one lasts or is spread over; 0 where it is at once.
    [[nodiscard]] double lasts_s(std::size_t event) const;
    /// A time of the event's clock as seconds.
    [[nodiscard]] double seconds(FleetEvent const& event, double time) const;

  private:
    void add_refresh(std::vector<NodeAction>& actions, std::size_t event, std::size_t rank) const;
    void add_spans(std::vector<NodeAction>& actions, std::size_t event, std::uint32_t node) const;

    std::vector<FleetEvent> events_;
    std::vector<std::vector<std::uint32_t>> nodes_;
    double warmup_s_;
    double duration_s_;
    std::uint64_t seed_;
};

}  // namespace ckvsim::fleet
