// Where the users' entries of one node live: GPU memory (one list a GPU), host memory, NVMe. Every
// user has one 16-byte state; the tiers' lists run through these states, so that nothing is
// allocated during a run and a billion users take 16 GB. Who leaves a list is decided by the
// policies of sim/node/policies, one object a list.
//
// Tiers are exclusive by default: a hit below moves the entry up, an eviction moves it one tier
// down, out of the last one it is dropped (its user is prefilled from ids next time). With
// `inclusive` the host keeps a copy of what GPU memory holds: its bytes are charged to both, what
// is made or appended in GPU memory is written to the copy, and leaving GPU memory costs no
// transfer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/archive.hpp"
#include "core/ids.hpp"
#include "fleet/fleet_users.hpp"
#include "fleet/serving_costs.hpp"
#include "node/policies/slot_links.hpp"

namespace ckvsim::fleet {

namespace policies = node::policies;

/// No place; a node tells so many users apart.
inline constexpr std::uint32_t kNoPlace = policies::kNone;

enum class Residence : std::uint8_t { none, hbm, dram, nvme };
inline constexpr std::size_t kResidences = 4;

enum class EvictionPolicy : std::uint8_t { lru, fifo, clock, sieve, s3_fifo, w_tiny_lfu };
std::string to_string(EvictionPolicy value);
/// Most bytes a user's state takes: 16; with `s3_fifo`, which remembers who left, 8 more for each
/// of the two tiers below GPU memory; with `w_tiny_lfu` up to 32 more of frequency sketches.
std::uint64_t most_bytes_per_user(EvictionPolicy policy);

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
    policies::Links links{};  ///< in the list of its tier; with ghosts in GPU memory's
    std::uint32_t last_tick = 0;
    std::uint16_t events = 0;  ///< of the history, as this state knows it
    std::uint8_t residence = 0;
    std::uint8_t remembered = 0;  ///< bits of tiers (1 << Residence) whose policy has a ghost of it
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
    std::uint64_t hbm_to_dram = 0;  ///< with `inclusive` writes of host copies
    std::uint64_t dram_to_nvme = 0;
    std::uint64_t dropped = 0;    ///< entries
    std::uint64_t evictions = 0;  ///< entries pushed down or out by others
};

class TierLists;

class NodeTiers {
  public:
    /// `users`: states of the node's own users; guests (add_place) come behind them.
    NodeTiers(std::uint64_t users, std::uint32_t gpus, TierParams const& params,
              ServingCosts const& costs);
    ~NodeTiers();
    NodeTiers(NodeTiers&&) noexcept;
    NodeTiers& operator=(NodeTiers&&) noexcept;

    [[nodiscard]] UserState& state(std::uint32_t place) { return states_[place]; }
    [[nodiscard]] UserState const& state(std::uint32_t place) const { return states_[place]; }
    [[nodiscard]] std::uint32_t gpu_of(std::uint32_t place) const { return place % gpus_; }
    [[nodiscard]] std::uint32_t interactions(UserState const& s) const {
        return s.events < max_ ? s.events : max_;
    }
    // Inlined by force: GCC 12 drops calls of functions that only prefetch.
    [[gnu::always_inline]] void prefetch(std::uint32_t place) const {
        __builtin_prefetch(&states_[place], 1);
        for (policies::Links* own : own_links_)
            if (own != nullptr) __builtin_prefetch(&own[place], 1);
    }
    /// Second step, when the state has arrived: what unlinking will touch.
    [[gnu::always_inline]] void prefetch_neighbours(std::uint32_t place) const {
        UserState const& s = states_[place];
        auto const tier = static_cast<Residence>(s.residence);
        policies::Links* const own =
            tier >= Residence::dram ? own_links_[tier == Residence::nvme ? 1 : 0] : nullptr;
        policies::Links const links = own != nullptr ? own[place] : s.links;
        for (std::uint32_t const p : {std::uint32_t{links.newer}, std::uint32_t{links.older}}) {
            if (p == kNoPlace) continue;
            __builtin_prefetch(&states_[p], 1);
            if (own != nullptr) __builtin_prefetch(&own[p], 1);
        }
    }

    /// Where the entry is now; an entry past its time to live is dropped first.
    Residence look_up(std::uint32_t place, std::uint32_t now_tick) {
        UserState const& s = states_[place];
        auto const tier = static_cast<Residence>(s.residence);
        if (tier == Residence::none || ttl_ticks_ == 0 || now_tick - s.last_tick <= ttl_ticks_)
            return tier;
        drop(place);
        return Residence::none;
    }
    /// The entry was served with `appended` more events: moves it to the highest tier that admits
    /// it, makes room there, and adds what that moved to `moves`. `recomputed`: it was made from
    /// ids although a tier held it. Returns where it is now.
    Residence serve(std::uint32_t place, std::uint32_t appended, std::uint32_t now_tick,
                    Moves& moves, bool recomputed = false);

    /// The history grew by events that another node served: the entry here takes their room.
    void grow(std::uint32_t place, std::uint32_t appended, Moves& moves);

    /// Own users and guests.
    [[nodiscard]] std::uint64_t places() const;
    /// Forgets an entry wherever it is.
    void drop(std::uint32_t place);
    /// Forgets a tier's entries; returns how many there were.
    std::uint64_t clear(Residence tier);
    /// An empty tier below GPU memory takes nothing until it has room again. Not with `inclusive`.
    void set_room(Residence tier, bool room);

    [[nodiscard]] std::uint64_t used_bytes(Residence tier) const;
    [[nodiscard]] std::uint64_t entries(Residence tier) const;
    [[nodiscard]] std::uint64_t capacity_bytes(Residence tier) const;
    /// Of the users' states, own links of tiers and frequency sketches.
    [[nodiscard]] std::uint64_t state_bytes() const;
    /// In the list of a tier, of an entry that is in it or remembered by it.
    [[nodiscard]] policies::Links links(std::uint32_t place, Residence tier) const {
        policies::Links const* const own =
            tier >= Residence::dram ? own_links_[tier == Residence::nvme ? 1 : 0] : nullptr;
        return own != nullptr ? own[place] : states_[place].links;
    }

    /// Start state: puts a user who is nowhere at the old end of a tier's list (s3_fifo: of its
    /// main queue; w_tiny_lfu: of its main segments); call from the newest to the oldest. False
    /// when that is full.
    bool place_oldest(std::uint32_t place, Residence tier);

    /// Mean entry of a user of the fleet at the start, in whole cache lines.
    [[nodiscard]] double mean_entry_bytes(FleetUsers const& users) const;

    /// A user of another node who is served here. Moves the states: references to them end.
    /// BackendError beyond kNoPlace users or when memory is refused.
    std::uint32_t add_place();

    /// Lists, bytes and counts agree with the states; for tests. Throws InternalError.
    void check() const;

    /// States, links and policies, see core/archive.hpp. What is loaded is checked.
    void archive(SaveArchive& ar);
    void archive(LoadArchive& ar);
    void archive(LayoutArchive& ar);

  private:
    void find_arrays();

    std::unique_ptr<TierLists> lists_;
    // Of the lists, for what is done without a call.
    UserState* states_ = nullptr;
    policies::Links* own_links_[2] = {nullptr, nullptr};
    std::uint32_t gpus_;
    std::uint32_t max_;
    std::uint32_t ttl_ticks_;
};

}  // namespace ckvsim::fleet
