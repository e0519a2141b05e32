// Large flat arrays in anonymous memory, on huge pages where the kernel gives them: random access
// to gigabytes costs a third less when the page table fits the translation cache.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "core/error.hpp"

namespace ckvsim {

/// Zero-filled array of `size` elements with address space for `capacity`; pages are taken when
/// touched. Not copied.
template <class T>
class PagedArray {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

  public:
    PagedArray() = default;
    /// Throws BackendError when the address space is refused.
    PagedArray(std::size_t size, std::size_t capacity) : size_(size), capacity_(capacity) {
        if (capacity_ == 0) return;
        void* memory = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            throw BackendError("memory: " + std::to_string(bytes()) +
                               " bytes of address space were refused; raise the limit (ulimit -v) "
                               "or use fewer users");
        }
        data_ = static_cast<T*>(memory);
        ::madvise(memory, bytes(), MADV_HUGEPAGE);  // a wish; small pages work, too
    }
    ~PagedArray() {
        if (data_ != nullptr) ::munmap(data_, bytes());
    }
    PagedArray(PagedArray&& other) noexcept { swap(other); }
    PagedArray& operator=(PagedArray&& other) noexcept {
        swap(other);
        return *this;
    }
    PagedArray(PagedArray const&) = delete;
    PagedArray& operator=(PagedArray const&) = delete;

    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::size_t capacity() const { return capacity_; }
    T& operator[](std::size_t i) { return data_[i]; }
    T const& operator[](std::size_t i) const { return data_[i]; }
    /// One more element at the end; BackendError beyond the capacity.
    T& grow() {
        if (size_ == capacity_) {
            throw BackendError("PagedArray: more than the planned " + std::to_string(capacity_) +
                               " elements");
        }
        return data_[size_++];
    }

  private:
    [[nodiscard]] std::size_t bytes() const { return capacity_ * sizeof(T); }
    void swap(PagedArray& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

    T* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace ckvsim
