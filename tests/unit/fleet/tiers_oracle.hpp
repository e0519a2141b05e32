// What NodeTiers does, said once more as plainly as possible: std::list and std::map, every sum
// made anew. Slow; for tiny capacities only.
#pragma once

#include <algorithm>
#include <array>
#include <list>
#include <map>
#include <optional>
#include <vector>

#include "core/rng.hpp"
#include "fleet/tiers.hpp"
#include "node/policies/frequency_sketch.hpp"

namespace ckvsim::fleet {

class TiersOracle {
  public:
    struct Entry {
        std::uint32_t events = 0;
        std::uint32_t last_tick = 0;
        Residence where = Residence::none;
        std::uint32_t mark = 0;  ///< visited, or how often in S3-FIFO's queue
    };

    TiersOracle(std::uint32_t users, std::uint32_t gpus, TierParams const& params,
                std::uint32_t ttl_ticks, ServingCosts const& costs)
        : gpus_(gpus),
          params_(params),
          ttl_ticks_(ttl_ticks),
          costs_(costs),
          host_(params.dram_bytes),
          lists_(gpus + 2) {
        for (std::uint32_t u = 0; u < users; ++u) entries_[u] = {};
    }

    Entry const& entry(std::uint32_t user) const { return entries_.at(user); }
    std::uint32_t add_user() {
        auto const user = static_cast<std::uint32_t>(entries_.size());
        entries_[user] = {};
        return user;
    }
    /// Newest first; `queue`: of the policy's, as in Links::region.
    std::vector<std::uint32_t> order(Residence tier, std::uint32_t gpu, std::size_t queue) const {
        auto const& list = lists_[index(tier, gpu)].queue[queue];
        return {list.begin(), list.end()};
    }
    std::uint64_t used(Residence tier) const {
        std::uint64_t sum = tier == Residence::hbm ? 0 : used(index(tier, 0));
        if (tier != Residence::hbm && !(tier == Residence::dram && params_.inclusive)) return sum;
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

    Residence serve(std::uint32_t user, std::uint32_t appended, std::uint32_t now, Moves& moves,
                    bool recomputed) {
        Entry& e = entries_[user];
        e.last_tick = now;
        if (e.where == Residence::hbm) {
            hit(lists_[index(Residence::hbm, user)], user);
            grow(user, appended, moves);
            return e.where;
        }
        Residence const from = e.where;
        bool const kept = from != Residence::none;
        auto const before = kept ? size(user) : 0;
        if (kept) remove(user);
        e.where = Residence::none;
        e.events = std::min(e.events + appended, 65535U);
        for (std::size_t l = 0; l < lists_.size(); ++l) forget(l);
        auto const fresh = size(user) - before;
        bool const on_host = from == Residence::dram || (kept && !recomputed);
        auto const over_link = on_host ? fresh : size(user);
        if ((params_.admission == Admission::all || kept) && insert(user, Residence::hbm, moves)) {
            if (params_.inclusive) {
                moves.hbm_to_dram += over_link;
                take_from_host(size(user), moves);
            }
        } else if (insert(user, Residence::dram, moves)) {
            moves.hbm_to_dram += over_link;
        } else if (insert(user, Residence::nvme, moves)) {
            moves.hbm_to_dram += over_link;
            moves.dram_to_nvme += from == Residence::nvme ? fresh : size(user);
        } else if (kept) {
            ++moves.dropped;
        }
        return e.where;
    }

    void grow(std::uint32_t user, std::uint32_t appended, Moves& moves) {
        Entry& e = entries_[user];
        auto const before = size(user);
        Residence const tier = e.where;
        e.events = std::min(e.events + appended, 65535U);
        auto const more = size(user) - before;
        if (more == 0) return;
        for (std::size_t l = 0; l < lists_.size(); ++l) forget(l);
        if (tier == Residence::none) return;
        fit(index(tier, user), moves);
        if (!params_.inclusive) return;
        moves.hbm_to_dram += more;
        if (tier == Residence::hbm) take_from_host(more, moves);
    }

  private:
    struct Queues {
        std::list<std::uint32_t> queue[4];  ///< by Links::region; all but S3-FIFO's third resident
        std::optional<std::uint32_t> hand;
        policies::FrequencySketch sketch{0};
    };

    std::uint64_t size(std::uint32_t user) const {
        return costs_.entry_bytes(std::min(entries_.at(user).events, costs_.max_interactions()));
    }
    std::size_t index(Residence tier, std::uint32_t user) const {
        if (tier == Residence::hbm) return user % gpus_;
        return tier == Residence::dram ? gpus_ : gpus_ + 1;
    }
    std::uint64_t capacity(std::size_t l) const {
        if (l < gpus_) return params_.hbm_bytes;
        return l == gpus_ ? host_ : params_.nvme_bytes;
    }
    bool ghosts() const { return params_.policy == EvictionPolicy::s3_fifo; }
    /// What main may hold: S3-FIFO 90 %, W-TinyLFU 99 %.
    std::uint64_t main_share(std::size_t l) const {
        std::uint64_t const c = capacity(l);
        if (c == 0) return 0;
        return c - std::max<std::uint64_t>(c / (ghosts() ? 10 : 100), 1);
    }
    std::uint64_t bytes(std::size_t l, std::size_t q) const {
        std::uint64_t sum = 0;
        for (auto const user : lists_[l].queue[q]) sum += size(user);
        return sum;
    }
    /// Of residents.
    std::uint64_t used(std::size_t l) const {
        return bytes(l, 1) + bytes(l, 2) + (ghosts() ? 0 : bytes(l, 3));
    }
    std::size_t queue_of(std::size_t l, std::uint32_t user) const {
        for (std::size_t q = 1; q < 4; ++q) {
            auto const& list = lists_[l].queue[q];
            if (std::find(list.begin(), list.end(), user) != list.end()) return q;
        }
        return 0;
    }

    void hit(Queues& list, std::uint32_t user) {
        std::size_t const q = queue_of(static_cast<std::size_t>(&list - lists_.data()), user);
        std::uint32_t& mark = entries_[user].mark;
        switch (params_.policy) {
            case EvictionPolicy::fifo:
                return;
            case EvictionPolicy::clock:
            case EvictionPolicy::sieve:
                mark = 1;
                return;
            case EvictionPolicy::s3_fifo:
                mark = std::min(mark + 1, 3U);
                return;
            case EvictionPolicy::lru:
                break;
            case EvictionPolicy::w_tiny_lfu:
                list.sketch.increment(mix64(user));
                break;
        }
        list.queue[q].remove(user);
        list.queue[q == 2 ? 3 : q].push_front(user);
        cut_protected(static_cast<std::size_t>(&list - lists_.data()));
    }
    void remove(std::uint32_t user) {
        auto const tier = entries_[user].where;
        std::size_t const l = index(tier, user);
        take_out(l, user);
        if (tier == Residence::hbm && params_.inclusive) host_ += size(user);
    }
    void take_out(std::size_t l, std::uint32_t user) {
        auto& list = lists_[l].queue[queue_of(l, user)];
        auto const at = std::find(list.begin(), list.end(), user);
        if (lists_[l].hand == user)
            lists_[l].hand = at == list.begin() ? std::nullopt : std::optional(*std::prev(at));
        list.erase(at);
        entries_[user].mark = 0;
    }
    bool insert(std::uint32_t user, Residence tier, Moves& moves) {
        std::size_t const l = index(tier, user);
        auto& list = lists_[l];
        bool const ghost = ghosts() && queue_of(l, user) == 3;
        if (ghost) list.queue[3].remove(user);
        if (params_.policy == EvictionPolicy::w_tiny_lfu) {
            list.sketch.ensure(list.queue[1].size() + list.queue[2].size() + list.queue[3].size() +
                               1);
            list.sketch.increment(mix64(user));
        }
        if (size(user) > capacity(l)) return false;
        if (params_.policy == EvictionPolicy::w_tiny_lfu) {
            list.queue[1].push_front(user);
            drain(l, moves, user);
            if (queue_of(l, user) == 0) return false;
        } else {
            while (used(l) + size(user) > capacity(l)) evict(l, moves);
            list.queue[ghost ? 2 : 1].push_front(user);
        }
        entries_[user].where = tier;
        return true;
    }
    /// Until the residents fit, after a size or the capacity changed.
    void fit(std::size_t l, Moves& moves) {
        if (params_.policy != EvictionPolicy::w_tiny_lfu) {
            while (used(l) > capacity(l)) evict(l, moves);
            forget(l);
            return;
        }
        cut_protected(l);
        while (bytes(l, 2) + bytes(l, 3) > main_share(l)) demote(l, main_victim(l), moves);
        drain(l, moves, std::nullopt);
    }
    void forget(std::size_t l) {
        if (!ghosts()) return;
        while (bytes(l, 3) > main_share(l)) lists_[l].queue[3].pop_back();
    }

    void evict(std::size_t l, Moves& moves) {
        auto& queue = lists_[l].queue;
        if (!ghosts()) return demote(l, choose(l), moves);
        if (bytes(l, 2) > main_share(l) || queue[1].empty()) {
            while (entries_[queue[2].back()].mark > 0) {
                --entries_[queue[2].back()].mark;
                queue[2].splice(queue[2].begin(), queue[2], std::prev(queue[2].end()));
            }
            return demote(l, queue[2].back(), moves);
        }
        while (!queue[1].empty()) {
            std::uint32_t const user = queue[1].back();
            bool const keep = entries_[user].mark > 1;
            if (!keep) {
                demote(l, user, moves);
                queue[3].push_front(user);
                return forget(l);
            }
            entries_[user].mark = 0;
            queue[2].splice(queue[2].begin(), queue[1], std::prev(queue[1].end()));
        }
    }
    std::uint32_t choose(std::size_t l) {
        auto& list = lists_[l].queue[1];
        if (params_.policy == EvictionPolicy::clock) {
            while (entries_[list.back()].mark > 0) {
                entries_[list.back()].mark = 0;
                list.splice(list.begin(), list, std::prev(list.end()));
            }
        }
        if (params_.policy != EvictionPolicy::sieve) return list.back();
        auto hand = std::find(list.begin(), list.end(), lists_[l].hand.value_or(list.back()));
        while (entries_[*hand].mark > 0) {
            entries_[*hand].mark = 0;
            hand = hand == list.begin() ? std::prev(list.end()) : std::prev(hand);
        }
        lists_[l].hand = *hand;
        return *hand;
    }

    // W-TinyLFU: queues 1 window, 2 probation, 3 protected.
    void cut_protected(std::size_t l) {
        if (params_.policy != EvictionPolicy::w_tiny_lfu) return;
        auto& queue = lists_[l].queue;
        while (bytes(l, 3) > main_share(l) * 4 / 5)
            queue[2].splice(queue[2].begin(), queue[3], std::prev(queue[3].end()));
    }
    std::uint32_t main_victim(std::size_t l) const {
        auto const& queue = lists_[l].queue;
        return queue[2].empty() ? queue[3].back() : queue[2].back();
    }
    /// `newcomer` is refused where others would be evicted.
    void drain(std::size_t l, Moves& moves, std::optional<std::uint32_t> newcomer) {
        auto& list = lists_[l];
        while (bytes(l, 1) > capacity(l) - main_share(l)) {
            std::uint32_t const user = list.queue[1].back();
            auto const full = [&] {
                return bytes(l, 2) + bytes(l, 3) + size(user) > main_share(l);
            };
            bool fits = size(user) <= main_share(l);
            while (fits && full()) {
                std::uint32_t const other = main_victim(l);
                fits = list.sketch.frequency(mix64(user)) > list.sketch.frequency(mix64(other));
                if (fits) demote(l, other, moves);
            }
            if (fits) {
                list.queue[2].splice(list.queue[2].begin(), list.queue[1],
                                     std::prev(list.queue[1].end()));
            } else if (user == newcomer) {
                list.queue[1].pop_back();
            } else {
                demote(l, user, moves);
            }
        }
    }

    void demote(std::size_t l, std::uint32_t user, Moves& moves) {
        ++moves.evictions;
        bool const from_hbm = l < gpus_;
        take_out(l, user);
        entries_[user].where = Residence::none;
        if (from_hbm && params_.inclusive) host_ += size(user);
        auto const over_link = from_hbm && !params_.inclusive ? size(user) : 0;
        if (from_hbm && insert(user, Residence::dram, moves)) {
            moves.hbm_to_dram += over_link;
        } else if (l != gpus_ + 1 && insert(user, Residence::nvme, moves)) {
            moves.hbm_to_dram += over_link;
            moves.dram_to_nvme += size(user);
        } else {
            ++moves.dropped;
        }
    }
    void take_from_host(std::uint64_t bytes, Moves& moves) {
        host_ -= bytes;
        fit(gpus_, moves);
    }

    std::uint32_t gpus_;
    TierParams params_;
    std::uint32_t ttl_ticks_;
    ServingCosts const& costs_;
    std::uint64_t host_;  ///< capacity for entries that are not in GPU memory
    std::map<std::uint32_t, Entry> entries_;
    std::vector<Queues> lists_;  ///< GPUs, DRAM, NVMe
};

}  // namespace ckvsim::fleet
