#include "core/atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.hpp"

namespace ckvsim {

namespace {

/// Owns a descriptor and the temporary name until commit.
class PartialFile {
  public:
    explicit PartialFile(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {
        auto const folder = std::filesystem::path(path_).parent_path();
        std::error_code error;
        if (!folder.empty()) std::filesystem::create_directories(folder, error);
        if (error) throw BackendError(path_ + ": cannot create folder (" + error.message() + ")");
        descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (descriptor_ < 0) fail("cannot create");
    }
    ~PartialFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
        if (!committed_) ::unlink(partial_.c_str());
    }
    PartialFile(PartialFile const&) = delete;
    PartialFile& operator=(PartialFile const&) = delete;

    void write(std::string_view content) {
        while (!content.empty()) {
            ssize_t const written = ::write(descriptor_, content.data(), content.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) fail("cannot write");
            content.remove_prefix(static_cast<std::size_t>(written));
        }
    }
    void commit() {
        if (::fsync(descriptor_) != 0) fail("cannot flush");
        int const closed = ::close(descriptor_);
        descriptor_ = -1;
        if (closed != 0) fail("cannot close");
        if (::rename(partial_.c_str(), path_.c_str()) != 0) fail("cannot rename to its final name");
        committed_ = true;
    }

  private:
    [[noreturn]] void fail(char const* what) {
        throw BackendError(partial_ + ": " + what + " (" + std::strerror(errno) +
                           "); nothing was left under " + path_);
    }
    std::string path_;
    std::string partial_;
    int descriptor_ = -1;
    bool committed_ = false;
};

}  // namespace

void write_file_atomically(std::string const& path, std::string_view content) {
    PartialFile file(path);
    file.write(content);
    file.commit();
}

std::string read_file(std::string const& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        throw DataError(path, 0, std::string("cannot open (") + std::strerror(errno) + ")");
    }
    if (!S_ISREG(info.st_mode)) throw DataError(path, 0, "is not a regular file");
    int const descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        throw DataError(path, 0, std::string("cannot open (") + std::strerror(errno) + ")");
    std::string content(static_cast<std::size_t>(info.st_size), '\0');
    std::size_t done = 0;
    while (done < content.size()) {
        ssize_t const got = ::read(descriptor, content.data() + done, content.size() - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            std::string const why =
                got < 0 ? std::string("cannot be read (") + std::strerror(errno) + ")"
                        : "ended while it was read: it was changed meanwhile";
            ::close(descriptor);
            throw DataError(path, 0, why);
        }
        done += static_cast<std::size_t>(got);
    }
    ::close(descriptor);
    return content;
}

}  // namespace ckvsim
