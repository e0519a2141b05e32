// Where the users' entries of one node live: GPU memory (one list a GPU), host memory, NVMe. Every
// user has one 16-byte state; the tiers' lists run through these states, so that nothing is
// allocated during a run and a billion users take 16 GB.
//
// Tiers are exclusive by default: a hit below moves the entry up, an eviction moves it one tier
// down, out of the last one it is dropped (its user is prefilled from ids next time). With
// `inclusive` the host keeps a copy of what GPU memory holds: its bytes are charged to both, and
// leaving GPU memory costs no transfer.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "core/pages.hpp"
#include "fleet/fleet_users.hpp"
#include "fleet/serving_costs.hpp"

namespace ckvsim::fleet {

inline constexpr std::uint32_t kNoPlace = 0xFFFFFFFFU;

enum class Residence : std::uint8_t { none, hbm, dram, nvme };
inline constexpr std::size_t kResidences = 4;

enum class EvictionPolicy : std::uint8_t { lru, fifo, clock, sieve };
std::string to_string(EvictionPolicy value);

/// Who gets into GPU memory: every request's entry, or only one that was already kept below.
enum class Admission : std::uint8_t { all, second_visit };
std::string to_string(Admission value);

/// Virtual time of a visit in ticks of 2^20 ns (1.05 ms); the run starts at kStartTick, so that
/// visits before it have a time, too. Wraps after 52 days.
inline constexpr std::uint32_t kStartTick = 0x80000000U;
constexpr std::uint32_t tick_of(Nanoseconds time_ns) {
    return kStartTick + static_cast<std::uint32_t>(time_ns >> 20);
}

struct UserState {
    std::uint32_t newer = kNoPlace;  ///< neighbours in the tier's list
    std::uint32_t older = kNoPlace;
    std::uint32_t last_tick = 0;
    std::uint16_t events = 0;  ///< of the history, as this state knows it
    std::uint8_t residence = 0;
    std::uint8_t visited = 0;  ///< clock and sieve
};
static_assert(sizeof(UserState) == 16, "the base layout is 16 bytes a user (DESIGN targets)");

struct TierParams {
    std::uint64_t hbm_bytes = 0;   ///< per GPU, for entries
    std::uint64_t dram_bytes = 0;  ///< per node
    std::uint64_t nvme_bytes = 0;  ///< per node
    EvictionPolicy policy = EvictionPolicy::lru;
    Admission admission = Admission::all;
    bool inclusive = false;
    double ttl_s = 0.0;  ///< entries older than this count as gone; 0 = no limit

    bool operator==(TierParams const&) const = default;
};

/// Bytes that an access or an eviction moved, by where they went.
struct Moves {
    std::uint64_t hbm_to_dram = 0;
    std::uint64_t dram_to_nvme = 0;
    std::uint64_t dropped = 0;    ///< entries
    std::uint64_t evictions = 0;  ///< entries pushed down or out by others
};

class NodeTiers {
  public:
    /// `users`: states of the node's own users; at most `most_guests` (see add_place) come behind
    /// them and take memory when they come.
    NodeTiers(std::uint64_t users, std::uint64_t most_guests, std::uint32_t gpus,
              TierParams const& params, ServingCosts const& costs);

    [[nodiscard]] UserState& state(std::uint32_t place) { return states_[place]; }
    [[nodiscard]] UserState const& state(std::uint32_t place) const { return states_[place]; }
    [[nodiscard]] std::uint32_t gpu_of(std::uint32_t place) const { return place % gpus_; }
    [[nodiscard]] std::uint32_t interactions(UserState const& s) const {
        return s.events < max_ ? s.events : max_;
    }
    void prefetch(std::uint32_t place) const { __builtin_prefetch(&states_[place], 1); }
    /// Second step, when the state has arrived: what unlinking will touch.
    void prefetch_neighbours(std::uint32_t place) const {
        UserState const& s = states_[place];
        if (s.newer != kNoPlace) __builtin_prefetch(&states_[s.newer], 1);
        if (s.older != kNoPlace) __builtin_prefetch(&states_[s.older], 1);
    }

    /// Where the entry is now; an entry past its time to live is dropped first.
    Residence look_up(std::uint32_t place, std::uint32_t now_tick);
    /// The entry was served with `appended` more events: moves it to the highest tier that admits
    /// it, makes room there, and adds what that moved to `moves`. Returns where it is now.
    Residence serve(std::uint32_t place, std::uint32_t appended, std::uint32_t now_tick,
                    Moves& moves);

    /// The history grew by events that another node served: the entry here takes their room.
    void grow(std::uint32_t place, std::uint32_t appended, Moves& moves);

    [[nodiscard]] std::uint64_t used_bytes(Residence tier) const;
    [[nodiscard]] std::uint64_t entries(Residence tier) const;
    [[nodiscard]] std::uint64_t capacity_bytes(Residence tier) const;
    [[nodiscard]] std::uint64_t state_bytes() const { return states_.size() * sizeof(UserState); }

    /// Start state: puts a user who is nowhere at the old end of a tier's list; call from the
    /// newest to the oldest. False when the tier is full.
    bool place_oldest(std::uint32_t place, Residence tier);

    /// Mean entry of a user of the fleet at the start, in whole cache lines.
    [[nodiscard]] double mean_entry_bytes(FleetUsers const& users) const {
        return users.mean_over_lengths([&](std::uint32_t events) {
            return static_cast<double>(entry_bytes_[events < max_ ? events : max_]);
        });
    }

    /// A user of another node who is served here. Grows the states; not for base layouts.
    std::uint32_t add_place();

    /// Lists, bytes and counts agree with the states; for tests. Throws InternalError.
    void check() const;

  private:
    struct List {
        std::uint64_t capacity = 0;
        std::uint64_t used = 0;
        std::uint64_t count = 0;
        std::uint32_t newest = kNoPlace;
        std::uint32_t oldest = kNoPlace;
        std::uint32_t hand = kNoPlace;  ///< sieve
    };
    List& list(Residence tier, std::uint32_t place) {
        return lists_[tier == Residence::hbm ? gpu_of(place)
                                             : gpus_ + static_cast<std::uint32_t>(tier) - 2U];
    }
    [[nodiscard]] std::uint64_t bytes(UserState const& s) const {
        return entry_bytes_[interactions(s)];
    }
    void link_newest(List& l, std::uint32_t place);
    void unlink(List& l, std::uint32_t place);
    std::uint32_t victim(List& l);
    bool make_room(Residence tier, std::uint32_t gpu_place, std::uint64_t bytes, Moves& moves);
    void push_down(Residence from, std::uint32_t place, Moves& moves);
    void settle(std::uint32_t place, Residence tier, Moves& moves);

    PagedArray<UserState> states_;
    std::uint32_t gpus_;
    std::uint32_t max_;
    TierParams params_;
    std::uint32_t ttl_ticks_;
    std::vector<std::uint64_t> entry_bytes_;
    std::vector<List> lists_;  ///< one a GPU, then DRAM, then NVMe
};

}  // namespace ckvsim::fleet
