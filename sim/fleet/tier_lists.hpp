// What NodeTiers asks of its lists, whatever the policy: one virtual call a request. The lists
// themselves are in policy_tiers.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/large_array.hpp"
#include "fleet/tiers.hpp"

namespace ckvsim::fleet {

class TierLists {
  public:
    TierLists(std::uint64_t users, std::uint32_t gpus, TierParams const& params,
              ServingCosts const& costs);
    virtual ~TierLists() = default;
    TierLists(TierLists const&) = delete;
    TierLists& operator=(TierLists const&) = delete;

    /// See the functions of NodeTiers with the same names.
    virtual Residence serve(std::uint32_t place, std::uint32_t appended, std::uint32_t now_tick,
                            Moves& moves, bool recomputed) = 0;
    virtual void grow(std::uint32_t place, std::uint32_t appended, Moves& moves) = 0;
    virtual bool place_oldest(std::uint32_t place, Residence tier) = 0;
    [[nodiscard]] virtual std::uint64_t used_bytes(Residence tier) const = 0;
    [[nodiscard]] virtual std::uint64_t entries(Residence tier) const = 0;
    virtual void check() const = 0;
    /// Takes a kept entry out of its tier.
    virtual void remove(std::uint32_t place) = 0;
    /// Host memory or flash takes so much from now on; exclusive tiers only.
    virtual void set_capacity(Residence tier, std::uint64_t bytes, Moves& moves) = 0;
    /// Bytes of the policies' own arrays.
    [[nodiscard]] virtual std::uint64_t policy_bytes() const = 0;

    virtual void archive(SaveArchive& ar) = 0;
    virtual void archive(LoadArchive& ar) = 0;
    virtual void archive(LayoutArchive& ar) = 0;

    std::uint32_t add_place();
    [[nodiscard]] std::uint64_t capacity_bytes(Residence tier) const;
    [[nodiscard]] std::uint64_t state_bytes() const;
    [[nodiscard]] std::uint64_t bytes_of(std::uint32_t events) const {
        return entry_bytes_[events < max_ ? events : max_];
    }
    [[nodiscard]] std::uint64_t places() const { return places_; }
    [[nodiscard]] UserState* states() { return states_.data(); }
    /// Links of host memory (0) and of flash (1); null where they share the states'.
    [[nodiscard]] policies::Links* own_links(std::size_t below) { return own_links_[below].data(); }

  protected:
    /// States and links; loading requires that every neighbour exists.
    template <class Archive>
    void archive_states(Archive& ar) {
        ar(places_, states_, own_links_);
        if constexpr (Archive::kLoads)
            ar.require(neighbours_exist(), "a user's neighbours in a list do not exist");
    }
    [[nodiscard]] bool neighbours_exist() const;
    [[nodiscard]] Residence residence_of(std::uint32_t place) const {
        return static_cast<Residence>(states_[place].residence);
    }
    [[nodiscard]] static std::uint32_t sum_of_events(UserState const& s, std::uint32_t appended);

    LargeArray<UserState> states_;  ///< at least places_
    std::array<LargeArray<policies::Links>, 2> own_links_;
    std::uint64_t places_;
    std::uint32_t gpus_;
    std::uint32_t max_;
    TierParams params_;
    std::vector<std::uint64_t> entry_bytes_;
};

}  // namespace ckvsim::fleet
