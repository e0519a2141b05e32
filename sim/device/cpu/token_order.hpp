// The order in which attention reads the tokens of a list, which is the order of its sums.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "device/cpu/attention.hpp"

namespace ckvsim::device::cpu {

/// One token after the other, or in turn one of each quarter of the list: rows that lie one after
/// another are then read as four streams, each in a page of its own, which the hardware fetches
/// faster than a single one (results/campaigns/kernels).
class TokenOrder {
  public:
    /// Shorter lists have too few pages for streams.
    static constexpr std::size_t kFewTokens = 64;

    TokenOrder(std::size_t count, bool in_turn) : step_(in_turn ? 1 : kTokenBlock) {
        std::size_t const part = count / kTokenBlock;
        std::size_t const longer = count % kTokenBlock;  // parts with one token more
        for (std::size_t p = 0; p < kTokenBlock; ++p)
            starts_[p] = in_turn ? p * part + std::min(p, longer) : p;
    }
    /// Place in the list of the token that is read as number `slot`.
    [[nodiscard]] std::size_t at(std::size_t slot) const {
        return starts_[slot % kTokenBlock] + slot / kTokenBlock * step_;
    }

  private:
    std::array<std::size_t, kTokenBlock> starts_{};
    std::size_t step_;
};

}  // namespace ckvsim::device::cpu
