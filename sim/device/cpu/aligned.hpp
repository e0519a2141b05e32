// Cache-line aligned memory for weights and scratch.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace ckvsim::device::cpu {

inline constexpr std::size_t kCacheLine =
    64;  ///< also the width of the widest vector register used

/// Minimal allocator for std::vector with cache-line alignment.
template <class T>
struct AlignedAllocator {
    using value_type = T;
    AlignedAllocator() = default;
    template <class U>
    AlignedAllocator(AlignedAllocator<U> const&) {
    }  // NOLINT: rebinding is implicit by the allocator contract
    T* allocate(std::size_t count) {
        return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{kCacheLine}));
    }
    void deallocate(T* memory, std::size_t) {
        ::operator delete (memory, std::align_val_t{kCacheLine});
    }
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
