#include "fleet/tiers.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "fleet/policy_tiers.hpp"
#include "node/policies/lru.hpp"
#include "node/policies/s3_fifo.hpp"
#include "node/policies/sieve.hpp"
#include "node/policies/w_tiny_lfu.hpp"

namespace ckvsim::fleet {

namespace {

/// At least one tick where there is a limit at all.
std::uint32_t ticks_to_live(double ttl_s) {
    double const ticks = ttl_s * 1e9 / static_cast<double>(1 << 20);
    return ttl_s <= 0.0 ? 0 : static_cast<std::uint32_t>(std::clamp(ticks, 1.0, 2147483647.0));
}

std::unique_ptr<TierLists> make_lists(std::uint64_t users, std::uint32_t gpus,
                                      TierParams const& params, ServingCosts const& costs) {
    switch (params.policy) {
        case EvictionPolicy::lru:
            return std::make_unique<PolicyTiers<policies::Lru>>(users, gpus, params, costs);
        case EvictionPolicy::fifo:
            return std::make_unique<PolicyTiers<policies::Fifo>>(users, gpus, params, costs);
        case EvictionPolicy::clock:
            return std::make_unique<PolicyTiers<policies::Clock>>(users, gpus, params, costs);
        case EvictionPolicy::sieve:
            return std::make_unique<PolicyTiers<policies::Sieve>>(users, gpus, params, costs);
        case EvictionPolicy::s3_fifo:
            return std::make_unique<PolicyTiers<policies::S3Fifo>>(users, gpus, params, costs);
        case EvictionPolicy::w_tiny_lfu:
            return std::make_unique<PolicyTiers<policies::WTinyLfu>>(users, gpus, params, costs);
    }
    throw InternalError("NodeTiers: unknown policy");
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
        case EvictionPolicy::s3_fifo:
            return "s3_fifo";
        case EvictionPolicy::w_tiny_lfu:
            return "w_tiny_lfu";
    }
    throw InternalError("fleet::to_string: unknown policy");
}

std::string to_string(Admission value) { return value == Admission::all ? "all" : "second_visit"; }

std::uint64_t most_bytes_per_user(EvictionPolicy policy) {
    std::uint64_t const state = sizeof(UserState);
    if (policy == EvictionPolicy::s3_fifo) return state + 2 * sizeof(policies::Links);
    return policy == EvictionPolicy::w_tiny_lfu ? state + 32 : state;
}

TierLists::TierLists(std::uint64_t users, std::uint32_t gpus, TierParams const& params,
                     ServingCosts const& costs)
    : states_(users), places_(users), gpus_(gpus), max_(costs.max_interactions()), params_(params) {
    for (std::uint32_t n = 0; n <= max_; ++n) entry_bytes_.push_back(costs.entry_bytes(n));
}

bool TierLists::neighbours_exist() const {
    auto const exists = [&](std::uint32_t place) {
        return place == policies::kNone || place < places_;
    };
    auto const good = [&](policies::Links links) {
        return exists(links.newer) && exists(links.older);
    };
    if (places_ > states_.size() || places_ > kNoPlace) return false;
    for (auto const& own : own_links_)
        if (own.size() > 0 && own.size() < places_) return false;
    for (std::size_t p = 0; p < places_; ++p) {
        if (states_[p].residence >= kResidences || !good(states_[p].links)) return false;
        for (auto const& own : own_links_)
            if (own.size() > 0 && !good(own[p])) return false;
    }
    return true;
}

std::uint32_t TierLists::sum_of_events(UserState const& s, std::uint32_t appended) {
    return std::min<std::uint32_t>(s.events + appended, 65535);
}

std::uint32_t TierLists::add_place() {
    if (places_ == kNoPlace) {
        throw BackendError("fleet: one node was to know more than " + std::to_string(kNoPlace) +
                           " users, its own and those of other nodes; use more nodes");
    }
    if (places_ == states_.size()) {
        std::uint64_t const larger =
            std::min<std::uint64_t>(std::max<std::uint64_t>(1024, 2 * places_), kNoPlace);
        states_.grow(larger);
        for (auto& own : own_links_)
            if (own.size() > 0) own.grow(larger);
    }
    return static_cast<std::uint32_t>(places_++);
}

std::uint64_t TierLists::capacity_bytes(Residence tier) const {
    switch (tier) {
        case Residence::hbm:
            return params_.hbm_bytes * gpus_;
        case Residence::dram:
            return params_.dram_bytes;
        case Residence::nvme:
            return params_.nvme_bytes;
        case Residence::none:
            break;
    }
    throw InternalError("NodeTiers: no such tier");
}

std::uint64_t TierLists::state_bytes() const {
    std::uint64_t bytes = places_ * sizeof(UserState) + policy_bytes();
    for (auto const& own : own_links_)
        if (own.size() > 0) bytes += places_ * sizeof(policies::Links);
    return bytes;
}

NodeTiers::NodeTiers(std::uint64_t users, std::uint32_t gpus, TierParams const& params,
                     ServingCosts const& costs)
    : gpus_(gpus), max_(costs.max_interactions()), ttl_ticks_(ticks_to_live(params.ttl_s)) {
    validate(gpus >= 1 && users < kNoPlace, "NodeTiers: gpus and users");
    validate(!params.inclusive || params.dram_bytes >= params.hbm_bytes * gpus,
             "NodeTiers: inclusive host memory must hold what the GPUs hold");
    lists_ = make_lists(users, gpus, params, costs);
    find_arrays();
}

NodeTiers::~NodeTiers() = default;
NodeTiers::NodeTiers(NodeTiers&&) noexcept = default;
NodeTiers& NodeTiers::operator=(NodeTiers&&) noexcept = default;

void NodeTiers::find_arrays() {
    states_ = lists_->states();
    for (std::size_t i = 0; i < 2; ++i) own_links_[i] = lists_->own_links(i);
}

Residence NodeTiers::serve(std::uint32_t place, std::uint32_t appended, std::uint32_t now_tick,
                           Moves& moves, bool recomputed) {
    return lists_->serve(place, appended, now_tick, moves, recomputed);
}

void NodeTiers::grow(std::uint32_t place, std::uint32_t appended, Moves& moves) {
    lists_->grow(place, appended, moves);
}

std::uint64_t NodeTiers::places() const { return lists_->places(); }

void NodeTiers::drop(std::uint32_t place) { lists_->remove(place); }

std::uint64_t NodeTiers::clear(Residence tier) {
    std::uint64_t const count = lists_->entries(tier);
    for (std::uint64_t p = 0; p < lists_->places() && lists_->entries(tier) > 0; ++p)
        if (static_cast<Residence>(states_[p].residence) == tier)
            lists_->remove(static_cast<std::uint32_t>(p));
    return count;
}

void NodeTiers::set_room(Residence tier, bool room) {
    validate(tier == Residence::dram || tier == Residence::nvme,
             "NodeTiers: only tiers below GPU memory lose their room");
    Moves ignored;
    lists_->set_capacity(tier, room ? lists_->capacity_bytes(tier) : 0, ignored);
}

std::uint64_t NodeTiers::used_bytes(Residence tier) const { return lists_->used_bytes(tier); }

std::uint64_t NodeTiers::entries(Residence tier) const { return lists_->entries(tier); }

std::uint64_t NodeTiers::capacity_bytes(Residence tier) const {
    return lists_->capacity_bytes(tier);
}

std::uint64_t NodeTiers::state_bytes() const { return lists_->state_bytes(); }

bool NodeTiers::place_oldest(std::uint32_t place, Residence tier) {
    return lists_->place_oldest(place, tier);
}

double NodeTiers::mean_entry_bytes(FleetUsers const& users) const {
    return users.mean_over_lengths(
        [&](std::uint32_t events) { return static_cast<double>(lists_->bytes_of(events)); });
}

std::uint32_t NodeTiers::add_place() {
    std::uint32_t const place = lists_->add_place();
    find_arrays();
    return place;
}

void NodeTiers::check() const { lists_->check(); }

void NodeTiers::archive(SaveArchive& ar) { lists_->archive(ar); }
void NodeTiers::archive(LayoutArchive& ar) { lists_->archive(ar); }
void NodeTiers::archive(LoadArchive& ar) {
    lists_->archive(ar);
    find_arrays();
    try {
        lists_->check();
    } catch (InternalError const& error) {
        ar.refuse(error.what());
    }
}

}  // namespace ckvsim::fleet
