#include "core/block_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.hpp"

namespace ckvsim {

namespace {

/// Descriptor of a new file without a name, or -1 with errno.
int open_unnamed(std::string const& folder, int flags) {
    std::string name = folder + "/ckvsim-scratch-XXXXXX";
    int const descriptor = ::mkostemp(name.data(), O_CLOEXEC | flags);
    int const error = errno;
    ::unlink(name.c_str());  // a file system that refuses the flags may have made the file before
    errno = error;
    return descriptor;
}

/// File systems that live in memory take direct transfers without having a device.
bool lives_in_memory(int descriptor) {
    struct statfs about {};
    if (::fstatfs(descriptor, &about) != 0) return false;
    auto const kind = static_cast<std::uint64_t>(about.f_type);
    return kind == TMPFS_MAGIC || kind == RAMFS_MAGIC;
}

}  // namespace

BlockFile::BlockFile(std::string const& folder, std::uint64_t bytes)
    : folder_(folder), bytes_(rounded(bytes)) {
    std::error_code error;
    std::filesystem::create_directories(folder_, error);
    if (error) throw BackendError(folder_ + ": cannot create folder (" + error.message() + ")");
    descriptor_ = open_unnamed(folder_, O_DIRECT);
    if (descriptor_ < 0 && errno == EINVAL) {
        direct_ = false;
        descriptor_ = open_unnamed(folder_, 0);
    }
    if (descriptor_ < 0)
        throw BackendError(folder_ + ": cannot create a scratch file (" + std::strerror(errno) +
                           ")");
    if (lives_in_memory(descriptor_)) direct_ = false;
    int const reserved = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes_));
    if (reserved == 0 || bytes_ == 0) return;
    ::close(descriptor_);
    throw BackendError(folder_ + ": cannot reserve " + std::to_string(bytes_) + " bytes (" +
                       std::strerror(reserved) +
                       "). free space, ask for less, or choose another folder");
}

BlockFile::~BlockFile() { ::close(descriptor_); }

void BlockFile::fail(char const* what, std::uint64_t offset, std::size_t bytes, int error) const {
    throw BackendError(folder_ + ": " + what + " of " + std::to_string(bytes) +
                       " bytes at offset " + std::to_string(offset) + " of " +
                       std::to_string(bytes_) + " failed (" +
                       (error == 0 ? "the file is shorter" : std::strerror(error)) + ")");
}

void BlockFile::write(std::uint64_t offset, std::byte const* from, std::size_t bytes) const {
    for (std::size_t done = 0; done < bytes;) {
        ssize_t const n =
            ::pwrite(descriptor_, from + done, bytes - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) fail("writing", offset, bytes, n < 0 ? errno : ENOSPC);
        done += static_cast<std::size_t>(n);
    }
}

void BlockFile::read(std::uint64_t offset, std::byte* to, std::size_t bytes) const {
    for (std::size_t done = 0; done < bytes;) {
        ssize_t const n =
            ::pread(descriptor_, to + done, bytes - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) fail("reading", offset, bytes, n < 0 ? errno : 0);
        done += static_cast<std::size_t>(n);
    }
}

}  // namespace ckvsim
