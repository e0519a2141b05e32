#include "report/sealed_file.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::report {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::string_view kHdf5Signature("\x89HDF\r\n\x1a\n", 8);

std::string reason() { return std::string(" (") + std::strerror(errno) + ")"; }

/// A descriptor that closes itself.
class Descriptor {
  public:
    Descriptor(std::string const& path, int flags)
        : id_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
    ~Descriptor() {
        if (id_ >= 0) ::close(id_);
    }
    Descriptor(Descriptor const&) = delete;
    Descriptor& operator=(Descriptor const&) = delete;
    [[nodiscard]] int id() const { return id_; }
    [[nodiscard]] bool ok() const { return id_ >= 0; }

  private:
    int id_;
};

/// Reads up to `bytes` at `offset`; fewer only at the end of the file. -1 on an error.
ssize_t read_at(int descriptor, char* data, std::size_t bytes, std::uint64_t offset) {
    std::size_t done = 0;
    while (done < bytes) {
        ssize_t const got =
            ::pread(descriptor, data + done, bytes - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        done += static_cast<std::size_t>(got);
    }
    return static_cast<ssize_t>(done);
}

struct Content {
    std::uint64_t bytes = 0;
    std::uint64_t hash = 0;
    bool ok = true;  ///< false: a read error, in errno
};

/// Everything behind the seal.
Content hash_content(int descriptor) {
    Content content;
    std::vector<char> block(kBlockBytes);
    while (true) {
        ssize_t const got =
            read_at(descriptor, block.data(), block.size(), kSealBytes + content.bytes);
        if (got < 0) content.ok = false;
        if (got <= 0) return content;
        content.hash = hash_bytes(block.data(), static_cast<std::size_t>(got), content.hash);
        content.bytes += static_cast<std::uint64_t>(got);
    }
}

std::string opening(std::string const& kind) { return "ckvsim " + kind + ", "; }

std::string seal_text(std::string const& kind, Content const& content) {
    std::string text = opening(kind) +
                       "HDF5 after these 512 bytes; layout: sim/docs/schema.md\nbytes " +
                       std::to_string(content.bytes) + "\nxxh3 " + to_hex(content.hash) + "\n";
    text.resize(kSealBytes, '\0');
    return text;
}

/// Says what a file is whose first bytes are not a seal of the wanted kind.
[[noreturn]] void refuse(std::string const& path, std::string const& kind, std::string_view start) {
    std::string const source = kind == "report" ? "`ckvsim run`" : "`ckvsim import`";
    std::string const advice = ". pass a file written by " + source;
    for (char const* other : {"report", "dataset"}) {
        if (kind != other && start.starts_with(opening(other)))
            throw DataError(path, 0,
                            std::string("is a ckvsim ") + other + ", not a " + kind + advice);
    }
    if (start.starts_with(kHdf5Signature))
        throw DataError(path, 0, "is an HDF5 file but not a ckvsim " + kind + advice);
    throw DataError(path, 0, "is not a ckvsim " + kind + ", or its beginning is damaged" + advice);
}

}  // namespace

std::string partial_name(std::string const& path) { return path + ".partial"; }

void prepare_partial(std::string const& path) {
    auto const folder = fs::path(path).parent_path();
    std::error_code error;
    if (!folder.empty()) fs::create_directories(folder, error);
    if (error) throw BackendError(path + ": cannot create folder (" + error.message() + ")");
    if (fs::is_directory(path, error))
        throw BackendError(path + ": is a folder. give the file another name");
    auto const partial = partial_name(path);
    fs::remove(partial, error);
    if (error) throw BackendError(partial + ": cannot replace (" + error.message() + ")");
    Descriptor const file(partial, O_WRONLY | O_CREAT | O_EXCL);
    if (!file.ok()) throw BackendError(partial + ": cannot create" + reason());
}

void write_partial(std::string const& path, std::span<char const> image) {
    auto const partial = partial_name(path);
    Descriptor const file(partial, O_WRONLY | O_TRUNC);
    if (!file.ok()) throw BackendError(partial + ": cannot open" + reason());
    std::size_t done = 0;
    while (done < image.size()) {
        ssize_t const wrote = ::write(file.id(), image.data() + done, image.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) throw BackendError(partial + ": cannot write" + reason());
        done += static_cast<std::size_t>(wrote);
    }
}

void reserve_room(std::string const& partial, std::uint64_t bytes) {
    Descriptor const file(partial, O_RDWR);
    struct stat info {};
    if (!file.ok() || ::fstat(file.id(), &info) != 0)
        throw BackendError(partial + ": cannot open" + reason());
    if (::fallocate(file.id(), FALLOC_FL_KEEP_SIZE, info.st_size, static_cast<off_t>(bytes)) == 0)
        return;
    if (errno != EOPNOTSUPP) {
        throw BackendError(partial + ": cannot reserve " + std::to_string(bytes) + " bytes" +
                           reason());
    }
    struct statvfs system {};
    if (::fstatvfs(file.id(), &system) != 0)
        throw BackendError(partial + ": cannot ask for free space" + reason());
    std::uint64_t const free = std::uint64_t{system.f_bavail} * system.f_frsize;
    if (free >= bytes) return;
    throw BackendError(partial + ": needs " + std::to_string(bytes) + " bytes but only " +
                       std::to_string(free) + " are free there. free some or write elsewhere");
}

void require_permitted_size(std::string const& partial, std::uint64_t bytes) {
    struct stat info {};
    if (::stat(partial.c_str(), &info) != 0)
        throw BackendError(partial + ": this rank cannot see the file" + reason() +
                           ". write to a folder that all ranks share");
    rlimit limit{};
    auto const size = static_cast<std::uint64_t>(info.st_size) + bytes;
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur >= size) {
        return;
    }
    throw BackendError(partial + ": may need " + std::to_string(size) +
                       " bytes but this process may write files of " +
                       std::to_string(limit.rlim_cur) + " bytes. raise `ulimit -f`");
}

void seal_file(std::string const& partial, std::string const& kind) {
    Descriptor const file(partial, O_RDWR);
    if (!file.ok()) throw BackendError(partial + ": cannot open to seal" + reason());
    Content const content = hash_content(file.id());
    if (!content.ok) throw BackendError(partial + ": cannot read to seal" + reason());
    auto const text = seal_text(kind, content);
    for (std::size_t done = 0; done < text.size();) {
        ssize_t const wrote =
            ::pwrite(file.id(), text.data() + done, text.size() - done, static_cast<off_t>(done));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) throw BackendError(partial + ": cannot seal" + reason());
        done += static_cast<std::size_t>(wrote);
    }
    // Cutting a file to the length it has frees the blocks reserved behind its end.
    if (::ftruncate(file.id(), static_cast<off_t>(kSealBytes + content.bytes)) != 0)
        throw BackendError(partial + ": cannot trim" + reason());
    if (::fsync(file.id()) != 0) throw BackendError(partial + ": cannot flush" + reason());
}

void check_seal(std::string const& path, std::string const& kind) {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    Descriptor const file(path, O_RDONLY | O_NONBLOCK);
    if (!file.ok()) {
        if (errno == ENOENT) throw DataError(path, 0, "does not exist");
        throw DataError(path, 0, "cannot open" + reason());
    }
    struct stat info {};
    if (::fstat(file.id(), &info) != 0 || !S_ISREG(info.st_mode))
        throw DataError(path, 0, "is not a regular file");
    std::string start(kSealBytes, '\0');
    ssize_t const got = read_at(file.id(), start.data(), start.size(), 0);
    if (got < 0) throw DataError(path, 0, "cannot read" + reason());
    if (!start.starts_with(opening(kind))) refuse(path, kind, start);
    Content const content = hash_content(file.id());
    if (!content.ok) throw DataError(path, 0, "cannot read" + reason());
    if (got == static_cast<ssize_t>(kSealBytes) && start == seal_text(kind, content)) return;
    unsigned long long sealed_bytes = 0;
    auto const bytes_line = start.find("\nbytes ");
    if (bytes_line != std::string::npos &&
        std::sscanf(start.c_str() + bytes_line, "\nbytes %llu", &sealed_bytes) == 1 &&
        sealed_bytes > content.bytes) {
        throw DataError(path, 0,
                        "is truncated: " + std::to_string(content.bytes) + " of " +
                            std::to_string(sealed_bytes) + " bytes. make or copy it again");
    }
    throw DataError(path, 0,
                    "was damaged or changed after it was written (its hash does not match). make "
                    "or copy it again");
}

void publish(std::string const& path) {
    auto const partial = partial_name(path);
    if (::rename(partial.c_str(), path.c_str()) != 0)
        throw BackendError(partial + ": cannot rename to " + path + reason());
    auto folder = fs::path(path).parent_path();
    if (folder.empty()) folder = ".";
    Descriptor const directory(folder.string(), O_RDONLY | O_DIRECTORY);
    // Some network file systems cannot flush a folder; the file itself is already safe.
    if (directory.ok()) ::fsync(directory.id());
}

void discard_partial(std::string const& path) noexcept { ::unlink(partial_name(path).c_str()); }

void discard_shared(std::string const& partial) noexcept {
    try {
        ::unlink(partial.c_str());
        fs::path const path(partial);
        auto const folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
        std::string const start = path.filename().string() + "-";
        for (auto const& entry : fs::directory_iterator(folder)) {
            auto const name = entry.path().filename().string();
            if (name.starts_with(start) && name.ends_with(".lock")) ::unlink(entry.path().c_str());
        }
    } catch (std::exception const&) {
        // The message of the failure matters more than what could not be removed.
    }
}

}  // namespace ckvsim::report
