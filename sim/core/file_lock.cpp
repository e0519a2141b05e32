#include "core/file_lock.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace ckvsim {

namespace {
struct flock whole_file(short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
}
}  // namespace

bool lock_file(int descriptor) {
    auto lock = whole_file(F_WRLCK);
    return ::fcntl(descriptor, F_OFD_SETLK, &lock) == 0;
}

// Asks for a reader's lock, so that whoever may only read the file can ask.
bool is_locked(std::string const& path) {
    int const descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return false;
    auto lock = whole_file(F_RDLCK);
    bool const locked = ::fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    ::close(descriptor);
    return locked;
}

}  // namespace ckvsim
