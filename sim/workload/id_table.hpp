// Original 64-bit ids -> dense numbers in order of first sight.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::workload {

/// Open addressing with linear probing, at most half full: 16 to 24 bytes an id. Not shared between
/// threads.
class IdTable {
  public:
    static constexpr std::uint32_t kAbsent = std::numeric_limits<std::uint32_t>::max();

    /// Number of `id`, a new one for an id not seen before.
    std::uint32_t intern(std::int64_t id) {
        if (id == last_id_ && !ids_.empty()) return last_number_;  // logs are grouped by user
        if (2 * (ids_.size() + 1) > slots_.size()) grow();
        std::size_t const at = slot_of(id);
        if (slots_[at] == kAbsent) {
            validate(ids_.size() < kAbsent - 1, "more than 2^32 - 2 distinct ids");
            slots_[at] = static_cast<std::uint32_t>(ids_.size());
            ids_.push_back(id);
        }
        last_id_ = id;
        last_number_ = slots_[at];
        return last_number_;
    }
    /// Number of `id`, or kAbsent.
    [[nodiscard]] std::uint32_t find(std::int64_t id) const {
        return slots_.empty() ? kAbsent : slots_[slot_of(id)];
    }
    [[nodiscard]] std::size_t size() const { return ids_.size(); }
    /// Ids in order of first sight.
    [[nodiscard]] std::vector<std::int64_t> const& ids() const { return ids_; }

  private:
    [[nodiscard]] std::size_t slot_of(std::int64_t id) const {
        std::size_t const mask = slots_.size() - 1;
        std::size_t at = mix64(static_cast<std::uint64_t>(id)) & mask;
        while (slots_[at] != kAbsent && ids_[slots_[at]] != id) at = (at + 1) & mask;
        return at;
    }
    void grow() {
        slots_.assign(slots_.empty() ? 1024 : 2 * slots_.size(), kAbsent);
        for (std::size_t number = 0; number < ids_.size(); ++number)
            slots_[slot_of(ids_[number])] = static_cast<std::uint32_t>(number);
    }

    std::vector<std::int64_t> ids_;
    std::vector<std::uint32_t> slots_;  ///< size 0 or a power of two
    std::int64_t last_id_ = 0;
    std::uint32_t last_number_ = 0;
};

}  // namespace ckvsim::workload
