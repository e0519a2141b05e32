// Places entries of different sizes in one contiguous arena: segregated free lists with immediate
// coalescing (good fit, the idea of TLSF, Masmano et al., ECRTS 2004), and compaction when free
// space is there but scattered. Offsets only: the memory belongs to the caller. No allocation per
// call beyond the growth of the flat array of block descriptors.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace ckvsim::node {

class ArenaAllocator {
  public:
    using Block = std::uint32_t;
    static constexpr Block kNoBlock = 0xFFFFFFFFU;
    static constexpr std::uint64_t kGranule =
        64;  ///< sizes and offsets are multiples: a cache line

    static constexpr std::uint64_t rounded(std::uint64_t bytes) {
        return bytes == 0 ? kGranule : (bytes + kGranule - 1) / kGranule * kGranule;
    }

    /// An arena of `bytes`, rounded down to whole granules.
    explicit ArenaAllocator(std::uint64_t bytes);

    /// A block of at least `bytes`; kNoBlock when no free piece is large enough (compact() may
    /// help).
    [[nodiscard]] Block allocate(std::uint64_t bytes);
    void release(Block block);
    [[nodiscard]] std::uint64_t offset(Block block) const { return blocks_[block].offset; }
    [[nodiscard]] std::uint64_t size(Block block) const { return blocks_[block].size; }

    /// Moves all blocks to the front, in ascending order; `move(from, to, bytes)` copies (regions
    /// may overlap, to < from). Blocks keep their names. One free piece remains.
    template <class Move>
    void compact(Move&& move);

    [[nodiscard]] std::uint64_t free_bytes() const { return free_bytes_; }
    [[nodiscard]] std::uint64_t capacity() const { return capacity_; }

  private:
    struct Piece {
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
        Block before = kNoBlock;  ///< neighbours in the arena
        Block after = kNoBlock;
        Block newer = kNoBlock;  ///< neighbours in the free list
        Block older = kNoBlock;
        bool free = false;
    };
    // 8 classes an octave: a class's pieces differ by less than 12.5 %.
    static constexpr std::size_t kClasses = 64 * 8;
    static std::size_t class_of(std::uint64_t size);     ///< whose pieces may be smaller
    static std::size_t class_above(std::uint64_t size);  ///< whose pieces are all large enough

    Block new_piece();
    void push_free(Block piece);
    void pop_free(Block piece);
    [[nodiscard]] Block find_free(std::uint64_t size) const;
    void absorb_after(Block piece);  ///< merges the right neighbour into `piece`

    std::uint64_t capacity_;
    std::uint64_t free_bytes_ = 0;
    std::vector<Piece> blocks_;
    std::vector<Block> unused_;
    Block first_ = kNoBlock;
    Block last_ = kNoBlock;
    std::array<Block, kClasses> heads_{};
    std::array<std::uint64_t, kClasses / 64> occupied_{};
};

template <class Move>
void ArenaAllocator::compact(Move&& move) {
    std::uint64_t end = 0;
    Block last_kept = kNoBlock;
    for (Block at = first_; at != kNoBlock;) {
        Block const next = blocks_[at].after;
        if (blocks_[at].free) {
            pop_free(at);
            unused_.push_back(at);
        } else {
            Piece& piece = blocks_[at];
            if (piece.offset != end) move(piece.offset, end, piece.size);
            piece.offset = end;
            end += piece.size;
            piece.before = last_kept;
            (last_kept == kNoBlock ? first_ : blocks_[last_kept].after) = at;
            last_kept = at;
        }
        at = next;
    }
    if (last_kept == kNoBlock) first_ = kNoBlock;
    last_ = last_kept;
    if (last_kept != kNoBlock) blocks_[last_kept].after = kNoBlock;
    if (end == capacity_) return;
    Block const rest = new_piece();
    blocks_[rest] = {end, capacity_ - end, last_kept, kNoBlock, kNoBlock, kNoBlock, false};
    (last_kept == kNoBlock ? first_ : blocks_[last_kept].after) = rest;
    last_ = rest;
    push_free(rest);
}

}  // namespace ckvsim::node
