#include "workload/byte_source.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::size_t kPackedBytes = 1U << 18;
constexpr int kGzipWindow = 15 + 16;  // zlib.h: 32 KiB window, gzip header and trailer only

}  // namespace

ByteSource::ByteSource(std::string path) : path_(std::move(path)) {
    // O_NONBLOCK: opening a pipe must not wait for a writer; regular files ignore it.
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) {
        throw DataError(path_, 0,
                        errno == ENOENT
                            ? std::string("no such file")
                            : std::string("cannot be opened (") + std::strerror(errno) + ")");
    }
    try {
        struct stat info {};
        if (::fstat(descriptor_, &info) != 0)
            throw DataError(path_, 0,
                            std::string("cannot be examined (") + std::strerror(errno) + ")");
        if (S_ISDIR(info.st_mode)) throw DataError(path_, 0, "is a folder, not a file");
        if (!S_ISREG(info.st_mode)) {
            throw DataError(path_, 0,
                            "is a pipe, socket or device; only regular files can be imported");
        }
        total_bytes_ = static_cast<std::uint64_t>(info.st_size);
        packed_.resize(kPackedBytes);
        refill(0);
        gzip_ = stream_.avail_in >= 2 && stream_.next_in[0] == 0x1F && stream_.next_in[1] == 0x8B;
        if (!gzip_ && path_.ends_with(".gz"))
            throw DataError(path_, 0, "is named .gz but is not a gzip file");
        if (gzip_ && inflateInit2(&stream_, kGzipWindow) != Z_OK)
            throw BackendError(path_ + ": zlib cannot start unpacking (out of memory?)");
        inflating_ = gzip_;
    } catch (...) {
        ::close(descriptor_);
        throw;
    }
}

ByteSource::~ByteSource() {
    if (gzip_) inflateEnd(&stream_);
    ::close(descriptor_);
}

std::size_t ByteSource::read_file(char* out, std::size_t size, std::uint64_t line) {
    for (;;) {
        ssize_t const got = ::read(descriptor_, out, size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            throw DataError(path_, line,
                            std::string("cannot be read (") + std::strerror(errno) + ")");
        bytes_read_ += static_cast<std::uint64_t>(got);
        return static_cast<std::size_t>(got);
    }
}

/// Reads the next stored bytes behind those not yet used.
void ByteSource::refill(std::uint64_t line) {
    std::size_t const left = stream_.avail_in;
    if (left > 0) std::memmove(packed_.data(), stream_.next_in, left);
    std::size_t const got = read_file(packed_.data() + left, packed_.size() - left, line);
    stream_.next_in = reinterpret_cast<Bytef*>(packed_.data());
    stream_.avail_in = static_cast<uInt>(left + got);
}

/// Behind a member: begins the next one; false at the end of the file.
bool ByteSource::next_member(std::uint64_t line) {
    while (stream_.avail_in < 2) {
        std::size_t const before = stream_.avail_in;
        refill(line);
        if (stream_.avail_in == before) break;
    }
    if (stream_.avail_in == 0) return false;
    if (stream_.avail_in < 2 || stream_.next_in[0] != 0x1F || stream_.next_in[1] != 0x8B)
        throw DataError(path_, line, "bytes that are not gzip follow the gzip stream");
    inflateReset(&stream_);
    inflating_ = true;
    return true;
}

std::size_t ByteSource::read(char* out, std::size_t size, std::uint64_t line) {
    if (!gzip_) {
        std::size_t const buffered = std::min<std::size_t>(size, stream_.avail_in);
        if (buffered == 0) return read_file(out, size, line);
        std::memcpy(out, stream_.next_in, buffered);
        stream_.next_in += buffered;
        stream_.avail_in -= static_cast<uInt>(buffered);
        return buffered;
    }
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(size, 1U << 30));
    std::size_t const room = stream_.avail_out;
    while (stream_.avail_out == room) {
        if (!inflating_ && !next_member(line)) return 0;
        if (stream_.avail_in == 0) refill(line);
        if (stream_.avail_in == 0)
            throw DataError(path_, line, "the gzip stream ends too early (truncated file)");
        int const code = inflate(&stream_, Z_NO_FLUSH);
        if (code == Z_STREAM_END) {
            inflating_ = false;
        } else if (code != Z_OK && code != Z_BUF_ERROR) {
            throw DataError(path_, line,
                            std::string("damaged gzip stream (") +
                                (stream_.msg != nullptr ? stream_.msg : zError(code)) + ")");
        }
    }
    return room - stream_.avail_out;
}

}  // namespace ckvsim::workload
