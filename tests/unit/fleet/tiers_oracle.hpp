// What NodeTiers does, said once more as plainly as possible: std::list and std::map, every sum
// made anew. Slow; for tiny capacities only.
#pragma once

#include <algorithm>
#include <array>
#include <list>
#include <map>
#include <optional>
#include <vector>

#include "fleet/tiers.hpp"

namespace ckvsim::fleet {

class TiersOracle {
  public:
    struct Entry {
        std::uint32_t events = 0;
        std::uint32_t last_tick = 0;
        Residence where = Residence::none;
        bool visited = false;
    };

    TiersOracle(std::uint32_t users, std::uint32_t gpus, TierParams const& params,
                std::uint32_t ttl_ticks, ServingCosts const& costs)
        : gpus_(gpus),
          params_(params),
          ttl_ticks_(ttl_ticks),
          costs_(costs),
          lists_(gpus + 2),
          hands_(gpus + 2) {
        for (std::uint32_t u = 0; u < users; ++u) entries_[u] = {};
    }

    Entry const& entry(std::uint32_t user) const { return entries_.at(user); }
    std::uint32_t add_user() {
        auto const user = static_cast<std::uint32_t>(entries_.size());
        entries_[user] = {};
        return user;
    }
    /// Newest first.
    std::vector<std::uint32_t> order(Residence tier, std::uint32_t gpu) const {
        auto const& list = lists_[index(tier, gpu)];
        return {list.begin(), list.end()};
    }
    std::uint64_t used(Residence tier) const {
        if (tier != Residence::hbm) return used(index(tier, 0));
        std::uint64_t sum = 0;
        for (std::uint32_t g = 0; g < gpus_; ++g) sum += used(g);
        return sum;
    }

    Residence look_up(std::uint32_t user, std::uint32_t now) {
        Entry& e = entries_[user];
        if (e.where != Residence::none && ttl_ticks_ != 0 && now - e.last_tick > ttl_ticks_) {
            remove(user);
            e.where = Residence::none;
        }
        return e.where;
    }

    Residence serve(std::uint32_t user, std::uint32_t appended, std::uint32_t now, Moves& moves) {
        Entry& e = entries_[user];
        auto const before = size(user);
        Residence const from = e.where;
        e.last_tick = now;
        if (from == Residence::hbm) {
            e.events = std::min(e.events + appended, 65535U);
            if (params_.policy == EvictionPolicy::lru) {
                remove(user);
                insert(user, Residence::hbm);
            } else {
                e.visited = true;
            }
            if (size(user) > before) settle_growth(user, moves);
            return e.where;
        }
        if (from != Residence::none) remove(user);
        e.where = Residence::none;
        e.visited = false;
        e.events = std::min(e.events + appended, 65535U);
        bool const wanted = params_.admission == Admission::all || from != Residence::none;
        if (wanted && size(user) <= params_.hbm_bytes) {
            make_room(user % gpus_, size(user), moves);
            if (!params_.inclusive || make_room(gpus_, size(user), moves)) {
                insert(user, Residence::hbm);
                return e.where;
            }
        }
        if (make_room(gpus_, size(user), moves)) {
            insert(user, Residence::dram);
            moves.hbm_to_dram += size(user);
        } else if (make_room(gpus_ + 1, size(user), moves)) {
            insert(user, Residence::nvme);
            moves.hbm_to_dram += size(user);
            moves.dram_to_nvme += size(user);
        } else if (from != Residence::none) {
            ++moves.dropped;  // it has outgrown every tier
        }
        return e.where;
    }

    void grow(std::uint32_t user, std::uint32_t appended, Moves& moves) {
        Entry& e = entries_[user];
        auto const before = size(user);
        e.events = std::min(e.events + appended, 65535U);
        if (e.where != Residence::none && size(user) > before) settle_growth(user, moves);
    }

  private:
    std::uint64_t size(std::uint32_t user) const {
        return costs_.entry_bytes(std::min(entries_.at(user).events, costs_.max_interactions()));
    }
    std::size_t index(Residence tier, std::uint32_t user) const {
        if (tier == Residence::hbm) return user % gpus_;
        return tier == Residence::dram ? gpus_ : gpus_ + 1;
    }
    std::uint64_t capacity(std::size_t l) const {
        if (l < gpus_) return params_.hbm_bytes;
        return l == gpus_ ? params_.dram_bytes : params_.nvme_bytes;
    }
    std::uint64_t used(std::size_t l) const {
        std::uint64_t sum = 0;
        for (auto const user : lists_[l]) sum += size(user);
        if (l == gpus_ && params_.inclusive)
            for (std::size_t g = 0; g < gpus_; ++g) sum += used(g);
        return sum;
    }
    void insert(std::uint32_t user, Residence tier) {
        entries_[user].where = tier;
        lists_[index(tier, user)].push_front(user);
    }
    void remove(std::uint32_t user) {
        std::size_t const l = index(entries_[user].where, user);
        auto const at = std::find(lists_[l].begin(), lists_[l].end(), user);
        if (hands_[l] == user) {
            hands_[l] = at == lists_[l].begin() ? std::nullopt : std::optional(*std::prev(at));
        }
        lists_[l].erase(at);
    }
    std::uint32_t choose(std::size_t l) {
        auto& list = lists_[l];
        if (params_.policy == EvictionPolicy::clock) {
            while (entries_[list.back()].visited) {
                entries_[list.back()].visited = false;
                list.push_front(list.back());
                list.pop_back();
            }
        }
        if (params_.policy != EvictionPolicy::sieve) return list.back();
        auto hand = std::find(list.begin(), list.end(), hands_[l].value_or(list.back()));
        while (entries_[*hand].visited) {
            entries_[*hand].visited = false;
            hand = hand == list.begin() ? std::prev(list.end()) : std::prev(hand);
        }
        hands_[l] = *hand;
        return *hand;
    }
    bool make_room(std::size_t l, std::uint64_t bytes, Moves& moves) {
        if (bytes > capacity(l)) return false;
        while (used(l) + bytes > capacity(l)) {
            if (lists_[l].empty()) return false;
            ++moves.evictions;
            demote(choose(l), moves);
        }
        return true;
    }
    void demote(std::uint32_t user, Moves& moves) {
        Residence const from = entries_[user].where;
        remove(user);
        entries_[user].where = Residence::none;
        entries_[user].visited = false;
        bool const from_hbm = from == Residence::hbm;
        if (from_hbm && params_.inclusive) {
            insert(user, Residence::dram);
        } else if (from_hbm && make_room(gpus_, size(user), moves)) {
            insert(user, Residence::dram);
            moves.hbm_to_dram += size(user);
        } else if (from != Residence::nvme && make_room(gpus_ + 1, size(user), moves)) {
            insert(user, Residence::nvme);
            moves.dram_to_nvme += size(user);
            if (from_hbm) moves.hbm_to_dram += size(user);
        } else {
            ++moves.dropped;
        }
    }
    void settle_growth(std::uint32_t user, Moves& moves) {
        Residence const tier = entries_[user].where;
        make_room(index(tier, user), 0, moves);
        if (tier == Residence::hbm && params_.inclusive) make_room(gpus_, 0, moves);
    }

    std::uint32_t gpus_;
    TierParams params_;
    std::uint32_t ttl_ticks_;
    ServingCosts const& costs_;
    std::map<std::uint32_t, Entry> entries_;
    std::vector<std::list<std::uint32_t>> lists_;  ///< GPUs, DRAM, NVMe
    std::vector<std::optional<std::uint32_t>> hands_;
};

}  // namespace ckvsim::fleet
