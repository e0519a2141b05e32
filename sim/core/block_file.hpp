// Scratch space on a storage device, read and written in whole blocks past the page cache where the
// file system allows it, so that times are the device's. The file has no name: it goes when its
// owner does, however the process ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ckvsim {

/// Local. Reads and writes of disjoint ranges may run at the same time from several threads.
class BlockFile {
  public:
    static constexpr std::size_t kBlock = 4096;  ///< offsets, sizes and buffers are multiples

    static constexpr std::uint64_t rounded(std::uint64_t bytes) {
        return (bytes + kBlock - 1) / kBlock * kBlock;
    }

    /// Reserves `bytes` (rounded up) in `folder`, which is made when it is missing. Throws
    /// BackendError naming folder, size and reason, for example that the device is full.
    BlockFile(std::string const& folder, std::uint64_t bytes);
    ~BlockFile();
    BlockFile(BlockFile const&) = delete;
    BlockFile& operator=(BlockFile const&) = delete;

    /// Throw BackendError on a failed or short transfer, naming folder, offset and size.
    void write(std::uint64_t offset, std::byte const* from, std::size_t bytes) const;
    void read(std::uint64_t offset, std::byte* to, std::size_t bytes) const;

    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    /// False: the file system has no direct transfers, reads may come from memory.
    [[nodiscard]] bool direct() const { return direct_; }

  private:
    [[noreturn]] void fail(char const* what, std::uint64_t offset, std::size_t bytes,
                           int error) const;

    std::string folder_;
    std::uint64_t bytes_;
    int descriptor_ = -1;
    bool direct_ = true;
};

}  // namespace ckvsim
