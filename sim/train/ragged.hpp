// Lists of different lengths in one array (CSR): the token lists of a batch, without padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ckvsim::train {

struct Ragged {
    std::vector<std::uint32_t> rows;        ///< concatenated lists
    std::vector<std::uint32_t> offsets{0};  ///< [lists + 1]
    void clear() {
        rows.clear();
        offsets.assign(1, 0);
    }
    void close_list() { offsets.push_back(static_cast<std::uint32_t>(rows.size())); }
    [[nodiscard]] std::size_t lists() const { return offsets.size() - 1; }
    [[nodiscard]] std::span<std::uint32_t const> list(std::size_t i) const {
        return std::span(rows).subspan(offsets[i], offsets[i + 1] - offsets[i]);
    }
};

}  // namespace ckvsim::train
