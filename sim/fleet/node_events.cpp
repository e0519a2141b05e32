// What events do to a node.
#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "fleet/node_sim.hpp"

namespace ckvsim::fleet {

namespace {

std::uint64_t shared_bytes(NodeSetup const& setup, bool host) {
    double bytes = 0.0;
    for (auto const& table : setup.tables) bytes += table.hbm_bytes + (host ? table.dram_bytes : 0);
    return static_cast<std::uint64_t>(bytes);
}

}  // namespace

void NodeSim::schedule(std::span<FleetEvent const> events, std::vector<NodeAction> actions) {
    faults_.events = events;
    faults_.actions = std::move(actions);
    validate(catalogue_growth({events.begin(), events.end()}) == 0.0 || setup_.growth,
             "NodeSim: the setup does not know that the catalogue grows");
    // Who signed up is told apart only where somebody can.
    bool const sign_ups = std::any_of(events.begin(), events.end(), [](FleetEvent const& e) {
        return e.kind == EventKind::new_users && e.users_share > 0.0;
    });
    groupings_ = sign_ups ? kGroupings : static_cast<std::size_t>(Grouping::sign_up);
    find_next();
}

void NodeSim::find_next() {
    auto const& actions = faults_.actions;
    faults_.next_ns = faults_.next < actions.size() ? actions[faults_.next].at_ns : kNever;
    faults_.crash_ns = kNever;
    for (std::size_t i = faults_.next; i < actions.size(); ++i) {
        if (actions[i].what != NodeAction::What::begin ||
            faults_.events[actions[i].event].kind != EventKind::crash)
            continue;
        faults_.crash_ns = actions[i].at_ns;
        if (!down()) faults_.crash_event = actions[i].event;
        return;
    }
}

void NodeSim::pass_events(Nanoseconds now) {
    while (faults_.next_ns <= now) {
        Nanoseconds const at = faults_.next_ns;
        if (only_counts(faults_.actions[faults_.next])) {
            ++result_.events[faults_.actions[faults_.next++].event].times;
            find_next();
            continue;
        }
        // Everything before it, in order.
        while (!hops_.empty() && hops_.top().at_ns <= at) {
            Hop const hop = hops_.top();
            hops_.pop();
            land(hop);
        }
        for (std::uint32_t g = 0; g < gpus_.size(); ++g) advance(g, at);
        NodeAction const action = faults_.actions[faults_.next++];
        happen(action);
        find_next();
    }
}

/// Changes nothing on the node, so nothing needs to be done before it, either: what waits is seen
/// by routers as it would be without it.
bool NodeSim::only_counts(NodeAction const& action) const {
    auto const& event = faults_.events[action.event];
    if (event.kind == EventKind::catalogue) return !setup_.growth;
    return event.kind == EventKind::new_users;
}

void NodeSim::happen(NodeAction const& action) {
    switch (action.what) {
        case NodeAction::What::refresh:
            refresh(action);
            break;
        case NodeAction::What::begin:
            begin_event(action.event, action.at_ns);
            break;
        case NodeAction::What::end:
            end_event(action.event, action.at_ns);
            break;
        case NodeAction::What::link_swapped:
            std::erase(faults_.link_swaps, action.event);
            arrived(action.event);
            break;
        case NodeAction::What::nic_swapped:
            std::erase(faults_.nic_swaps, action.event);
            arrived(action.event);
            break;
    }
    set_rates();
}

/// A new model for a slice of the users: their entries are stale. What a node that is gone would
/// get it gets before it returns.
void NodeSim::refresh(NodeAction const& action) {
    auto const& event = faults_.events[action.event];
    auto& counts = result_.events[action.event];
    if (action.slice == 0) {
        ++counts.times;
        if (!down()) deliver_model(action.event, action.at_ns);
    }
    if (!costs_.entries_from_model()) return;
    bool const repairs = costs_.codes_by_item() && event.changed_share < 1.0;
    for (std::uint64_t p = 0; p < tiers_.places(); ++p) {
        if (action.slices > 1 && (p / gpus_.size()) % action.slices != action.slice) continue;
        auto const place = static_cast<std::uint32_t>(p);
        auto const& state = tiers_.state(place);
        if (static_cast<Residence>(state.residence) == Residence::none) continue;
        ++counts.entries;
        if (!repairs) {
            tiers_.drop(place);
            continue;
        }
        double const tokens = event.changed_share * tiers_.interactions(state);
        owe(place, static_cast<std::uint32_t>(std::lround(tokens)));
    }
}

/// Weights and pools for every GPU, tables for GPU and host memory.
void NodeSim::deliver_model(std::uint16_t event, Nanoseconds now) {
    auto const weights = static_cast<std::uint64_t>(costs_.resident_bytes());
    deliver(event, now, weights + shared_bytes(setup_, true),
            weights + shared_bytes(setup_, false));
}

/// Over the network once, over every link; both give their share until it is there.
void NodeSim::deliver(std::uint16_t event, Nanoseconds now, std::uint64_t over_nic,
                      std::uint64_t over_link) {
    double const share = faults_.events[event].swap_share;
    if (share <= 0.0) return;
    result_.events[event].swap_bytes += over_nic + over_link * gpus_.size();
    auto const add = [&](NodeAction::What what, std::uint64_t bytes, double ns_per_byte,
                         std::vector<std::uint16_t>& swaps) {
        auto const ns = static_cast<Nanoseconds>(
            std::llround(static_cast<double>(bytes) * ns_per_byte / share));
        if (ns == 0) return;
        swaps.push_back(event);
        NodeAction const done{.at_ns = now + ns, .event = event, .what = what};
        auto& actions = faults_.actions;
        actions.insert(std::upper_bound(actions.begin() + static_cast<std::ptrdiff_t>(faults_.next),
                                        actions.end(), done, happens_before),
                       done);
    };
    add(NodeAction::What::link_swapped, over_link, setup_.ns_per_link_byte, faults_.link_swaps);
    add(NodeAction::What::nic_swapped, over_nic, setup_.ns_per_nic_byte, faults_.nic_swaps);
}

/// New items: their rows travel, and are read when all of them are there. A node that is gone gets
/// them before it returns.
void NodeSim::grow_catalogue(std::uint16_t event, Nanoseconds now) {
    auto const hbm = static_cast<std::uint64_t>(setup_.growth->hbm_bytes);
    auto const dram = static_cast<std::uint64_t>(setup_.growth->dram_bytes);
    if (!down()) deliver(event, now, hbm + dram, hbm);
    arrived(event);
}

/// Something that was delivered; new rows are read when nothing of them is on its way.
void NodeSim::arrived(std::uint16_t event) {
    auto const on_its_way = [&](std::vector<std::uint16_t> const& swaps) {
        return std::find(swaps.begin(), swaps.end(), event) != swaps.end();
    };
    if (faults_.events[event].kind != EventKind::catalogue || on_its_way(faults_.link_swaps) ||
        on_its_way(faults_.nic_swaps))
        return;
    faults_.grown = true;
}

void NodeSim::begin_event(std::uint16_t index, Nanoseconds now) {
    auto const& event = faults_.events[index];
    ++result_.events[index].times;
    faults_.active.push_back(index);
    if (event.kind == EventKind::crash) crash(index, now);
    if (event.kind == EventKind::catalogue) grow_catalogue(index, now);
    if (event.kind == EventKind::scale_in || event.kind == EventKind::scale_out) ++faults_.away;
    if (event.kind == EventKind::scale_out) {
        for (auto const tier : {Residence::hbm, Residence::dram, Residence::nvme})
            tiers_.clear(tier);
    }
    if (event.kind == EventKind::tier_loss) {
        result_.events[index].entries += tiers_.clear(event.tier);
        tiers_.set_room(event.tier, false);
    }
}

void NodeSim::end_event(std::uint16_t index, Nanoseconds now) {
    auto const& event = faults_.events[index];
    auto const at = std::find(faults_.active.begin(), faults_.active.end(), index);
    if (at != faults_.active.end()) faults_.active.erase(at);
    if (event.kind == EventKind::scale_out) --faults_.away;
    if (event.kind == EventKind::tier_loss) {
        bool const still_lost =
            std::any_of(faults_.active.begin(), faults_.active.end(), [&](auto const other) {
                return faults_.events[other].kind == EventKind::tier_loss &&
                       faults_.events[other].tier == event.tier;
            });
        if (!still_lost) tiers_.set_room(event.tier, true);
    }
    if (event.kind != EventKind::crash || --faults_.down > 0) return;
    // Nothing moves before the return, announced or not.
    for (auto& gpu : gpus_) {
        gpu.free_ns = now;
        gpu.link_in.serve(now, 0);
        gpu.link_out.serve(now, 0);
    }
    nic_.serve(now, 0);
    for (std::uint32_t d = 0; d < setup_.nvme_devices; ++d) nvme_.serve(now, 0);
}

/// The node goes: what waits is lost, memory is empty, transfers end.
void NodeSim::crash(std::uint16_t index, Nanoseconds now) {
    auto const& event = faults_.events[index];
    auto& counts = result_.events[index];
    ++faults_.down;
    faults_.crash_event = index;
    for (; !hops_.empty(); hops_.pop()) lose(hops_.top().request, index);
    for (auto& gpu : gpus_) {
        std::size_t const mask = gpu.ready.size() - 1;
        for (; gpu.count > 0; --gpu.count, ++gpu.head) lose(gpu.ready[gpu.head & mask], index);
        for (; !gpu.coming.empty(); gpu.coming.pop()) lose(gpu.coming.top(), index);
        gpu.head = 0;
        gpu.hopping = 0;
        gpu.free_ns = now;
        gpu.link_in = {};
        gpu.link_out = {};
    }
    nic_ = {};
    nvme_ = node::ServerPool(setup_.nvme_devices);
    counts.entries += tiers_.clear(Residence::hbm) + tiers_.clear(Residence::dram);
    if (!event.keeps_flash) counts.entries += tiers_.clear(Residence::nvme);
}

void NodeSim::set_rates() {
    double gpu = 1.0;
    double link = 1.0;
    double nic = 1.0;
    double nvme = 1.0;
    for (auto const index : faults_.active) {
        auto const& event = faults_.events[index];
        if (event.kind == EventKind::slow) gpu *= event.slowdown;
        if (event.kind == EventKind::link) link *= event.slowdown;
        if (event.kind == EventKind::nic) nic *= event.slowdown;
        if (event.kind == EventKind::nvme) nvme *= event.slowdown;
    }
    for (auto const index : faults_.link_swaps) link /= 1.0 - faults_.events[index].swap_share;
    for (auto const index : faults_.nic_swaps) nic /= 1.0 - faults_.events[index].swap_share;
    rates_.reads = faults_.grown ? setup_.growth->reads : setup_.reads;
    rates_.gpu = gpu;
    rates_.ns_per_link_byte = setup_.ns_per_link_byte * link;
    rates_.ns_per_nic_byte = setup_.ns_per_nic_byte * nic;
    rates_.ns_per_nvme_read_byte = setup_.ns_per_nvme_read_byte * nvme;
    rates_.ns_per_nvme_write_byte = setup_.ns_per_nvme_write_byte * nvme;
}

}  // namespace ckvsim::fleet
