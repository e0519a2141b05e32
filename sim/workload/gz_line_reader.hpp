// Lines of a text file, plain or gzip, with everything that can be wrong about one reported by file
// and line.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ckvsim::workload {

/// Streaming; memory is bounded by the line limit. Local; not shared between threads.
class GzLineReader {
  public:
    /// Longest line accepted, without its end. The longest lines of the supported layouts are a few
    /// KiB.
    static constexpr std::size_t kMaxLineBytes = 1U << 20;

    /// Opens a regular file. Throws DataError for a missing file, a directory, a pipe or device,
    /// and for a name ending in ".gz" whose content is not gzip.
    explicit GzLineReader(std::string path);

    /// Next line without its end ("\n" or "\r\n"); the view is valid until the next call. False at
    /// the end of the file. Throws DataError for a NUL byte, text that is not UTF-8, a line above
    /// the limit, a damaged or truncated gzip stream.
    bool next(std::string_view& line);

    /// Number of the line last returned, from 1.
    [[nodiscard]] std::uint64_t line_number() const { return line_number_; }
    [[nodiscard]] std::string const& path() const { return path_; }
    [[nodiscard]] std::uint64_t bytes_read() const;  ///< compressed bytes consumed
    [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }
    /// Throws DataError at the current line.
    [[noreturn]] void fail(std::string const& reason) const;

  private:
    struct Close {
        void operator()(gzFile_s* file) const { gzclose_r(file); }
    };
    void fill();
    void check_text(std::string_view line) const;

    std::string path_;
    std::unique_ptr<gzFile_s, Close> file_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool at_end_ = false;
    std::uint64_t line_number_ = 0;
    std::uint64_t total_bytes_ = 0;
};

/// Whether `text` is well-formed UTF-8 (Unicode 15, table 3-7).
bool is_utf8(std::string_view text);

}  // namespace ckvsim::workload
