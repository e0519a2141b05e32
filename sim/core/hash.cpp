#include "core/hash.hpp"

#include <xxhash.h>

#include "core/rng.hpp"

namespace ckvsim {

std::uint64_t hash_bytes(void const* data, std::size_t bytes, std::uint64_t seed) {
    return XXH3_64bits_withSeed(data, bytes, seed);
}

void UnorderedHash::add(std::uint64_t id, std::uint64_t value) { sum_ += mix64(mix64(id) ^ value); }

std::string to_hex(std::uint64_t value) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text(16, '0');
    for (int i = 15; i >= 0; --i, value >>= 4)
        text[static_cast<std::size_t>(i)] = kDigits[value & 15];
    return text;
}

}  // namespace ckvsim
