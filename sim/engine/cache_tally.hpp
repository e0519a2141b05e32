// Counts of one simulated cache. Internal to the cache simulation.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "core/rng.hpp"

namespace ckvsim::engine {

/// Whether a key belongs to a sample, and to which of 16 groups: independent of the hash that
/// places keys in an index.
class KeySample {
  public:
    static constexpr std::size_t kGroups = 16;
    explicit KeySample(double share)
        : threshold_(static_cast<std::uint64_t>(std::ldexp(share, 32))), all_(share >= 1.0) {}
    [[nodiscard]] bool all() const { return all_; }
    [[nodiscard]] bool holds(std::uint64_t key) const {
        return all_ || spread(key) >> 32 < threshold_;
    }
    static std::size_t group(std::uint64_t key) {
        return static_cast<std::size_t>(spread(key) % kGroups);
    }

  private:
    static std::uint64_t spread(std::uint64_t key) { return mix64(key ^ 0xA5A5A5A55A5A5A5AULL); }
    std::uint64_t threshold_;
    bool all_;
};

/// Counted misses of one cache: requests, bytes, and when sampling requests by group of keys.
struct MissTally {
    std::uint64_t misses = 0;
    std::uint64_t bytes = 0;
    std::array<std::uint64_t, KeySample::kGroups> by_group{};  ///< filled when sampling

    void add(std::uint64_t key, std::uint64_t missed_bytes, bool sampling) {
        ++misses;
        bytes += missed_bytes;
        if (sampling) ++by_group[KeySample::group(key)];
    }
    /// Standard error of the sum of misses when keys are drawn at random.
    [[nodiscard]] double standard_error() const {
        double const mean = static_cast<double>(misses) / KeySample::kGroups;
        double squares = 0.0;
        for (std::uint64_t const group : by_group) {
            double const off = static_cast<double>(group) - mean;
            squares += off * off;
        }
        return std::sqrt(squares * KeySample::kGroups / (KeySample::kGroups - 1));
    }
};

}  // namespace ckvsim::engine
