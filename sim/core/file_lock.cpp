#include "core/file_lock.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace ckvsim {

namespace {
struct flock whole_file() {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}
}  // namespace

bool lock_file(int descriptor) {
    auto lock = whole_file();
    return ::fcntl(descriptor, F_OFD_SETLK, &lock) == 0;
}

bool is_locked(std::string const& path) {
    int const descriptor = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return false;
    auto lock = whole_file();
    bool const locked = ::fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    ::close(descriptor);
    return locked;
}

}  // namespace ckvsim
