#include "core/large_array.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.hpp"

namespace ckvsim {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

[[noreturn]] void refuse(std::size_t bytes) {
    throw BackendError("memory: " + std::to_string(bytes >> 20) + " MiB for one array refused (" +
                       std::strerror(errno) +
                       "); make the run smaller or use a machine with more memory");
}

/// A wish: the kernel may have huge pages switched off.
void ask_for_huge_pages(void* pages, std::size_t bytes) {
    if (bytes >= 2 * kHugePage) (void)madvise(pages, bytes, MADV_HUGEPAGE);
}

}  // namespace

void* map_pages(std::size_t bytes) {
    void* const pages =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) refuse(bytes);
    ask_for_huge_pages(pages, bytes);
    return pages;
}

void* remap_pages(void* pages, std::size_t old_bytes, std::size_t new_bytes) {
    void* const moved = mremap(pages, old_bytes, new_bytes, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) refuse(new_bytes);
    ask_for_huge_pages(moved, new_bytes);
    return moved;
}

void unmap_pages(void* pages, std::size_t bytes) noexcept {
    if (pages != nullptr) munmap(pages, bytes);
}

}  // namespace ckvsim
