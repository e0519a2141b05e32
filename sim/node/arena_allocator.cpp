#include "node/arena_allocator.hpp"

#include <bit>

#include "core/error.hpp"

namespace ckvsim::node {

ArenaAllocator::ArenaAllocator(std::uint64_t bytes) : capacity_(bytes / kGranule * kGranule) {
    heads_.fill(kNoBlock);
    if (capacity_ == 0) return;
    first_ = last_ = new_piece();
    blocks_[first_].size = capacity_;
    push_free(first_);
}

std::size_t ArenaAllocator::class_of(std::uint64_t size) {
    std::uint64_t const granules = size / kGranule;
    if (granules < 8) return static_cast<std::size_t>(granules);
    auto const octave = static_cast<std::size_t>(std::bit_width(granules)) - 4;
    return (octave + 1) * 8 + static_cast<std::size_t>((granules >> octave) & 7U);
}

std::size_t ArenaAllocator::class_above(std::uint64_t size) {
    std::size_t const own = class_of(size);
    return class_of(size - kGranule) == own && size > kGranule ? own + 1 : own;
}

ArenaAllocator::Block ArenaAllocator::new_piece() {
    if (!unused_.empty()) {
        Block const piece = unused_.back();
        unused_.pop_back();
        blocks_[piece] = Piece{};
        return piece;
    }
    validate(blocks_.size() < kNoBlock, "node::ArenaAllocator: too many blocks");
    blocks_.emplace_back();
    return static_cast<Block>(blocks_.size() - 1);
}

void ArenaAllocator::push_free(Block piece) {
    Piece& p = blocks_[piece];
    std::size_t const c = class_of(p.size);
    p.free = true;
    p.newer = kNoBlock;
    p.older = heads_[c];
    if (p.older != kNoBlock) blocks_[p.older].newer = piece;
    heads_[c] = piece;
    occupied_[c / 64] |= 1ULL << (c % 64);
    free_bytes_ += p.size;
}

void ArenaAllocator::pop_free(Block piece) {
    Piece& p = blocks_[piece];
    std::size_t const c = class_of(p.size);
    (p.newer == kNoBlock ? heads_[c] : blocks_[p.newer].older) = p.older;
    if (p.older != kNoBlock) blocks_[p.older].newer = p.newer;
    if (heads_[c] == kNoBlock) occupied_[c / 64] &= ~(1ULL << (c % 64));
    p.free = false;
    free_bytes_ -= p.size;
}

ArenaAllocator::Block ArenaAllocator::find_free(std::uint64_t size) const {
    std::size_t const lowest = class_above(size);
    for (std::size_t word = lowest / 64; word < occupied_.size(); ++word) {
        std::uint64_t bits = occupied_[word];
        if (word == lowest / 64) bits &= ~0ULL << (lowest % 64);
        if (bits != 0) return heads_[word * 64 + static_cast<std::size_t>(std::countr_zero(bits))];
    }
    // A piece of the size's own class may do; only the newest is looked at to stay O(1).
    Block const head = heads_[class_of(size)];
    return head != kNoBlock && blocks_[head].size >= size ? head : kNoBlock;
}

ArenaAllocator::Block ArenaAllocator::allocate(std::uint64_t bytes) {
    std::uint64_t const size = rounded(bytes);
    if (size > free_bytes_) return kNoBlock;
    Block const found = find_free(size);
    if (found == kNoBlock) return kNoBlock;
    pop_free(found);
    std::uint64_t const left = blocks_[found].size - size;
    if (left > 0) {
        Block const rest = new_piece();
        Piece& p = blocks_[found];
        blocks_[rest].offset = p.offset + size;
        blocks_[rest].size = left;
        blocks_[rest].before = found;
        blocks_[rest].after = p.after;
        (p.after == kNoBlock ? last_ : blocks_[p.after].before) = rest;
        p.after = rest;
        p.size = size;
        push_free(rest);
    }
    return found;
}

void ArenaAllocator::absorb_after(Block piece) {
    Piece& p = blocks_[piece];
    Block const gone = p.after;
    p.size += blocks_[gone].size;
    p.after = blocks_[gone].after;
    (p.after == kNoBlock ? last_ : blocks_[p.after].before) = piece;
    unused_.push_back(gone);
}

void ArenaAllocator::release(Block block) {
    validate(block < blocks_.size() && !blocks_[block].free,
             "node::ArenaAllocator::release: not an allocated block");
    Block const after = blocks_[block].after;
    if (after != kNoBlock && blocks_[after].free) {
        pop_free(after);
        absorb_after(block);
    }
    Block const before = blocks_[block].before;
    if (before != kNoBlock && blocks_[before].free) {
        pop_free(before);
        absorb_after(before);
        block = before;
    }
    push_free(block);
}

}  // namespace ckvsim::node
