// Files of this folder appear whole or not at all, and say when they were changed afterwards: the
// first 512 bytes (HDF5's user block) hold kind, length and hash of the rest. Checking them before
// HDF5 sees the file keeps damaged metadata away from HDF5 1.10's parser, which can crash on it,
// and covers bulk arrays too. Internal to this folder; all functions are local.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace ckvsim::report {

inline constexpr std::uint64_t kSealBytes = 512;  ///< smallest user block that HDF5 allows

/// `<path>.partial`
std::string partial_name(std::string const& path);

/// Makes missing folders, refuses a folder under the final name, replaces an older partial file by
/// an empty one. BackendError with the operating system's reason.
void prepare_partial(std::string const& path);

/// Writes the image of a file over the partial one. BackendError, for example on a full disk.
void write_partial(std::string const& path, std::span<char const> image);

/// Takes disk space for `bytes` more, without changing the file: writing them later cannot meet a
/// full disk. Where the file system cannot reserve, its free space is compared. BackendError.
void reserve_room(std::string const& partial, std::uint64_t bytes);

/// BackendError when this process may not write a file that is `bytes` longer (RLIMIT_FSIZE).
void require_permitted_size(std::string const& partial, std::uint64_t bytes);

/// Writes the seal of a closed file, gives unused reserved space back and flushes the file to the
/// device. `kind` is "report" or "dataset".
void seal_file(std::string const& partial, std::string const& kind);

/// DataError(path, ...) unless the file is a regular file of this kind, unchanged since it was
/// sealed. Streams through the file once.
void check_seal(std::string const& path, std::string const& kind);

/// Renames the partial file to its final name and flushes the folder. BackendError.
void publish(std::string const& path);

/// Removes the partial file, if there is one.
void discard_partial(std::string const& path) noexcept;
/// Removes a temporary file that ranks share, with the lock files that Open MPI leaves beside it
/// when a job ends early.
void discard_shared(std::string const& partial) noexcept;

}  // namespace ckvsim::report
