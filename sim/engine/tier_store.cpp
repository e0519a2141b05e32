#include "engine/tier_store.hpp"

#include <cstring>
#include <new>
#include <string>

#include "core/error.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::uint64_t kTouchStep = 4096;  ///< smallest page of the machines in use
constexpr std::align_val_t kAlignment{kTouchStep};

std::uint64_t arena_bytes(std::uint64_t capacity_bytes, std::uint64_t largest_entry) {
    if (capacity_bytes == 0) return 0;
    return node::ArenaAllocator::rounded(capacity_bytes + capacity_bytes / 8 + largest_entry);
}

}  // namespace

void TouchedBytes::Free::operator()(std::byte* memory) const {
    ::operator delete(memory, kAlignment);
}

TouchedBytes::TouchedBytes(std::uint64_t bytes, char const* what) : bytes_(bytes) {
    if (bytes == 0) return;
    data_.reset(static_cast<std::byte*>(::operator new(bytes, kAlignment, std::nothrow)));
    if (data_ == nullptr) {
        throw BackendError(std::string("no memory for ") + what + " (" + std::to_string(bytes) +
                           " bytes). lower the capacities or budgets of the spec");
    }
#pragma omp parallel for schedule(static)
    for (std::uint64_t at = 0; at < bytes; at += kTouchStep) data_.get()[at] = std::byte{0};
}

TierStore::TierStore(std::uint64_t capacity_bytes, std::uint64_t largest_entry, char const* what)
    : arena_(arena_bytes(capacity_bytes, largest_entry)), memory_(arena_.capacity(), what) {}

void TierStore::put(std::uint32_t slot, std::uint64_t bytes) {
    if (slot >= blocks_.size())
        blocks_.resize(slot + std::size_t{1}, node::ArenaAllocator::kNoBlock);
    auto block = arena_.allocate(bytes);
    if (block == node::ArenaAllocator::kNoBlock) {
        ++compactions_;
        arena_.compact([&](std::uint64_t from, std::uint64_t to, std::uint64_t size) {
            std::memmove(memory_.data() + to, memory_.data() + from, size);
        });
        block = arena_.allocate(bytes);
        validate(block != node::ArenaAllocator::kNoBlock,
                 "engine::TierStore: the tier admitted more bytes than it holds");
    }
    blocks_[slot] = block;
}

void TierStore::release(std::uint32_t slot) {
    arena_.release(blocks_[slot]);
    blocks_[slot] = node::ArenaAllocator::kNoBlock;
}

}  // namespace ckvsim::engine
