// The lists of one node's tiers under one eviction policy: a policy object a list over the users'
// states. Everything below a call of TierLists is resolved at compile time.
#pragma once

#include <cstdint>
#include <vector>

#include "core/error.hpp"
#include "fleet/tier_lists.hpp"
#include "node/policies/eviction_policy.hpp"

namespace ckvsim::fleet {

/// Who leaves a list moves down at once: out of a policy's insert() or resize() into the next
/// tier's, never upwards, so no policy is entered twice.
///
/// With `inclusive` the host's policy decides over what the copies of the GPUs' entries leave free:
/// its capacity shrinks when an entry enters GPU memory and grows when one leaves.
template <policies::TierPolicy Policy>
class PolicyTiers final : public TierLists {
  public:
    PolicyTiers(std::uint64_t users, std::uint32_t gpus, TierParams const& params,
                ServingCosts const& costs)
        : TierLists(users, gpus, params, costs) {
        lists_.reserve(gpus + 2);
        for (std::uint32_t g = 0; g < gpus; ++g) lists_.emplace_back(params.hbm_bytes);
        lists_.emplace_back(params.dram_bytes);
        lists_.emplace_back(params.nvme_bytes);
        if constexpr (Policy::kKeepsGhosts) {
            if (params.dram_bytes > 0) own_links_[0].grow(users);
            if (params.nvme_bytes > 0) own_links_[1].grow(users);
        }
    }

    Residence serve(std::uint32_t place, std::uint32_t appended, std::uint32_t now_tick,
                    Moves& moves, bool recomputed) override {
        UserState& s = states_[place];
        auto const from = residence_of(place);
        std::uint32_t const events = sum_of_events(s, appended);
        s.last_tick = now_tick;
        if (from == Residence::hbm) {
            auto store = store_of<Residence::hbm>();
            list_of<Residence::hbm>(place).hit(store, place);
            std::uint64_t const more = extend<Residence::hbm>(place, events, moves);
            if (params_.inclusive) moves.hbm_to_dram += more;
            return residence_of(place);
        }
        std::uint64_t const before = from == Residence::none ? 0 : bytes_of(s.events);
        if (from != Residence::none) remove(place);
        extend_ghosts(place, events);
        s.events = static_cast<std::uint16_t>(events);
        settle(place, from, before, moves, recomputed);
        return residence_of(place);
    }

    void grow(std::uint32_t place, std::uint32_t appended, Moves& moves) override {
        UserState& s = states_[place];
        std::uint32_t const events = sum_of_events(s, appended);
        std::uint64_t more = 0;
        switch (residence_of(place)) {
            case Residence::none:
                extend_ghosts(place, events);
                s.events = static_cast<std::uint16_t>(events);
                return;
            case Residence::hbm:
                more = extend<Residence::hbm>(place, events, moves);
                break;
            case Residence::dram:
                more = extend<Residence::dram>(place, events, moves);
                break;
            case Residence::nvme:
                more = extend<Residence::nvme>(place, events, moves);
                break;
        }
        if (params_.inclusive) moves.hbm_to_dram += more;
    }

    void remove(std::uint32_t place) override {
        UserState& s = states_[place];
        switch (residence_of(place)) {
            case Residence::none:
                return;
            case Residence::hbm:
                erase<Residence::hbm>(place);
                if (params_.inclusive) return_to_host(bytes_of(s.events));
                break;
            case Residence::dram:
                erase<Residence::dram>(place);
                break;
            case Residence::nvme:
                erase<Residence::nvme>(place);
                break;
        }
        s.residence = static_cast<std::uint8_t>(Residence::none);
    }

    void set_capacity(Residence tier, std::uint64_t bytes, Moves& moves) override {
        validate(!params_.inclusive, "NodeTiers: tiers with copies keep their sizes");
        if (tier == Residence::dram) {
            set_host_capacity(bytes, moves);
            return;
        }
        auto store = store_of<Residence::nvme>();
        Sink<Residence::nvme> sink{*this, moves};
        list_of<Residence::nvme>(0).set_capacity(store, bytes, sink);
    }

    bool place_oldest(std::uint32_t place, Residence tier) override {
        if (tier == Residence::dram) return push_oldest<Residence::dram>(place);
        if (tier == Residence::nvme) return push_oldest<Residence::nvme>(place);
        std::uint64_t const size = bytes_of(states_[place].events);
        Policy const& host = list_of<Residence::dram>(place);
        if (params_.inclusive && host.used() + size > host.capacity()) return false;
        if (!push_oldest<Residence::hbm>(place)) return false;
        Moves ignored;
        if (params_.inclusive) take_from_host(size, ignored);
        return true;
    }

    [[nodiscard]] std::uint64_t used_bytes(Residence tier) const override {
        std::uint64_t used = tier == Residence::hbm ? 0 : below(tier).used();
        if (tier == Residence::hbm || (tier == Residence::dram && params_.inclusive))
            for (std::uint32_t g = 0; g < gpus_; ++g) used += lists_[g].used();
        return used;
    }
    [[nodiscard]] std::uint64_t entries(Residence tier) const override {
        if (tier != Residence::hbm) return below(tier).count();
        std::uint64_t sum = 0;
        for (std::uint32_t g = 0; g < gpus_; ++g) sum += lists_[g].count();
        return sum;
    }
    [[nodiscard]] std::uint64_t policy_bytes() const override {
        std::uint64_t sum = 0;
        for (auto const& list : lists_) sum += list.memory_bytes();
        return sum;
    }

    void archive(SaveArchive& ar) override { archive_all(ar); }
    void archive(LoadArchive& ar) override { archive_all(ar); }
    void archive(LayoutArchive& ar) override { archive_all(ar); }

    void check() const override {
        check_tier<Residence::hbm>();
        check_tier<Residence::dram>();
        check_tier<Residence::nvme>();
        for (auto const tier : {Residence::hbm, Residence::dram, Residence::nvme})
            validate(used_bytes(tier) <= capacity_bytes(tier),
                     "NodeTiers: a tier is over its capacity");
        validate(!params_.inclusive || below(Residence::dram).capacity() ==
                                           params_.dram_bytes - used_bytes(Residence::hbm),
                 "NodeTiers: host memory and the copies in it disagree");
    }

  private:
    using Links = policies::Links;
    using Slot = policies::Slot;

    /// The policies' view of a tier. `growing` has its events changed by set_bytes(): an entry's
    /// size is a function of them.
    template <Residence kTier>
    struct Store {
        UserState* states;
        Links* own;
        std::uint64_t const* entry_bytes;
        std::uint32_t max;
        Slot growing = policies::kNone;
        std::uint16_t events = 0;

        static constexpr bool kShares = !Policy::kKeepsGhosts || kTier == Residence::hbm;
        [[nodiscard]] Links& links(Slot slot) {
            if constexpr (kShares) return states[slot].links;
            return own[slot];
        }
        [[nodiscard]] std::uint64_t bytes(Slot slot) const {
            std::uint32_t const n = states[slot].events;
            return entry_bytes[n < max ? n : max];
        }
        [[nodiscard]] std::uint64_t key(Slot slot) const { return slot; }
        void set_bytes(Slot slot, std::uint64_t /*bytes*/) {
            if (slot == growing) states[slot].events = events;
        }
    };

    /// Sends down who leaves: when the policy still remembers it the tier below has other Links;
    /// otherwise when its Links are free.
    template <Residence kTier>
    struct Sink {
        PolicyTiers& tiers;
        Moves& moves;
        Slot leaving = policies::kNone;

        void evict(Slot slot) {
            if constexpr (Policy::kKeepsGhosts) {
                tiers.states_[slot].remembered |= kBit<kTier>;
                tiers.template push_down<kTier>(slot, moves);
            } else {
                leaving = slot;
            }
        }
        void release(Slot slot) {
            if constexpr (Policy::kKeepsGhosts) {
                tiers.states_[slot].remembered &= static_cast<std::uint8_t>(~kBit<kTier>);
            } else if (slot == leaving) {  // not a newcomer that was refused
                leaving = policies::kNone;
                tiers.template push_down<kTier>(slot, moves);
            }
        }
    };

    template <class Archive>
    void archive_all(Archive& ar) {
        std::array<bool, 2> const linked = {own_links_[0].size() > 0, own_links_[1].size() > 0};
        archive_states(ar);
        ar.fixed(lists_);
        if constexpr (Archive::kLoads) {
            for (std::size_t i = 0; i < 2; ++i)
                ar.require(linked[i] == (own_links_[i].size() > 0), "links of another policy");
            for (auto const& list : lists_)
                ar.require(list.within(places_), "a list of users who do not exist");
        }
    }

    template <Residence kTier>
    static constexpr std::uint8_t kBit = 1U << static_cast<unsigned>(kTier);
    template <Residence kTier>
    static constexpr std::size_t kBelow = kTier == Residence::nvme ? 1 : 0;

    template <Residence kTier>
    Policy& list_of(std::uint32_t place) {
        if constexpr (kTier == Residence::hbm) return lists_[place % gpus_];
        return lists_[gpus_ + kBelow<kTier>];
    }
    template <Residence kTier>
    [[nodiscard]] Policy const& list_of(std::uint32_t place) const {
        if constexpr (kTier == Residence::hbm) return lists_[place % gpus_];
        return lists_[gpus_ + kBelow<kTier>];
    }
    [[nodiscard]] Policy const& below(Residence tier) const {
        return lists_[gpus_ + (tier == Residence::dram ? 0 : 1)];
    }
    template <Residence kTier>
    Store<kTier> store_of() {
        return {states_.data(), own_links_[kBelow<kTier>].data(), entry_bytes_.data(), max_};
    }

    /// Puts an entry that is in no list into a tier. False: the tier does not take it.
    template <Residence kTier>
    bool put(std::uint32_t place, Moves& moves) {
        UserState& s = states_[place];
        Policy& list = list_of<kTier>(place);
        if constexpr (Policy::kKeepsGhosts) {
            if (list.capacity() == 0) return false;  // its Links do not exist
            s.remembered &= static_cast<std::uint8_t>(~kBit<kTier>);
        }
        auto store = store_of<kTier>();
        Sink<kTier> sink{*this, moves};
        if (!list.insert(store, place, bytes_of(s.events), sink)) return false;
        s.residence = static_cast<std::uint8_t>(kTier);
        return true;
    }

    /// Moves an entry that has just left a list to the next tier that takes it, or drops it.
    template <Residence kFrom>
    void push_down(std::uint32_t place, Moves& moves) {
        ++moves.evictions;
        UserState& s = states_[place];
        s.residence = static_cast<std::uint8_t>(Residence::none);
        std::uint64_t const size = bytes_of(s.events);
        std::uint64_t over_link = 0;
        if constexpr (kFrom == Residence::hbm) {
            if (params_.inclusive) {
                return_to_host(size);  // which has its bytes already
            } else {
                over_link = size;
            }
            if (put<Residence::dram>(place, moves)) {
                moves.hbm_to_dram += over_link;
                return;
            }
        }
        if constexpr (kFrom != Residence::nvme) {
            if (put<Residence::nvme>(place, moves)) {
                moves.hbm_to_dram += over_link;
                moves.dram_to_nvme += size;
                return;
            }
        }
        ++moves.dropped;
    }

    /// Puts a served entry, which is in no list, into the highest tier that takes it. `before`: its
    /// bytes where it came from. What the host has not yet crosses the link: what is new, or all of
    /// it when it was made from ids.
    void settle(std::uint32_t place, Residence from, std::uint64_t before, Moves& moves,
                bool recomputed) {
        std::uint64_t const size = bytes_of(states_[place].events);
        bool const kept = from != Residence::none;
        bool const on_host = from == Residence::dram || (kept && !recomputed);
        std::uint64_t const over_link = on_host ? size - before : size;
        if ((params_.admission == Admission::all || kept) && put<Residence::hbm>(place, moves)) {
            if (!params_.inclusive) return;
            moves.hbm_to_dram += over_link;
            take_from_host(size, moves);
        } else if (put<Residence::dram>(place, moves)) {
            moves.hbm_to_dram += over_link;
        } else if (put<Residence::nvme>(place, moves)) {
            moves.hbm_to_dram += over_link;
            moves.dram_to_nvme += from == Residence::nvme ? size - before : size;
        } else if (kept) {
            ++moves.dropped;  // no tier takes it any more
        }
    }

    /// The entry's history grows where it is. Returns the bytes it grew by.
    template <Residence kTier>
    std::uint64_t extend(std::uint32_t place, std::uint32_t events, Moves& moves) {
        UserState& s = states_[place];
        std::uint64_t const before = bytes_of(s.events);
        std::uint64_t const after = bytes_of(events);
        if (after != before) {
            extend_ghosts(place, events);
            auto store = store_of<kTier>();
            store.growing = place;
            store.events = static_cast<std::uint16_t>(events);
            Sink<kTier> sink{*this, moves};
            list_of<kTier>(place).resize(store, place, after, sink);
            if (kTier == Residence::hbm && params_.inclusive) take_from_host(after - before, moves);
        }
        s.events = static_cast<std::uint16_t>(events);
        return after - before;
    }

    /// Tiers that only remember the entry count it with its new size, too.
    void extend_ghosts(std::uint32_t place, std::uint32_t events) {
        if constexpr (Policy::kKeepsGhosts) {
            UserState const& s = states_[place];
            if (s.remembered == 0 || bytes_of(s.events) == bytes_of(events)) return;
            extend_ghost<Residence::hbm>(place, events);
            extend_ghost<Residence::dram>(place, events);
            extend_ghost<Residence::nvme>(place, events);
        }
    }
    template <Residence kTier>
    void extend_ghost(std::uint32_t place, std::uint32_t events) {
        UserState& s = states_[place];
        if ((s.remembered & kBit<kTier>) == 0) return;
        std::uint16_t const before = s.events;
        auto store = store_of<kTier>();
        store.growing = place;
        store.events = static_cast<std::uint16_t>(events);
        Moves none;
        Sink<kTier> sink{*this, none};
        list_of<kTier>(place).resize(store, place, bytes_of(events), sink);
        s.events = before;  // the other tiers still count that
    }

    void return_to_host(std::uint64_t size) {
        Moves none;
        set_host_capacity(list_of<Residence::dram>(0).capacity() + size, none);
    }
    void take_from_host(std::uint64_t size, Moves& moves) {
        set_host_capacity(list_of<Residence::dram>(0).capacity() - size, moves);
    }
    void set_host_capacity(std::uint64_t capacity, Moves& moves) {
        auto store = store_of<Residence::dram>();
        Sink<Residence::dram> sink{*this, moves};
        list_of<Residence::dram>(0).set_capacity(store, capacity, sink);
    }

    template <Residence kTier>
    void erase(std::uint32_t place) {
        auto store = store_of<kTier>();
        list_of<kTier>(place).erase(store, place);
    }
    template <Residence kTier>
    bool push_oldest(std::uint32_t place) {
        UserState& s = states_[place];
        Policy& list = list_of<kTier>(place);
        if (Policy::kKeepsGhosts && list.capacity() == 0) return false;
        auto store = store_of<kTier>();
        if (!list.push_oldest(store, place, bytes_of(s.events))) return false;
        s.residence = static_cast<std::uint8_t>(kTier);
        return true;
    }

    [[nodiscard]] Links links_of(Residence tier, std::uint32_t place) const {
        if (!Policy::kKeepsGhosts || tier == Residence::hbm) return states_[place].links;
        auto const& own = own_links_[tier == Residence::nvme ? 1 : 0];
        return own.size() == 0 ? Links{} : own[place];
    }
    /// Sums over the states agree with the policies' books, and neighbours with each other.
    template <Residence kTier>
    void check_tier() const {
        std::vector<std::uint64_t> used(lists_.size());
        std::vector<std::uint64_t> count(lists_.size());
        std::vector<std::uint64_t> ends(4 * lists_.size());
        for (std::uint32_t p = 0; p < places_; ++p) {
            UserState const& s = states_[p];
            bool const here = residence_of(p) == kTier;
            Links const links = links_of(kTier, p);
            if constexpr (Policy::kKeepsGhosts) {
                bool const ghost = links.region != 0 && !Policy::resident(links);
                validate(
                    Policy::resident(links) == here && ghost == ((s.remembered & kBit<kTier>) != 0),
                    "NodeTiers: a state and a policy disagree");
            } else {
                validate(!here || Policy::resident(links),
                         "NodeTiers: a state and a policy disagree");
                validate(residence_of(p) != Residence::none || links.region == 0,
                         "NodeTiers: an entry that is nowhere is in a list");
                if (!here) continue;
            }
            if (links.region == 0) continue;
            auto const at = static_cast<std::size_t>(&list_of<kTier>(p) - lists_.data());
            if (here) {
                used[at] += bytes_of(s.events);
                ++count[at];
            }
            if (links.newer == policies::kNone) {
                validate(++ends[4 * at + links.region] == 1, "NodeTiers: a list has two ends");
                continue;
            }
            Links const newer = links_of(kTier, links.newer);
            validate(newer.older == p && newer.region == links.region &&
                         &list_of<kTier>(links.newer) == &list_of<kTier>(p),
                     "NodeTiers: a list is broken");
        }
        for (std::size_t i = 0; i < lists_.size(); ++i) {
            bool const mine = (i < gpus_) == (kTier == Residence::hbm) &&
                              (i < gpus_ || i == gpus_ + kBelow<kTier>);
            if (!mine) continue;
            validate(used[i] == lists_[i].used() && count[i] == lists_[i].count(),
                     "NodeTiers: a list's counters are wrong");
        }
    }

    std::vector<Policy> lists_;  ///< one a GPU, then DRAM, then NVMe
};

}  // namespace ckvsim::fleet
