// One GPU server in virtual time: tiers, links, devices and batches, request by request.
//
// A request is looked up when it starts. Its entry travels (NVMe -> host -> GPU, each a queue), or
// its ids come over the network when there is none; table rows beyond GPU memory travel, too. Then
// it joins its GPU's queue. A batch closes when it is full or its first request has waited long
// enough, never before the GPU is free; it prefills what was missing, appends what is new, decodes
// and scores. Room for an entry is made when its request starts, and the entry waits for the
// write-back that made it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <queue>
#include <span>
#include <vector>

#include "core/hash.hpp"
#include "fleet/arrivals.hpp"
#include "fleet/events.hpp"
#include "fleet/fleet_result.hpp"
#include "fleet/node_setup.hpp"
#include "node/fifo_server.hpp"
#include "node/server_pool.hpp"

namespace ckvsim::fleet {

struct NodeRun {
    std::uint64_t seed = 1;
    Nanoseconds warmup_ns = 0;    ///< requests that start earlier are served, not measured
    Nanoseconds duration_ns = 0;  ///< for the series
    Nanoseconds slo_ns = 0;       ///< answers within it are good
    /// A session's first request is announced so long before it starts; its entry is fetched then.
    Nanoseconds prefetch_lead_ns = 0;
    std::uint64_t fleet_users = 0;  ///< of all nodes, for the classes of activity; 0 = one class
};

class NodeSim {
  public:
    /// `setup` and `costs` must outlive the simulation.
    NodeSim(NodeSetup const& setup, ServingCosts const& costs, NodeRun const& run,
            std::uint32_t node, std::uint64_t users);

    [[nodiscard]] NodeTiers& tiers() { return tiers_; }
    /// What will happen to the node, in order; before the first request. `events` must outlive the
    /// simulation.
    void schedule(std::span<FleetEvent const> events, std::vector<NodeAction> actions);
    /// Lets happen what is due; serving does it by itself.
    void pass_events(Nanoseconds now);
    /// Gone: requests that come are lost.
    [[nodiscard]] bool down() const { return faults_.down > 0; }
    /// Not part of the fleet now: routers send nobody, who comes is served.
    [[nodiscard]] bool away() const { return faults_.away > 0; }
    /// Requests in order of time; calls continue where the last one ended.
    void serve(std::span<Arrival const> arrivals);
    /// A request of another node's user who is served here, in order with the others. `events` of
    /// his history before it, as his home knows them.
    void serve_guest(Arrival const& arrival, std::uint32_t events);
    /// A request of a user at home that another node serves: his history grows without being
    /// served here; what the entry here lacks is appended at his next visit. Returns the events
    /// before it.
    std::uint32_t send_away(Arrival const& arrival);
    /// Time until the GPUs have done all that is known at `now`, summed over GPUs; a request that
    /// waits counts as the mean of those that its GPU has served.
    [[nodiscard]] Nanoseconds backlog_ns(Nanoseconds now) const;
    /// Counters so far, without gauges and hash.
    [[nodiscard]] FleetResult const& so_far() const { return result_; }
    /// Serves what waits and returns the counters.
    FleetResult finish();

    /// Everything that changes between two requests, see core/archive.hpp; load into a simulation
    /// that was made with the same arguments. A new member that changes belongs here, too.
    template <class Archive>
    void archive(Archive& ar) {
        ar(tiers_);
        ar.fixed(gpus_);
        ar(nvme_, nic_, hops_, order_, result_, hash_, guests_, guest_count_, owed_, rates_,
           faults_);
        if constexpr (Archive::kLoads)
            ar.require(is_whole() && are_requests_whole() && are_classes_whole(),
                       "a node's queues, guests or classes of users are broken");
    }

  private:
    /// Of who asks, one a grouping.
    using Classes = std::array<std::uint8_t, kGroupings>;
    struct Pending {
        Nanoseconds ready_ns = 0;
        Nanoseconds start_ns = 0;  ///< intended
        std::uint64_t user = 0;
        std::uint32_t order = 0;  ///< breaks ties
        std::uint16_t interactions = 0;
        std::uint16_t appended = 0;
        Residence found = Residence::none;
        Classes classes{};
    };
    struct Later {
        bool operator()(Pending const& a, Pending const& b) const {
            return a.ready_ns != b.ready_ns ? a.ready_ns > b.ready_ns : a.order > b.order;
        }
    };
    /// From NVMe in host memory, to go on over the link.
    struct Hop {
        Nanoseconds at_ns = 0;
        std::uint32_t gpu = 0;
        std::uint64_t link_bytes = 0;
        Pending request;
    };
    struct LaterHop {
        bool operator()(Hop const& a, Hop const& b) const {
            return a.at_ns != b.at_ns ? a.at_ns > b.at_ns : a.request.order > b.request.order;
        }
    };
    struct Gpu {
        node::FifoServer link_in;
        node::FifoServer link_out;
        Nanoseconds free_ns = 0;
        std::uint64_t batches = 0;
        Nanoseconds worked_ns = 0;   ///< of all batches
        std::uint64_t answered = 0;  ///< requests of all batches
        std::size_t hopping = 0;     ///< requests whose entry is on its way from flash to the host
        std::vector<Pending> ready;  ///< ring, ascending in ready_ns
        std::size_t head = 0;
        std::size_t count = 0;
        std::priority_queue<Pending, std::vector<Pending>, Later> coming;

        template <class Archive>
        void archive(Archive& ar) {
            ar(link_in, link_out, free_ns, batches, worked_ns, answered, hopping, ready, head,
               count, coming);
        }
    };
    struct Transfer {
        Nanoseconds ready_ns = 0;
        bool hop = false;
        Nanoseconds hop_ns = 0;
        std::uint64_t link_bytes = 0;
    };

    /// Factors on the devices' times, from the events that last.
    struct Rates {
        double gpu = 1.0;
        double ns_per_link_byte = 0.0;
        double ns_per_nic_byte = 0.0;
        double ns_per_nvme_read_byte = 0.0;
        double ns_per_nvme_write_byte = 0.0;
        TableReads reads;
    };
    static constexpr Nanoseconds kNever = std::numeric_limits<Nanoseconds>::max();
    /// What is still to happen, and what lasts.
    struct Faults {
        std::span<FleetEvent const> events;
        std::vector<NodeAction> actions;
        std::size_t next = 0;
        Nanoseconds next_ns = kNever;   ///< of the next action
        Nanoseconds crash_ns = kNever;  ///< of the next crash
        std::uint16_t crash_event = 0;  ///< that crash's; while down the one that lasts
        std::uint32_t down = 0;         ///< crashes that last
        std::uint32_t away = 0;         ///< scaled in, or not yet out
        bool grown = false;             ///< the rows of new items are there
        std::vector<std::uint16_t> active;
        std::vector<std::uint16_t> link_swaps;  ///< events whose delivery takes part of the link
        std::vector<std::uint16_t> nic_swaps;

        /// The events come from schedule(); some actions are made on the way.
        template <class Archive>
        void archive(Archive& ar) {
            ar(actions, next, next_ns, crash_ns, crash_event, down, away, grown, active, link_swaps,
               nic_swaps);
        }
    };

    /// `lacking`: events that the entry does not hold yet, the arrival's own included.
    /// False: shed.
    bool arrive(Arrival const& arrival, std::uint32_t place, std::uint32_t lacking);
    Nanoseconds write_back(std::uint32_t gpu, Nanoseconds from, Moves const& moves, bool counts);
    Transfer move(Arrival const& arrival, std::uint32_t gpu, std::uint32_t interactions,
                  Residence found, std::uint64_t entry_bytes, Moves const& moves);
    [[nodiscard]] bool too_slow(std::uint32_t gpu, Residence found, std::uint64_t entry_bytes,
                                Nanoseconds now) const;
    void land(Hop const& hop);
    Nanoseconds over_link(std::uint32_t gpu, Nanoseconds at_ns, std::uint64_t bytes);
    void advance(std::uint32_t gpu, Nanoseconds now);
    void push_ready(Gpu& gpu, Pending const& request);
    void run_batch(std::uint32_t index, Nanoseconds start_ns);
    void complete(Pending const& request, Nanoseconds start_ns, Nanoseconds end_ns);
    [[nodiscard]] bool measured(Nanoseconds start_ns) const { return start_ns >= run_.warmup_ns; }
    [[nodiscard]] Nanoseconds stage_ns(StageWork const& work, double noise) const;
    PartCounts& bin(Nanoseconds start_ns) {
        auto const at = static_cast<std::size_t>(
            static_cast<double>(start_ns) /
            static_cast<double>(std::max<Nanoseconds>(run_.duration_ns, 1)) * kSeriesBins);
        return result_.series[std::min(at, kSeriesBins - 1)];
    }
    [[nodiscard]] Classes classes_of(Arrival const& arrival, std::uint32_t place) const;
    /// Counts a measured request that gets no answer in the classes of who asked.
    void count_refused(Classes const& classes, std::uint64_t PartCounts::*why);
    [[nodiscard]] bool only_counts(NodeAction const& action) const;
    void happen(NodeAction const& action);
    void find_next();
    void refresh(NodeAction const& action);
    void deliver_model(std::uint16_t event, Nanoseconds now);
    void deliver(std::uint16_t event, Nanoseconds now, std::uint64_t over_nic,
                 std::uint64_t over_link);
    void grow_catalogue(std::uint16_t event, Nanoseconds now);
    void arrived(std::uint16_t event);
    void begin_event(std::uint16_t event, Nanoseconds now);
    void end_event(std::uint16_t event, Nanoseconds now);
    void crash(std::uint16_t event, Nanoseconds now);
    void lose(Pending const& request, std::uint16_t event);
    void refuse_while_down(Arrival const& arrival, std::uint32_t place);
    void set_rates();
    void owe(std::uint32_t place, std::uint32_t events);
    [[nodiscard]] std::uint32_t owed(std::uint32_t place) const {
        return place < owed_.size() ? owed_[place] : 0;
    }
    std::uint32_t guest_place(std::uint64_t user, std::uint32_t events);
    /// Whether loaded queues and guests can be used.
    [[nodiscard]] bool is_whole() const;
    [[nodiscard]] bool are_requests_whole() const;
    /// Whether the classes' counts, of requests that have their end, agree with each other.
    [[nodiscard]] bool are_classes_whole() const;

    NodeSetup const& setup_;
    ServingCosts const& costs_;
    NodeRun run_;
    std::uint32_t node_;
    std::uint64_t users_;
    NodeTiers tiers_;
    std::vector<Gpu> gpus_;
    node::ServerPool nvme_;
    node::FifoServer nic_;
    std::priority_queue<Hop, std::vector<Hop>, LaterHop> hops_;
    std::uint32_t order_ = 0;
    Nanoseconds max_wait_ns_;
    Nanoseconds patience_ns_;
    ActivityGroups activity_;
    std::size_t groupings_ = static_cast<std::size_t>(Grouping::sign_up);  ///< counted in so many
    FleetResult result_;
    UnorderedHash hash_;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> guests_;  ///< open addressing: user, place
    std::size_t guest_count_ = 0;
    std::vector<std::uint16_t>
        owed_;  ///< by place: events to encode at the next visit; other nodes
                ///< served them, or a new model changed them; 2 bytes a user
    Rates rates_;
    Faults faults_;
};

}  // namespace ckvsim::fleet
