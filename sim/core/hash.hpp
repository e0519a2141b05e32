// Content hashes for the report: XXH3 (xxHash, BSD) over bytes, and an order-free combination for
// shards.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace ckvsim {

/// XXH3-64 of raw bytes.
std::uint64_t hash_bytes(void const* data, std::size_t bytes, std::uint64_t seed = 0);

template <class T>
std::uint64_t hash_span(std::span<T const> values, std::uint64_t seed = 0) {
    return hash_bytes(values.data(), values.size_bytes(), seed);
}

/// Hash that does not depend on the order of its contributions: sum modulo 2^64 of mixed (id,
/// value) pairs. Ranks add their own shards and sum over ranks.
class UnorderedHash {
  public:
    void add(std::uint64_t id, std::uint64_t value);
    void merge(UnorderedHash const& other) { sum_ += other.sum_; }
    void merge_raw(std::uint64_t sum) { sum_ += sum; }
    [[nodiscard]] std::uint64_t value() const { return sum_; }

  private:
    std::uint64_t sum_ = 0;
};

/// 16 lower-case hexadecimal digits.
std::string to_hex(std::uint64_t value);

}  // namespace ckvsim
