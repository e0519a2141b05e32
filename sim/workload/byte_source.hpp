// Bytes of a regular file, unpacked when it is gzip (one or more members).
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ckvsim::workload {

/// Streaming, 256 KiB of memory beside zlib's window. Local; not shared between threads.
class ByteSource {
  public:
    /// Throws DataError for a missing file, one without permission, a folder, a pipe or device, and
    /// for a name ending in ".gz" whose content is not gzip.
    explicit ByteSource(std::string path);
    ~ByteSource();
    ByteSource(ByteSource const&) = delete;
    ByteSource& operator=(ByteSource const&) = delete;

    /// Fills at most `size` bytes; 0 only at the end of the file. Throws DataError at `line` for a
    /// read error and for a gzip stream that is damaged (checksum, length), truncated, or followed
    /// by anything but another gzip member: nothing of it is skipped in silence.
    std::size_t read(char* out, std::size_t size, std::uint64_t line);

    [[nodiscard]] std::string const& path() const { return path_; }
    /// Bytes of the file taken so far, as stored (packed for gzip).
    [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_ - stream_.avail_in; }
    [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }

  private:
    std::size_t read_file(char* out, std::size_t size, std::uint64_t line);
    void refill(std::uint64_t line);
    bool next_member(std::uint64_t line);

    std::string path_;
    int descriptor_ = -1;
    std::uint64_t bytes_read_ = 0;
    std::uint64_t total_bytes_ = 0;
    std::vector<char> packed_;
    z_stream stream_{};
    bool gzip_ = false;
    bool inflating_ = false;  ///< inside a member
};

}  // namespace ckvsim::workload
