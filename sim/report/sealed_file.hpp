// Files of this folder appear whole or not at all, and say when they were changed afterwards: the
// first 512 bytes (HDF5's user block) hold kind, length and hash of the rest. Checking them before
// HDF5 sees the file keeps damaged metadata away from HDF5 1.10's parser, which can crash on it,
// and covers bulk arrays too. Internal to this folder; all functions are local.
#pragma once

#include <cstdint>
#include <string>

namespace ckvsim::report {

inline constexpr std::uint64_t kSealBytes = 512;  ///< smallest user block that HDF5 allows

/// `<path>.partial`
std::string partial_name(std::string const& path);

/// Makes missing folders, refuses a folder under the final name, replaces an older partial file by
/// an empty one. BackendError with the operating system's reason.
void prepare_partial(std::string const& path);

/// BackendError when the file system of `partial` has fewer than `bytes` free, or this process may
/// not write files of that size. Asked before collective writing, in which one failing rank could
/// leave the others waiting.
void require_room(std::string const& partial, std::uint64_t bytes);

/// Writes the seal of a closed file and flushes it to the device. `kind` is "report" or "dataset".
void seal_file(std::string const& partial, std::string const& kind);

/// DataError(path, ...) unless the file is a regular file of this kind, unchanged since it was
/// sealed. Streams through the file once.
void check_seal(std::string const& path, std::string const& kind);

/// Renames the partial file to its final name and flushes the folder. BackendError.
void publish(std::string const& path);

/// Removes the partial file, if there is one.
void discard_partial(std::string const& path) noexcept;

}  // namespace ckvsim::report
