// Counter-based randomness: Philox4x32-10 of Random123 (Salmon et al., SC 2011), keyed by
// (seed, purpose, id, sub-id). Any stream can be made anywhere, at any time, in any order.
#pragma once

#include <Random123/philox.h>

#include <cmath>
#include <cstdint>
#include <numbers>

namespace ckvsim {

/// What a stream of random numbers is for. Values are part of the reproducibility contract: append
/// only.
enum class Purpose : std::uint32_t {
    history_length = 1,
    history_items = 2,
    user_interests = 3,
    user_taste = 4,
    item_style = 5,
    impressions = 6,
    labels = 7,
    arrivals = 8,
    arrival_user = 9,
    shard_of_user = 10,
    node_of_shard = 11,
    bootstrap_users = 12,
    bootstrap_seeds = 13,
    service_noise = 14,
    sample_selection = 15,
    control_user = 16,
    control_index = 17,
    candidates = 18,
    training = 19,
    calibration = 20,
    test = 21,
    expansion = 22,
    fleet_events = 23
};

/// Finaliser of splitmix64 (Steele et al., OOPSLA 2014): a bijective 64-bit mixer.
constexpr std::uint64_t mix64(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

/// Sequential view of one counter-based stream. Cheap to construct (no state but the counter); not
/// shared between threads.
class CounterRng {
  public:
    CounterRng(std::uint64_t seed, Purpose purpose, std::uint64_t id, std::uint32_t sub_id = 0) {
        std::uint64_t const key = mix64(seed ^ (static_cast<std::uint64_t>(purpose) << 48));
        key_ = {{static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)}};
        counter_ = {
            {0, sub_id, static_cast<std::uint32_t>(id), static_cast<std::uint32_t>(id >> 32)}};
    }

    std::uint32_t next_u32() {
        if (used_ == 4) {
            block_ = r123::Philox4x32()(counter_, key_);
            ++counter_[0];
            used_ = 0;
        }
        return block_[used_++];
    }
    std::uint64_t next_u64() {
        std::uint64_t const high = next_u32();
        return (high << 32) | next_u32();
    }
    /// Uniform in [0, 1), 53 bits.
    double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }
    /// Uniform in [0, 1), 24 bits, one 32-bit word: the cheap one for inner loops.
    float uniform_float() { return static_cast<float>(next_u32() >> 8) * 0x1.0p-24F; }
    /// Uniform integer in [0, bound); bound >= 1. Multiply-shift, bias below 2^-32 * bound.
    std::uint32_t below(std::uint32_t bound) {
        return static_cast<std::uint32_t>((static_cast<std::uint64_t>(next_u32()) * bound) >> 32);
    }
    /// Standard normal by Box-Muller (one value per call; the pair's second is dropped for order
    /// independence).
    double normal() {
        double const u = 1.0 - uniform();
        double const v = uniform();
        return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
    }
    /// Exponential with the given mean.
    double exponential(double mean) { return -mean * std::log(1.0 - uniform()); }

    /// Whether bytes that were loaded as a stream can be one.
    [[nodiscard]] bool is_valid() const { return used_ <= 4; }

  private:
    r123::Philox4x32::key_type key_{};
    r123::Philox4x32::ctr_type counter_{};
    r123::Philox4x32::ctr_type block_{};
    std::uint32_t used_ = 4;
};

}  // namespace ckvsim
