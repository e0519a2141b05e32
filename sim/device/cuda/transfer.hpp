// Moving entries to where kernels read them, many with one launch, and reading table rows as
// attention does but without its arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ckvsim::device::cuda {

class Stream;

/// One entry. Addresses and bytes are multiples of 16; `from` may be pinned host memory.
struct CopyTask {
    void const* from = nullptr;
    void* to = nullptr;
    std::size_t bytes = 0;
};

/// Copies `count` entries, each by `slices` blocks. `tasks` is a device address.
void copy_entries(CopyTask const* tasks, std::uint32_t count, std::uint32_t slices,
                  Stream const& stream);

/// Rows of `row_bytes` (a multiple of 16) of a table, read in the order of `index`.
struct GatherArgs {
    void const* table = nullptr;
    std::uint32_t row_bytes = 0;
    std::uint32_t const* index = nullptr;
    std::size_t count = 0;
    std::uint32_t* folded = nullptr;  ///< [gather_words(blocks)]
};
constexpr std::size_t gather_words(std::uint32_t blocks) { return std::size_t{blocks} * 8; }
void gather_rows(GatherArgs const& args, std::uint32_t blocks, Stream const& stream);

}  // namespace ckvsim::device::cuda
