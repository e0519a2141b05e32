#include "fleet/events.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::uint64_t kNodeSalt = 0x7B3F0C5D1E2A9968ULL;

Nanoseconds in_ns(double seconds) { return static_cast<Nanoseconds>(std::llround(seconds * 1e9)); }

/// The share of the nodes with the smallest hashes, at least one.
std::vector<std::uint32_t> drawn_nodes(std::vector<std::uint32_t> const& all, double share,
                                       std::uint64_t key) {
    auto const count = static_cast<std::size_t>(
        std::llround(std::min(share, 1.0) * static_cast<double>(all.size())));
    if (count >= all.size()) return all;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> order;
    order.reserve(all.size());
    for (auto const node : all) order.emplace_back(mix64(key ^ mix64(node)), node);
    std::sort(order.begin(), order.end());
    std::vector<std::uint32_t> chosen;
    for (std::size_t i = 0; i < std::max<std::size_t>(count, 1) && i < order.size(); ++i)
        chosen.push_back(order[i].second);
    std::sort(chosen.begin(), chosen.end());
    return chosen;
}

}  // namespace

std::string to_string(EventKind value) {
    switch (value) {
        case EventKind::refresh:
            return "refresh";
        case EventKind::crash:
            return "crash";
        case EventKind::slow:
            return "slow";
        case EventKind::link:
            return "link";
        case EventKind::nic:
            return "nic";
        case EventKind::nvme:
            return "nvme";
        case EventKind::tier_loss:
            return "tier_loss";
        case EventKind::scale_in:
            return "scale_in";
        case EventKind::scale_out:
            return "scale_out";
        case EventKind::catalogue:
            return "catalogue";
        case EventKind::new_users:
            return "new_users";
        case EventKind::count_:
            break;
    }
    throw InternalError("fleet::to_string: unknown event");
}

double catalogue_growth(std::vector<FleetEvent> const& events) {
    double growth = 0.0;
    for (auto const& event : events)
        if (event.kind == EventKind::catalogue) growth += event.growth;
    return growth;
}

bool happens_before(NodeAction const& a, NodeAction const& b) {
    auto const key = [](NodeAction const& x) {
        return std::tuple{x.at_ns, x.what == NodeAction::What::begin ? 1 : 0, x.event, x.slice};
    };
    return key(a) < key(b);
}

EventPlan::EventPlan(std::vector<FleetEvent> events, std::vector<std::uint32_t> simulated,
                     double warmup_s, double duration_s, std::uint64_t seed)
    : events_(std::move(events)), warmup_s_(warmup_s), duration_s_(duration_s), seed_(seed) {
    validate(events_.size() <= kMostEvents, "EventPlan: too many events");
    for (std::size_t e = 0; e < events_.size(); ++e) {
        auto const& wanted = events_[e].nodes;
        if (wanted.empty()) {
            nodes_.push_back(
                drawn_nodes(simulated, events_[e].share, mix64(seed ^ kNodeSalt ^ (e << 56))));
            continue;
        }
        std::vector<std::uint32_t> hit;
        for (auto const node : simulated)
            if (std::find(wanted.begin(), wanted.end(), node) != wanted.end()) hit.push_back(node);
        nodes_.push_back(std::move(hit));
    }
}

double EventPlan::seconds(FleetEvent const& event, double time) const {
    return event.clock == EventClock::seconds ? time : time * (duration_s_ - warmup_s_);
}

double EventPlan::at_s(std::size_t event) const {
    auto const& e = events_[event];
    if (e.mean_between > 0.0) return warmup_s_;
    return seconds(e, e.at) + (e.clock == EventClock::fraction ? warmup_s_ : 0.0);
}

double EventPlan::lasts_s(std::size_t event) const {
    auto const& e = events_[event];
    bool const spread = e.kind == EventKind::refresh || e.kind == EventKind::new_users;
    return seconds(e, spread ? e.rolling : e.duration);
}

void EventPlan::add_refresh(std::vector<NodeAction>& actions, std::size_t event,
                            std::size_t rank) const {
    auto const& e = events_[event];
    double const rolling_s = seconds(e, e.rolling);
    NodeAction action;
    action.event = static_cast<std::uint16_t>(event);
    action.what = NodeAction::What::refresh;
    if (e.rolling_by == RollingBy::nodes || rolling_s == 0.0) {
        auto const count = static_cast<double>(nodes_[event].size());
        action.at_ns = in_ns(at_s(event) + rolling_s * static_cast<double>(rank) / count);
        actions.push_back(action);
        return;
    }
    action.slices = kRollingSlices;
    for (std::uint16_t i = 0; i < kRollingSlices; ++i) {
        action.slice = i;
        action.at_ns = in_ns(at_s(event) + rolling_s * i / kRollingSlices);
        actions.push_back(action);
    }
}

void EventPlan::add_spans(std::vector<NodeAction>& actions, std::size_t event,
                          std::uint32_t node) const {
    auto const& e = events_[event];
    double const lasts_s = seconds(e, e.duration);
    NodeAction action;
    action.event = static_cast<std::uint16_t>(event);
    if (e.kind == EventKind::new_users || e.kind == EventKind::catalogue) {
        // One moment. Who signs up when is known from the start: that is to be counted only.
        action.at_ns = in_ns(at_s(event));
        actions.push_back(action);
        return;
    }
    if (e.kind == EventKind::scale_in || e.kind == EventKind::scale_out) {
        // Away from the event on, or up to it.
        if (e.kind == EventKind::scale_in) action.at_ns = in_ns(at_s(event));
        actions.push_back(action);
        if (e.kind == EventKind::scale_in) return;
        action.what = NodeAction::What::end;
        action.at_ns = in_ns(at_s(event));
        actions.push_back(action);
        return;
    }
    auto const add = [&](double from_s) {
        action.what = NodeAction::What::begin;
        action.at_ns = in_ns(from_s);
        actions.push_back(action);
        action.what = NodeAction::What::end;
        action.at_ns = in_ns(from_s + lasts_s);
        actions.push_back(action);
    };
    if (e.mean_between <= 0.0) {
        add(at_s(event));
        return;
    }
    CounterRng rng(seed_, Purpose::fleet_events, node, static_cast<std::uint32_t>(event));
    double const mean_s = seconds(e, e.mean_between);
    for (double t = warmup_s_ + rng.exponential(mean_s); t < duration_s_;
         t += lasts_s + rng.exponential(mean_s))
        add(t);
}

std::vector<NodeAction> EventPlan::actions(std::uint32_t node) const {
    std::vector<NodeAction> actions;
    for (std::size_t e = 0; e < events_.size(); ++e) {
        auto const at = std::lower_bound(nodes_[e].begin(), nodes_[e].end(), node);
        if (at == nodes_[e].end() || *at != node) continue;
        if (events_[e].kind == EventKind::refresh) {
            add_refresh(actions, e, static_cast<std::size_t>(at - nodes_[e].begin()));
        } else {
            add_spans(actions, e, node);
        }
    }
    std::erase_if(actions, [&](NodeAction const& a) { return a.at_ns >= in_ns(duration_s_); });
    std::sort(actions.begin(), actions.end(), happens_before);
    return actions;
}

}  // namespace ckvsim::fleet
