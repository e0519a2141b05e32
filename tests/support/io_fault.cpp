// Preloaded into a program under test (LD_PRELOAD): makes one file operation fail. What, from the
// environment:
//   CKVSIM_FAULT_PATH   part of the path of the files that count; unset: nothing happens
//   CKVSIM_FAULT_NTH    which of the calls on them fails, from 1; 0 or unset: none
//   CKVSIM_FAULT_ERROR  errno to fail with; 0: do half of the bytes (reads and writes) instead
//   CKVSIM_FAULT_SIGNAL nothing fails: after the NTH rename on them the process gets this signal
//   CKVSIM_FAULT_RANK   only in this rank of an MPI job
//   CKVSIM_FAULT_LOG    append one line per counted call: its name
// Files are recognised by /proc/self/fd, so that it does not matter who opened them.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<int> calls{0};

char const* setting(char const* name) { return std::getenv(name); }
int number(char const* name) {
    char const* text = setting(name);
    return text == nullptr ? 0 : std::atoi(text);
}

template <class F>
F real(char const* name) {
    return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

bool wanted_rank() {
    char const* wanted = setting("CKVSIM_FAULT_RANK");
    char const* rank = setting("OMPI_COMM_WORLD_RANK");
    return wanted == nullptr || (rank != nullptr && std::strcmp(wanted, rank) == 0);
}

void log_call(char const* call) {
    char const* path = setting("CKVSIM_FAULT_LOG");
    if (path == nullptr) return;
    int const file =
        real<int (*)(char const*, int, ...)>("open")(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (file < 0) return;
    char line[64];
    int const bytes = std::snprintf(line, sizeof line, "%s\n", call);
    [[maybe_unused]] auto const ignored = real<ssize_t (*)(int, void const*, size_t)>("write")(
        file, line, static_cast<size_t>(bytes));
    real<int (*)(int)>("close")(file);
}

/// Counts the call when it is about a wanted file; true when it is the one to fail.
bool hit_path(char const* call, char const* path) {
    char const* part = setting("CKVSIM_FAULT_PATH");
    if (part == nullptr || path == nullptr || std::strstr(path, part) == nullptr || !wanted_rank())
        return false;
    if (number("CKVSIM_FAULT_SIGNAL") != 0 && std::strcmp(call, "rename") != 0) return false;
    int const count = ++calls;
    log_call(call);
    if (count != number("CKVSIM_FAULT_NTH")) return false;
    errno = number("CKVSIM_FAULT_ERROR");
    return true;
}

bool hit(char const* call, int descriptor) {
    if (setting("CKVSIM_FAULT_PATH") == nullptr) return false;
    int const before = errno;
    char link[64];
    char path[4096];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t const bytes = ::readlink(link, path, sizeof path - 1);
    errno = before;
    if (bytes <= 0) return false;
    path[bytes] = '\0';
    return hit_path(call, path);
}

bool halved() { return errno == 0; }
size_t half(size_t bytes) { return bytes > 1 ? bytes / 2 : bytes; }

}  // namespace

// NOLINTBEGIN(bugprone-macro-parentheses): a parameter list cannot stand in parentheses
#define BYTES_CALL(name, data, offset_type)                                             \
    extern "C" ssize_t name(int descriptor, data bytes, size_t count, offset_type at) { \
        auto const next = real<ssize_t (*)(int, data, size_t, offset_type)>(#name);     \
        if (!hit(#name, descriptor)) return next(descriptor, bytes, count, at);         \
        return halved() ? next(descriptor, bytes, half(count), at) : -1;                \
    }
BYTES_CALL(pwrite, void const*, off_t)
BYTES_CALL(pwrite64, void const*, off64_t)
BYTES_CALL(pread, void*, off_t)
BYTES_CALL(pread64, void*, off64_t)

#define STREAM_CALL(name, data)                                             \
    extern "C" ssize_t name(int descriptor, data bytes, size_t count) {     \
        auto const next = real<ssize_t (*)(int, data, size_t)>(#name);      \
        if (!hit(#name, descriptor)) return next(descriptor, bytes, count); \
        return halved() ? next(descriptor, bytes, half(count)) : -1;        \
    }
STREAM_CALL(write, void const*)
STREAM_CALL(read, void*)

// Half of a vector: its first piece alone.
#define VECTOR_CALL(name)                                                     \
    extern "C" ssize_t name(int descriptor, iovec const* pieces, int count) { \
        auto const next = real<ssize_t (*)(int, iovec const*, int)>(#name);   \
        if (!hit(#name, descriptor)) return next(descriptor, pieces, count);  \
        return halved() ? next(descriptor, pieces, 1) : -1;                   \
    }
VECTOR_CALL(writev)
VECTOR_CALL(readv)
#define VECTOR_AT_CALL(name, offset_type)                                                     \
    extern "C" ssize_t name(int descriptor, iovec const* pieces, int count, offset_type at) { \
        auto const next = real<ssize_t (*)(int, iovec const*, int, offset_type)>(#name);      \
        if (!hit(#name, descriptor)) return next(descriptor, pieces, count, at);              \
        return halved() ? next(descriptor, pieces, 1, at) : -1;                               \
    }
VECTOR_AT_CALL(pwritev, off_t)
VECTOR_AT_CALL(pwritev64, off64_t)
VECTOR_AT_CALL(preadv, off_t)
VECTOR_AT_CALL(preadv64, off64_t)

// A call without bytes has no half: it works when halves are wanted.
#define WHOLE_CALL(name)                                                             \
    extern "C" int name(int descriptor) {                                            \
        bool const fails = hit(#name, descriptor) && !halved();                      \
        int const error = errno;                                                     \
        int const status =                                                           \
            real<int (*)(int)>(#name)(descriptor); /* close() closes all the same */ \
        if (!fails) return status;                                                   \
        errno = error;                                                               \
        return -1;                                                                   \
    }
WHOLE_CALL(fsync)
WHOLE_CALL(fdatasync)
WHOLE_CALL(close)

#define SIZE_CALL(name, offset_type)                                      \
    extern "C" int name(int descriptor, offset_type bytes) {              \
        if (hit(#name, descriptor) && !halved()) return -1;               \
        return real<int (*)(int, offset_type)>(#name)(descriptor, bytes); \
    }
SIZE_CALL(ftruncate, off_t)
SIZE_CALL(ftruncate64, off64_t)
#define ROOM_CALL(name, offset_type)                                                          \
    extern "C" int name(int descriptor, int mode, offset_type at, offset_type bytes) {        \
        if (hit(#name, descriptor) && !halved()) return -1;                                   \
        return real<int (*)(int, int, offset_type, offset_type)>(#name)(descriptor, mode, at, \
                                                                        bytes);               \
    }
ROOM_CALL(fallocate, off_t)
ROOM_CALL(fallocate64, off64_t)

#define OPEN_CALL(name)                                                                      \
    extern "C" int name(char const* path, int flags, ...) {                                  \
        va_list rest;                                                                        \
        va_start(rest, flags);                                                               \
        mode_t const mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                        \
        if (hit_path(#name, path) && !halved()) return -1;                                   \
        return real<int (*)(char const*, int, ...)>(#name)(path, flags, mode);               \
    }
OPEN_CALL(open)
OPEN_CALL(open64)
// NOLINTEND(bugprone-macro-parentheses)

extern "C" int rename(char const* from, char const* to) {
    bool const chosen = hit_path("rename", from);
    int const wanted = number("CKVSIM_FAULT_SIGNAL");
    if (chosen && wanted == 0 && !halved()) return -1;
    int const status = real<int (*)(char const*, char const*)>("rename")(from, to);
    if (chosen && wanted != 0) std::raise(wanted);
    return status;
}
