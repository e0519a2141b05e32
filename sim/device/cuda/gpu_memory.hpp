// Memory that kernels read: on the device, and on the host pinned so that copies run at the speed
// of the link and beside kernels.
#pragma once

#include <cstddef>
#include <utility>

namespace ckvsim::device::cuda {

/// Device memory, 256-byte aligned, not initialised.
class DeviceBuffer {
  public:
    DeviceBuffer() = default;
    /// Throws BackendError with the purpose, the bytes asked for and those that are free.
    DeviceBuffer(std::size_t bytes, char const* purpose);
    DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
    DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
        swap(other);
        return *this;
    }
    DeviceBuffer(DeviceBuffer const&) = delete;
    DeviceBuffer& operator=(DeviceBuffer const&) = delete;
    ~DeviceBuffer();

    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return bytes_; }
    template <class T>
    [[nodiscard]] T* as() const {
        return reinterpret_cast<T*>(data_);
    }
    /// Copies and waits. The range must lie inside.
    void upload(void const* from, std::size_t bytes, std::size_t offset = 0) const;
    void download(void* to, std::size_t bytes, std::size_t offset = 0) const;
    /// Sets every byte and waits.
    void fill(int byte) const;
    void swap(DeviceBuffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
    }

  private:
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Page-locked host memory; kernels may read it at the same address.
class PinnedBuffer {
  public:
    PinnedBuffer() = default;
    /// Throws BackendError with the purpose and the bytes asked for.
    PinnedBuffer(std::size_t bytes, char const* purpose);
    PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
    PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
        swap(other);
        return *this;
    }
    PinnedBuffer(PinnedBuffer const&) = delete;
    PinnedBuffer& operator=(PinnedBuffer const&) = delete;
    ~PinnedBuffer();

    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return bytes_; }
    template <class T>
    [[nodiscard]] T* as() const {
        return reinterpret_cast<T*>(data_);
    }
    void swap(PinnedBuffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
    }

  private:
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace ckvsim::device::cuda
