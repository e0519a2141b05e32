// Files that appear whole or not at all.
#pragma once

#include <string>
#include <string_view>

namespace ckvsim {

/// Writes `content` to `<path>.partial`, flushes it to the device and renames it to `path`,
/// creating missing folders. Throws BackendError with path and reason; the temporary is removed and
/// an older file of that name stays.
void write_file_atomically(std::string const& path, std::string_view content);

/// Reads a regular file whole. Throws DataError for a missing file, a directory, a FIFO or a read
/// error.
std::string read_file(std::string const& path);

}  // namespace ckvsim
