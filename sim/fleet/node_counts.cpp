// How a node counts its requests, when each has its end.
#include "fleet/node_sim.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::uint64_t kLostMark = 0x1057ULL << 48;

}  // namespace

NodeSim::Classes NodeSim::classes_of(Arrival const& arrival, std::uint32_t place) const {
    return {history_class(tiers_.state(place).events + std::uint32_t{arrival.appended}),
            activity_.of(arrival.user), sign_up_class(arrival.is_new)};
}

bool NodeSim::are_requests_whole() const {
    auto const is_whole = [](Pending const& request) {
        if (static_cast<std::size_t>(request.found) >= kResidences) return false;
        for (std::size_t g = 0; g < kGroupings; ++g)
            if (request.classes[g] >= kUserClasses ||
                user_class(request.classes[g]).grouping != static_cast<Grouping>(g))
                return false;
        return true;
    };
    auto const all_whole = [&](auto queue) {
        for (; !queue.empty(); queue.pop())
            if (!is_whole(queue.top())) return false;
        return true;
    };
    for (auto const& gpu : gpus_) {
        for (std::size_t i = 0; i < gpu.count; ++i)
            if (!is_whole(gpu.ready[(gpu.head + i) & (gpu.ready.size() - 1)])) return false;
        if (!all_whole(gpu.coming)) return false;
    }
    for (auto hops = hops_; !hops.empty(); hops.pop())
        if (hops.top().gpu >= gpus_.size() || !is_whole(hops.top().request)) return false;
    return true;
}

bool NodeSim::are_classes_whole() const {
    std::array<std::uint64_t, kGroupings> requests{};
    for (std::size_t c = 0; c < kUserClasses; ++c) {
        auto const& part = result_.classes[c];
        if (part.latency.count() != part.requests - part.shed - part.lost) return false;
        requests[static_cast<std::size_t>(user_class(c).grouping)] += part.requests;
    }
    for (std::size_t g = 0; g < kGroupings; ++g)
        if (requests[g] != (g < groupings_ ? result_.served + result_.shed + result_.lost : 0))
            return false;
    return true;
}

void NodeSim::count_refused(Classes const& classes, std::uint64_t PartCounts::*why) {
    for (std::size_t g = 0; g < groupings_; ++g) {
        auto& part = result_.classes[classes[g]];
        ++part.requests;
        ++(part.*why);
    }
}

void NodeSim::complete(Pending const& request, Nanoseconds start_ns, Nanoseconds end_ns) {
    Nanoseconds const total = end_ns - request.start_ns;
    bool const good = run_.slo_ns == 0 || total <= run_.slo_ns;
    auto& slot = bin(request.start_ns);
    slot.latency_ns += static_cast<std::uint64_t>(total);
    slot.good += good ? 1 : 0;
    slot.latency.add(total);
    hash_.add(request.user ^ (static_cast<std::uint64_t>(request.start_ns) << 20),
              static_cast<std::uint64_t>(end_ns) * 4 + static_cast<std::uint64_t>(request.found));
    if (!measured(request.start_ns)) return;
    ++result_.served;
    result_.good += good ? 1 : 0;
    result_.latency[static_cast<std::size_t>(FleetStage::fetch)].add(request.ready_ns -
                                                                     request.start_ns);
    result_.latency[static_cast<std::size_t>(FleetStage::queue)].add(start_ns - request.ready_ns);
    result_.latency[static_cast<std::size_t>(FleetStage::total)].add(total);
    bool const hit = request.found != Residence::none;
    for (std::size_t g = 0; g < groupings_; ++g) {
        auto& part = result_.classes[request.classes[g]];
        ++part.requests;
        part.hbm_hits += request.found == Residence::hbm ? 1 : 0;
        part.hits += hit ? 1 : 0;
        part.good += good ? 1 : 0;
        part.latency_ns += static_cast<std::uint64_t>(total);
        part.made_bytes += hit ? 0 : costs_.entry_bytes(request.interactions);
        part.latency.add(total);
    }
}

/// A request that was looked up and will not be answered.
void NodeSim::lose(Pending const& request, std::uint16_t event) {
    auto& slot = bin(request.start_ns);
    ++slot.lost;
    slot.hits -= request.found == Residence::none ? 0 : 1;
    slot.hbm_hits -= request.found == Residence::hbm ? 1 : 0;
    hash_.add(request.user ^ (static_cast<std::uint64_t>(request.start_ns) << 20), kLostMark);
    if (!measured(request.start_ns)) return;
    ++result_.lost;
    ++result_.events[event].lost;
    count_refused(request.classes, &PartCounts::lost);
    --result_.found[static_cast<std::size_t>(request.found)];
}

void NodeSim::refuse_while_down(Arrival const& arrival, std::uint32_t place) {
    auto& slot = bin(arrival.time_ns);
    ++slot.requests;
    ++slot.lost;
    hash_.add(arrival.user ^ (static_cast<std::uint64_t>(arrival.time_ns) << 20), kLostMark);
    if (!measured(arrival.time_ns)) {
        ++result_.warmup_requests;
        return;
    }
    ++result_.offered;
    ++result_.lost;
    ++result_.events[faults_.crash_event].lost;
    count_refused(classes_of(arrival, place), &PartCounts::lost);
}

}  // namespace ckvsim::fleet
