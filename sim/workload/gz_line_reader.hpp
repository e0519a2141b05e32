// Lines of a text file, plain or gzip, with everything that can be wrong about one reported by file
// and line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "workload/byte_source.hpp"

namespace ckvsim::workload {

/// Streaming; memory is bounded by the line limit. Local; not shared between threads.
class GzLineReader {
  public:
    /// Longest line accepted, without its end. The longest lines of the supported layouts are a few
    /// KiB.
    static constexpr std::size_t kMaxLineBytes = 1U << 20;

    /// Throws what ByteSource throws.
    explicit GzLineReader(std::string path);

    /// Next line without its end ("\n" or "\r\n"); the view is valid until the next call. False at
    /// the end of the file. Throws DataError for a NUL byte, text that is not UTF-8, a line above
    /// the limit, a damaged or truncated gzip stream. Lines end in "\n"; the last one may lack it.
    bool next(std::string_view& line);

    /// Number of the line last returned, from 1.
    [[nodiscard]] std::uint64_t line_number() const { return line_number_; }
    [[nodiscard]] std::string const& path() const { return source_.path(); }
    [[nodiscard]] std::uint64_t bytes_read() const { return source_.bytes_read(); }
    [[nodiscard]] std::uint64_t total_bytes() const { return source_.total_bytes(); }
    /// Throws DataError at the current line.
    [[noreturn]] void fail(std::string const& reason) const;

  private:
    void fill();
    void check_text(std::string_view line) const;

    ByteSource source_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool at_end_ = false;
    std::uint64_t line_number_ = 0;
};

/// Whether `text` is well-formed UTF-8 (Unicode 15, table 3-7).
bool is_utf8(std::string_view text);

}  // namespace ckvsim::workload
