// Who may enter a cache after a miss. Asked before the eviction policy; a refused request is a miss
// that changes nothing in the cache.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/large_array.hpp"
#include "node/policies/frequency_sketch.hpp"

namespace ckvsim::node::policies {

/// Everyone; costs nothing.
struct AdmitAll {
    static constexpr bool kAsks = false;
};

enum class AdmissionRule : std::uint8_t {
    all,
    size,        ///< at most `size_limit` bytes
    second_hit,  ///< requested before, within the memory of `expected_entries` keys
    frequency    ///< TinyLFU: while the cache has no room, more frequent than the next victim
};

/// Admission chosen at run time. Deterministic; 4 bytes (second hit) or 8 bytes (frequency) per
/// expected entry, rounded up to powers of two.
class Admission {
  public:
    static constexpr bool kAsks = true;

    explicit Admission(AdmissionRule rule, std::uint64_t expected_entries = 0,
                       std::uint64_t size_limit = 0)
        : rule_(rule),
          size_limit_(size_limit),
          sketch_(rule == AdmissionRule::frequency ? expected_entries : 0) {
        if (rule == AdmissionRule::second_hit)
            seen_ = LargeArray<std::uint32_t>(
                std::bit_ceil(std::max<std::uint64_t>(expected_entries, 16)));
    }

    /// Every request, hit or miss.
    void record(std::uint64_t hash) {
        if (rule_ == AdmissionRule::frequency) sketch_.increment(hash);
    }
    /// `victim_hash`: called only when the rule compares; hash of the key that would leave.
    template <class VictimHash>
    bool admit(std::uint64_t hash, std::uint64_t bytes, bool has_room, VictimHash&& victim_hash) {
        switch (rule_) {
            case AdmissionRule::size:
                return bytes <= size_limit_;
            case AdmissionRule::second_hit:
                return seen_before(hash);
            case AdmissionRule::frequency:
                return has_room || sketch_.frequency(hash) > sketch_.frequency(victim_hash());
            case AdmissionRule::all:
                break;
        }
        return true;
    }
    void prefetch(std::uint64_t hash) const {
        if (rule_ == AdmissionRule::frequency) sketch_.prefetch(hash);
        if (rule_ == AdmissionRule::second_hit) __builtin_prefetch(&seen_[place(hash)]);
    }
    [[nodiscard]] std::uint64_t memory_bytes() const {
        return seen_.bytes() + sketch_.memory_bytes();
    }

  private:
    [[nodiscard]] std::size_t place(std::uint64_t hash) const { return hash & (seen_.size() - 1); }
    /// A direct-mapped table of hash tags: a later key with the same place overwrites an earlier.
    bool seen_before(std::uint64_t hash) {
        std::uint32_t& tag = seen_[place(hash)];
        auto const mine = static_cast<std::uint32_t>(hash >> 32) | 1U;
        bool const seen = tag == mine;
        tag = mine;
        return seen;
    }

    AdmissionRule rule_;
    std::uint64_t size_limit_;
    LargeArray<std::uint32_t> seen_;
    FrequencySketch sketch_;
};

}  // namespace ckvsim::node::policies
