#include "fleet/tiers.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

/// At least one tick where there is a limit at all.
std::uint32_t ticks_to_live(double ttl_s) {
    double const ticks = ttl_s * 1e9 / static_cast<double>(1 << 20);
    return ttl_s <= 0.0 ? 0 : static_cast<std::uint32_t>(std::clamp(ticks, 1.0, 2147483647.0));
}

}  // namespace

std::string to_string(EvictionPolicy value) {
    switch (value) {
        case EvictionPolicy::lru:
            return "lru";
        case EvictionPolicy::fifo:
            return "fifo";
        case EvictionPolicy::clock:
            return "clock";
        case EvictionPolicy::sieve:
            return "sieve";
    }
    throw InternalError("fleet::to_string: unknown policy");
}

std::string to_string(Admission value) { return value == Admission::all ? "all" : "second_visit"; }

NodeTiers::NodeTiers(std::uint64_t users, std::uint64_t most_guests, std::uint32_t gpus,
                     TierParams const& params, ServingCosts const& costs)
    : states_(users, users + most_guests),
      gpus_(gpus),
      max_(costs.max_interactions()),
      params_(params),
      ttl_ticks_(ticks_to_live(params.ttl_s)),
      lists_(gpus + 2) {
    validate(gpus >= 1 && users + most_guests < kNoPlace, "NodeTiers: gpus and users");
    validate(!params.inclusive || params.dram_bytes >= params.hbm_bytes * gpus,
             "NodeTiers: inclusive host memory must hold what the GPUs hold");
    for (std::uint32_t n = 0; n <= max_; ++n) entry_bytes_.push_back(costs.entry_bytes(n));
    for (std::uint32_t g = 0; g < gpus; ++g) lists_[g].capacity = params.hbm_bytes;
    lists_[gpus].capacity = params.dram_bytes;
    lists_[gpus + 1].capacity = params.nvme_bytes;
}

void NodeTiers::link_newest(List& l, std::uint32_t place) {
    UserState& s = states_[place];
    s.newer = kNoPlace;
    s.older = l.newest;
    if (l.newest != kNoPlace) states_[l.newest].newer = place;
    l.newest = place;
    if (l.oldest == kNoPlace) l.oldest = place;
    ++l.count;
}

void NodeTiers::unlink(List& l, std::uint32_t place) {
    UserState const& s = states_[place];
    if (l.hand == place) l.hand = s.newer;
    (s.newer == kNoPlace ? l.newest : states_[s.newer].older) = s.older;
    (s.older == kNoPlace ? l.oldest : states_[s.older].newer) = s.newer;
    --l.count;
}

std::uint32_t NodeTiers::victim(List& l) {
    if (params_.policy == EvictionPolicy::clock) {
        while (states_[l.oldest].visited != 0) {
            std::uint32_t const spared = l.oldest;
            states_[spared].visited = 0;
            unlink(l, spared);
            link_newest(l, spared);
        }
    } else if (params_.policy == EvictionPolicy::sieve) {
        if (l.hand == kNoPlace) l.hand = l.oldest;
        while (states_[l.hand].visited != 0) {
            states_[l.hand].visited = 0;
            l.hand = states_[l.hand].newer == kNoPlace ? l.oldest : states_[l.hand].newer;
        }
        return l.hand;
    }
    return l.oldest;
}

/// Evicts until `bytes` more fit. False when they cannot.
bool NodeTiers::make_room(Residence tier, std::uint32_t gpu_place, std::uint64_t bytes,
                          Moves& moves) {
    List& l = list(tier, gpu_place);
    if (bytes > l.capacity) return false;
    while (l.used + bytes > l.capacity) {
        if (l.count == 0) return false;  // inclusive: the rest belongs to the GPUs
        std::uint32_t const out = victim(l);
        ++moves.evictions;
        push_down(tier, out, moves);
    }
    return true;
}

/// Moves an entry to the next tier that takes it, or drops it.
void NodeTiers::push_down(Residence from, std::uint32_t place, Moves& moves) {
    UserState& s = states_[place];
    std::uint64_t const size = bytes(s);
    List& l = list(from, place);
    unlink(l, place);
    l.used -= size;
    s.visited = 0;
    if (from == Residence::hbm && params_.inclusive) {  // its bytes are in host memory already
        s.residence = static_cast<std::uint8_t>(Residence::dram);
        link_newest(lists_[gpus_], place);
        return;
    }
    if (from == Residence::hbm && make_room(Residence::dram, place, size, moves)) {
        s.residence = static_cast<std::uint8_t>(Residence::dram);
        lists_[gpus_].used += size;
        link_newest(lists_[gpus_], place);
        moves.hbm_to_dram += size;
        return;
    }
    if (from != Residence::nvme && make_room(Residence::nvme, place, size, moves)) {
        s.residence = static_cast<std::uint8_t>(Residence::nvme);
        lists_[gpus_ + 1].used += size;
        link_newest(lists_[gpus_ + 1], place);
        (from == Residence::hbm ? moves.hbm_to_dram : moves.dram_to_nvme) += size;
        if (from == Residence::hbm) moves.dram_to_nvme += size;
        return;
    }
    s.residence = static_cast<std::uint8_t>(Residence::none);
    ++moves.dropped;
}

/// Puts an entry that is in no list into `tier` or the next one below that takes it.
void NodeTiers::settle(std::uint32_t place, Residence tier, Moves& moves) {
    UserState& s = states_[place];
    std::uint64_t const size = bytes(s);
    bool const kept = static_cast<Residence>(s.residence) != Residence::none;
    s.visited = 0;
    s.residence = static_cast<std::uint8_t>(Residence::none);
    if (tier == Residence::hbm && size <= params_.hbm_bytes &&
        make_room(Residence::hbm, place, size, moves) &&
        (!params_.inclusive || make_room(Residence::dram, place, size, moves))) {
        if (params_.inclusive) lists_[gpus_].used += size;
    } else if (make_room(Residence::dram, place, size, moves)) {
        tier = Residence::dram;
        moves.hbm_to_dram += size;
    } else if (make_room(Residence::nvme, place, size, moves)) {
        tier = Residence::nvme;
        moves.hbm_to_dram += size;
        moves.dram_to_nvme += size;
    } else {
        if (kept) ++moves.dropped;  // it has outgrown every tier
        return;
    }
    List& l = list(tier, place);
    l.used += size;
    link_newest(l, place);
    s.residence = static_cast<std::uint8_t>(tier);
}

Residence NodeTiers::look_up(std::uint32_t place, std::uint32_t now_tick) {
    UserState& s = states_[place];
    auto const tier = static_cast<Residence>(s.residence);
    if (tier == Residence::none || ttl_ticks_ == 0 || now_tick - s.last_tick <= ttl_ticks_)
        return tier;
    List& l = list(tier, place);
    unlink(l, place);
    l.used -= bytes(s);
    if (tier == Residence::hbm && params_.inclusive) lists_[gpus_].used -= bytes(s);
    s.residence = static_cast<std::uint8_t>(Residence::none);
    return Residence::none;
}

Residence NodeTiers::serve(std::uint32_t place, std::uint32_t appended, std::uint32_t now_tick,
                           Moves& moves) {
    UserState& s = states_[place];
    auto const from = static_cast<Residence>(s.residence);
    std::uint64_t const before = bytes(s);
    auto const events =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(s.events + appended, 65535));
    s.last_tick = now_tick;
    if (from != Residence::hbm) {
        if (from != Residence::none) {
            List& l = list(from, place);
            unlink(l, place);
            l.used -= before;
        }
        s.events = events;
        bool const admitted = params_.admission == Admission::all || from != Residence::none;
        settle(place, admitted ? Residence::hbm : Residence::dram, moves);
        return static_cast<Residence>(s.residence);
    }
    List& l = list(Residence::hbm, place);
    s.events = events;
    std::uint64_t const more = bytes(s) - before;
    l.used += more;
    if (params_.inclusive) lists_[gpus_].used += more;
    if (params_.policy == EvictionPolicy::lru) {
        if (l.newest != place) {
            unlink(l, place);
            link_newest(l, place);
        }
    } else {
        s.visited = 1;
    }
    if (more > 0) {
        make_room(Residence::hbm, place, 0, moves);
        if (params_.inclusive) make_room(Residence::dram, place, 0, moves);
    }
    return static_cast<Residence>(s.residence);
}

void NodeTiers::grow(std::uint32_t place, std::uint32_t appended, Moves& moves) {
    UserState& s = states_[place];
    auto const tier = static_cast<Residence>(s.residence);
    std::uint64_t const before = bytes(s);
    s.events = static_cast<std::uint16_t>(std::min<std::uint32_t>(s.events + appended, 65535));
    std::uint64_t const more = bytes(s) - before;
    if (tier == Residence::none || more == 0) return;
    list(tier, place).used += more;
    bool const twice = tier == Residence::hbm && params_.inclusive;
    if (twice) lists_[gpus_].used += more;
    make_room(tier, place, 0, moves);
    if (twice) make_room(Residence::dram, place, 0, moves);
}

bool NodeTiers::place_oldest(std::uint32_t place, Residence tier) {
    UserState& s = states_[place];
    List& l = list(tier, place);
    std::uint64_t const size = bytes(s);
    if (l.used + size > l.capacity) return false;
    List& host = lists_[gpus_];
    if (tier == Residence::hbm && params_.inclusive) {
        if (host.used + size > host.capacity) return false;
        host.used += size;
    }
    s.residence = static_cast<std::uint8_t>(tier);
    s.older = kNoPlace;
    s.newer = l.oldest;
    if (l.oldest != kNoPlace) states_[l.oldest].older = place;
    l.oldest = place;
    if (l.newest == kNoPlace) l.newest = place;
    ++l.count;
    l.used += size;
    return true;
}

std::uint32_t NodeTiers::add_place() {
    UserState& s = states_.grow();
    s = UserState{};
    return static_cast<std::uint32_t>(states_.size() - 1);
}

std::uint64_t NodeTiers::used_bytes(Residence tier) const {
    if (tier != Residence::hbm) return lists_[gpus_ + static_cast<std::size_t>(tier) - 2].used;
    std::uint64_t sum = 0;
    for (std::uint32_t g = 0; g < gpus_; ++g) sum += lists_[g].used;
    return sum;
}

std::uint64_t NodeTiers::entries(Residence tier) const {
    if (tier != Residence::hbm) return lists_[gpus_ + static_cast<std::size_t>(tier) - 2].count;
    std::uint64_t sum = 0;
    for (std::uint32_t g = 0; g < gpus_; ++g) sum += lists_[g].count;
    return sum;
}

std::uint64_t NodeTiers::capacity_bytes(Residence tier) const {
    return tier == Residence::hbm ? params_.hbm_bytes * gpus_
                                  : lists_[gpus_ + static_cast<std::size_t>(tier) - 2].capacity;
}

void NodeTiers::check() const {
    std::array<std::uint64_t, kResidences> counted{};
    for (std::size_t p = 0; p < states_.size(); ++p) ++counted[states_[p].residence];
    std::uint64_t hbm_bytes = 0;
    for (std::size_t i = 0; i < lists_.size(); ++i) {
        List const& l = lists_[i];
        std::uint64_t count = 0;
        std::uint64_t used = 0;
        std::uint32_t before = kNoPlace;
        for (std::uint32_t p = l.newest; p != kNoPlace; p = states_[p].older) {
            validate(states_[p].newer == before, "NodeTiers: a list is broken");
            validate(i >= gpus_ || p % gpus_ == i, "NodeTiers: an entry is on another GPU");
            before = p;
            used += bytes(states_[p]);
            ++count;
        }
        if (i < gpus_) hbm_bytes += used;
        if (i == gpus_ && params_.inclusive) used += hbm_bytes;
        validate(before == l.oldest && count == l.count && used == l.used,
                 "NodeTiers: a list's counters are wrong");
        validate(l.used <= l.capacity, "NodeTiers: a tier is over its capacity");
    }
    validate(counted[1] == entries(Residence::hbm) && counted[2] == entries(Residence::dram) &&
                 counted[3] == entries(Residence::nvme),
             "NodeTiers: residences and lists disagree");
}

}  // namespace ckvsim::fleet
