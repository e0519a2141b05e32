#include "device/cpu/aligned.hpp"

#include <sys/mman.h>

#include <new>

namespace ckvsim::device::cpu {
namespace {

std::align_val_t alignment(std::size_t bytes) {
    return std::align_val_t{bytes >= 2 * kHugePageBytes ? kHugePageBytes : kCacheLine};
}

}  // namespace

void* allocate_aligned(std::size_t bytes) {
    void* memory = ::operator new(bytes, alignment(bytes));
#ifdef MADV_HUGEPAGE
    // A wish: the system may have huge pages switched off.
    if (bytes >= 2 * kHugePageBytes)
        (void)madvise(memory, bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void deallocate_aligned(void* memory, std::size_t bytes) {
    ::operator delete(memory, alignment(bytes));
}

}  // namespace ckvsim::device::cpu
