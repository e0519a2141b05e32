// Flat arrays of plain values that may be gigabytes large: zero-filled memory straight from the
// operating system, on huge pages where it grants them, grown without copying.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace ckvsim {

/// Zero-filled pages. Throws BackendError when the operating system refuses.
void* map_pages(std::size_t bytes);
/// Larger mapping with the same content, zero-filled behind it; may move.
void* remap_pages(void* pages, std::size_t old_bytes, std::size_t new_bytes);
void unmap_pages(void* pages, std::size_t bytes) noexcept;

/// Array whose new elements are all-zero bytes, which must be a valid T. Element access is not
/// checked. Not thread-safe.
template <class T>
class LargeArray {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

  public:
    LargeArray() = default;
    explicit LargeArray(std::size_t size) { grow(size); }
    LargeArray(LargeArray&& other) noexcept { swap(other); }
    LargeArray& operator=(LargeArray&& other) noexcept {
        swap(other);
        return *this;
    }
    LargeArray(LargeArray const&) = delete;
    LargeArray& operator=(LargeArray const&) = delete;
    ~LargeArray() { unmap_pages(data_, size_ * sizeof(T)); }

    /// More elements, the new ones zero. A smaller size changes nothing.
    void grow(std::size_t size) {
        if (size <= size_) return;
        data_ = static_cast<T*>(data_ == nullptr
                                    ? map_pages(size * sizeof(T))
                                    : remap_pages(data_, size_ * sizeof(T), size * sizeof(T)));
        size_ = size;
    }
    void swap(LargeArray& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    [[nodiscard]] T& operator[](std::size_t at) { return data_[at]; }
    [[nodiscard]] T const& operator[](std::size_t at) const { return data_[at]; }
    [[nodiscard]] T* data() { return data_; }
    [[nodiscard]] T const* data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::size_t bytes() const { return size_ * sizeof(T); }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace ckvsim
