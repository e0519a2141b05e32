// Cache-line aligned memory for weights, tables and scratch; large blocks on huge pages where the
// system grants them: random rows of a pool or an item table otherwise pay a page walk each.
#pragma once

#include <cstddef>
#include <vector>

namespace ckvsim::device::cpu {

inline constexpr std::size_t kCacheLine =
    64;  ///< also the width of the widest vector register used

/// Blocks from two of these on start a huge page.
inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
/// Throws std::bad_alloc. Give back with the same `bytes`.
void* allocate_aligned(std::size_t bytes);
void deallocate_aligned(void* memory, std::size_t bytes);

/// Minimal allocator for std::vector with cache-line alignment.
template <class T>
struct AlignedAllocator {
    using value_type = T;
    AlignedAllocator() = default;
    template <class U>
    AlignedAllocator(AlignedAllocator<U> const&) {
    }  // NOLINT: rebinding is implicit by the allocator contract
    T* allocate(std::size_t count) { return static_cast<T*>(allocate_aligned(count * sizeof(T))); }
    void deallocate(T* memory, std::size_t count) { deallocate_aligned(memory, count * sizeof(T)); }
    friend bool operator==(AlignedAllocator const&, AlignedAllocator const&) { return true; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

/// Grows `buffer` to at least `count` elements and returns its start; never shrinks.
template <class T>
T* reserve_elements(AlignedVector<T>& buffer, std::size_t count) {
    if (buffer.size() < count) buffer.resize(count);
    return buffer.data();
}

}  // namespace ckvsim::device::cpu
