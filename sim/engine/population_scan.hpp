// One pass over all histories of a rank: the hash of every token, the length and popularity
// distributions, the training impressions per item (for the popularity control).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/hash.hpp"
#include "workload/population.hpp"

namespace ckvsim::engine {

/// Called now and then with (users done, users in all), from one thread.
using ScanProgress = std::function<void(std::uint64_t, std::uint64_t)>;

/// Additive over ranks (see parts()).
struct PopulationScan {
    static constexpr std::size_t kLengthBuckets =
        24;                    ///< [0], [1], [2,3], [4,7], ... powers of two
    UnorderedHash token_hash;  ///< over (user, XXH3 of the stored history)
    std::uint64_t users = 0;
    std::uint64_t tokens = 0;                    ///< stored history events before the model's cap
    std::uint64_t capped_tokens = 0;             ///< after the cap of max_tokens
    std::vector<std::uint64_t> users_by_length;  ///< [kLengthBuckets]
    std::vector<std::uint64_t> item_events;      ///< [V+1]
    std::vector<std::uint64_t> train_views;      ///< [V+1], empty unless asked for
    std::vector<std::uint64_t> train_clicks;

    static std::size_t length_bucket(std::uint32_t length);
    static std::uint32_t bucket_low(std::size_t bucket);
    static std::uint32_t bucket_high(std::size_t bucket);  ///< inclusive
    /// Everything as flat counters for a sum over ranks, and back.
    [[nodiscard]] std::vector<std::uint64_t> parts() const;
    void assign_parts(std::vector<std::uint64_t> const& parts);
};

/// Local, OpenMP-parallel. `with_train_counts` loads full records (slower for synthetic data).
PopulationScan scan_population(workload::Population const& population,
                               std::vector<UserId> const& users, std::uint32_t max_tokens,
                               bool with_train_counts, ScanProgress const& progress);

}  // namespace ckvsim::engine
