// Real memory behind a cache tier: an arena of fixed size, blocks by cache slot. The decisions are
// node/tiered_cache.hpp's; this only keeps the bytes.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "node/arena_allocator.hpp"

namespace ckvsim::engine {

/// Page-aligned bytes, every page touched in parallel on construction. Throws BackendError
/// naming `what` and the size when there is not so much memory.
class TouchedBytes {
  public:
    TouchedBytes(std::uint64_t bytes, char const* what);
    [[nodiscard]] std::byte* data() const { return data_.get(); }
    [[nodiscard]] std::uint64_t size() const { return bytes_; }

  private:
    struct Free {
        void operator()(std::byte* memory) const;
    };
    std::uint64_t bytes_;
    std::unique_ptr<std::byte, Free> data_;
};

class TierStore {
  public:
    /// Room for `capacity_bytes` of entries of at most `largest_entry` bytes: one entry more for a
    /// promotion in progress, and an eighth more so that compaction stays rare.
    TierStore(std::uint64_t capacity_bytes, std::uint64_t largest_entry, char const* what);

    /// Gives the slot a block. Compacts when free space is scattered: addresses taken before are
    /// void.
    void put(std::uint32_t slot, std::uint64_t bytes);
    void release(std::uint32_t slot);
    [[nodiscard]] std::byte* at(std::uint32_t slot) const {
        return memory_.data() + arena_.offset(blocks_[slot]);
    }
    [[nodiscard]] std::uint64_t allocated_bytes() const { return memory_.size(); }
    [[nodiscard]] std::uint64_t compactions() const { return compactions_; }

  private:
    node::ArenaAllocator arena_;
    TouchedBytes memory_;
    std::vector<node::ArenaAllocator::Block> blocks_;  ///< by slot
    std::uint64_t compactions_ = 0;
};

}  // namespace ckvsim::engine
