// Eviction policies written the slow and obvious way, from the papers' descriptions: the caches of
// sim/node/policies must take the same decisions request by request. None is shared with them but
// the frequency sketch, which has a test of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <set>
#include <vector>

#include "core/rng.hpp"
#include "node/policies/frequency_sketch.hpp"

namespace ckvsim::test {

struct OracleEntry {
    std::uint64_t key;
    std::uint64_t bytes;
    std::uint32_t mark = 0;
};
using OracleList = std::list<OracleEntry>;  ///< front = newest

inline std::uint64_t bytes_of(OracleList const& list) {
    std::uint64_t sum = 0;
    for (auto const& e : list) sum += e.bytes;
    return sum;
}
inline OracleList::iterator find_key(OracleList& list, std::uint64_t key) {
    return std::find_if(list.begin(), list.end(), [&](auto const& e) { return e.key == key; });
}

struct Oracle {
    explicit Oracle(std::uint64_t c) : capacity(c) {}
    virtual ~Oracle() = default;
    /// Hit or miss; `evicted` names who left for it, in order.
    virtual bool access(std::uint64_t key, std::uint64_t bytes) = 0;
    [[nodiscard]] virtual std::uint64_t used() const = 0;
    std::uint64_t capacity;
    std::vector<std::uint64_t> evicted;
};

struct OracleLru : Oracle {
    using Oracle::Oracle;
    bool move_on_hit = true;
    OracleList list;
    bool access(std::uint64_t key, std::uint64_t bytes) override {
        auto at = find_key(list, key);
        if (at != list.end()) {
            if (move_on_hit) list.splice(list.begin(), list, at);
            return true;
        }
        if (bytes > capacity) return false;
        while (bytes_of(list) + bytes > capacity) {
            evicted.push_back(list.back().key);
            list.pop_back();
        }
        list.push_front({key, bytes});
        return false;
    }
    [[nodiscard]] std::uint64_t used() const override { return bytes_of(list); }
};
struct OracleFifo : OracleLru {
    explicit OracleFifo(std::uint64_t c) : OracleLru(c) { move_on_hit = false; }
};

/// A circle and a hand that points at the oldest; newcomers take the place behind the hand.
struct OracleClock : Oracle {
    using Oracle::Oracle;
    OracleList circle;
    OracleList::iterator hand = circle.end();
    bool access(std::uint64_t key, std::uint64_t bytes) override {
        auto at = find_key(circle, key);
        if (at != circle.end()) {
            at->mark = 1;
            return true;
        }
        if (bytes > capacity) return false;
        while (bytes_of(circle) + bytes > capacity) {
            if (hand == circle.end()) hand = circle.begin();
            if (hand->mark == 1) {
                hand->mark = 0;
                ++hand;
            } else {
                evicted.push_back(hand->key);
                hand = circle.erase(hand);
            }
        }
        circle.insert(hand, {key, bytes});
        return false;
    }
    [[nodiscard]] std::uint64_t used() const override { return bytes_of(circle); }
};

/// Algorithm 1 of the SIEVE paper.
struct OracleSieve : Oracle {
    using Oracle::Oracle;
    OracleList queue;
    bool has_hand = false;
    std::uint64_t hand = 0;  ///< key
    bool access(std::uint64_t key, std::uint64_t bytes) override {
        auto at = find_key(queue, key);
        if (at != queue.end()) {
            at->mark = 1;
            return true;
        }
        if (bytes > capacity) return false;
        while (bytes_of(queue) + bytes > capacity) evict();
        queue.push_front({key, bytes});
        return false;
    }
    void evict() {
        auto at = has_hand ? find_key(queue, hand) : std::prev(queue.end());
        while (at->mark == 1) {
            at->mark = 0;
            at = at == queue.begin() ? std::prev(queue.end()) : std::prev(at);
        }
        has_hand = at != queue.begin();
        if (has_hand) hand = std::prev(at)->key;
        evicted.push_back(at->key);
        queue.erase(at);
    }
    [[nodiscard]] std::uint64_t used() const override { return bytes_of(queue); }
};

struct OracleS3Fifo : Oracle {
    using Oracle::Oracle;
    OracleList small, main, ghost;
    [[nodiscard]] std::uint64_t main_share() const {
        return capacity - std::max<std::uint64_t>(1, capacity / 10);
    }
    bool access(std::uint64_t key, std::uint64_t bytes) override {
        for (auto* list : {&small, &main}) {
            auto at = find_key(*list, key);
            if (at == list->end()) continue;
            at->mark = std::min(3U, at->mark + 1);
            return true;
        }
        auto const at = find_key(ghost, key);
        bool const known = at != ghost.end();
        if (known) ghost.erase(at);
        if (bytes > capacity) return false;
        while (used() + bytes > capacity) {
            if (bytes_of(main) > main_share() || small.empty()) {
                evict_main();
            } else {
                evict_small();
            }
        }
        (known ? main : small).push_front({key, bytes});
        return false;
    }
    void evict_small() {
        for (bool done = false; !done && !small.empty();) {
            OracleEntry tail = small.back();
            small.pop_back();
            if (tail.mark > 1) {
                main.push_front({tail.key, tail.bytes});
            } else {
                evicted.push_back(tail.key);
                ghost.push_front(tail);
                while (bytes_of(ghost) > main_share()) ghost.pop_back();
                done = true;
            }
        }
    }
    void evict_main() {
        for (bool done = false; !done && !main.empty();) {
            OracleEntry tail = main.back();
            main.pop_back();
            if (tail.mark > 0) {
                --tail.mark;
                main.push_front(tail);
            } else {
                evicted.push_back(tail.key);
                done = true;
            }
        }
    }
    [[nodiscard]] std::uint64_t used() const override { return bytes_of(small) + bytes_of(main); }
};

struct OracleWTinyLfu : Oracle {
    explicit OracleWTinyLfu(std::uint64_t c) : Oracle(c), sketch(0) {
        window_share = std::max<std::uint64_t>(1, c / 100);
        protected_share = (c - window_share) * 4 / 5;
    }
    std::uint64_t window_share, protected_share;
    OracleList window, probation, guarded;
    node::policies::FrequencySketch sketch;
    [[nodiscard]] std::uint64_t main_bytes() const {
        return bytes_of(probation) + bytes_of(guarded);
    }
    std::uint32_t frequency(std::uint64_t key) { return sketch.frequency(mix64(key)); }
    bool access(std::uint64_t key, std::uint64_t bytes) override {
        if (hit(key)) {
            sketch.increment(mix64(key));
            return true;
        }
        sketch.ensure(window.size() + probation.size() + guarded.size() + 1);
        sketch.increment(mix64(key));
        if (bytes > capacity) return false;
        window.push_front({key, bytes});
        while (bytes_of(window) > window_share) {
            OracleEntry const candidate = window.back();
            window.pop_back();
            if (wins(candidate)) {
                probation.push_front(candidate);
            } else if (candidate.key != key) {
                evicted.push_back(candidate.key);
            }
        }
        return false;
    }
    bool hit(std::uint64_t key) {
        for (auto* list : {&window, &guarded}) {
            auto at = find_key(*list, key);
            if (at == list->end()) continue;
            list->splice(list->begin(), *list, at);
            return true;
        }
        auto at = find_key(probation, key);
        if (at == probation.end()) return false;
        guarded.splice(guarded.begin(), probation, at);
        while (bytes_of(guarded) > protected_share)
            probation.splice(probation.begin(), guarded, std::prev(guarded.end()));
        return true;
    }
    bool wins(OracleEntry const& candidate) {
        std::uint64_t const share = capacity - window_share;
        if (candidate.bytes > share) return false;
        while (main_bytes() + candidate.bytes > share) {
            auto& from = probation.empty() ? guarded : probation;
            if (frequency(candidate.key) <= frequency(from.back().key)) return false;
            evicted.push_back(from.back().key);
            from.pop_back();
        }
        return true;
    }
    [[nodiscard]] std::uint64_t used() const override { return bytes_of(window) + main_bytes(); }
};

/// Looks the whole future through at every decision.
struct OracleBelady : Oracle {
    OracleBelady(std::uint64_t c, std::vector<std::uint64_t> keys)
        : Oracle(c), trace(std::move(keys)) {}
    static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
    std::vector<std::uint64_t> trace;
    std::map<std::uint64_t, std::uint64_t> held;  ///< key -> bytes
    std::uint64_t now = 0;
    [[nodiscard]] std::uint64_t next(std::uint64_t key) const {
        for (std::uint64_t at = now + 1; at < trace.size(); ++at)
            if (trace[at] == key) return at;
        return kNever;
    }
    bool access(std::uint64_t key, std::uint64_t bytes) override {
        bool const hit = held.count(key) > 0;
        if (!hit && bytes <= capacity && next(key) != kNever) insert(key, bytes);
        ++now;
        return hit;
    }
    [[nodiscard]] double cost(std::uint64_t key, std::uint64_t bytes) const {
        return next(key) == kNever
                   ? std::numeric_limits<double>::infinity()
                   : static_cast<double>(next(key) - now) * static_cast<double>(bytes);
    }
    /// Farthest next request (then largest) within each power of two of the sizes; among those the
    /// largest product of distance and bytes, larger sizes first.
    [[nodiscard]] std::uint64_t worst(std::map<std::uint64_t, std::uint64_t> const& among) const {
        std::map<int, std::uint64_t, std::greater<>> tops;
        for (auto const& [key, bytes] : among) {
            auto const [at, fresh] = tops.try_emplace(std::bit_width(bytes), key);
            if (fresh) continue;
            auto const mine = std::pair(next(key), bytes);
            if (mine > std::pair(next(at->second), among.at(at->second))) at->second = key;
        }
        std::uint64_t best = tops.begin()->second;
        for (auto const& [width, key] : tops)
            if (cost(key, among.at(key)) > cost(best, among.at(best))) best = key;
        return best;
    }
    void insert(std::uint64_t key, std::uint64_t bytes) {
        auto rest = held;
        std::vector<std::uint64_t> leaving;
        while (sum(rest) + bytes > capacity) {
            std::uint64_t const out = worst(rest);
            bool const better = rest[out] == bytes ? next(key) < next(out)
                                                   : cost(key, bytes) < cost(out, rest[out]);
            if (!better) return;
            leaving.push_back(out);
            rest.erase(out);
        }
        held = rest;
        held[key] = bytes;
        evicted.insert(evicted.end(), leaving.begin(), leaving.end());
    }
    static std::uint64_t sum(std::map<std::uint64_t, std::uint64_t> const& entries) {
        std::uint64_t total = 0;
        for (auto const& [key, bytes] : entries) total += bytes;
        return total;
    }
    [[nodiscard]] std::uint64_t used() const override { return sum(held); }
};

}  // namespace ckvsim::test
