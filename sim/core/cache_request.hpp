// One request to a cache, as traces hold it and caches take it.
#pragma once

#include <cstdint>

namespace ckvsim {

struct CacheRequest {
    std::uint64_t key = 0;
    std::uint32_t bytes = 1;  ///< > 0
    std::uint32_t time = 0;   ///< for a time to live; must not fall
};

}  // namespace ckvsim
