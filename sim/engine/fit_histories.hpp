// Histories from which strategies learn what K and V of tokens look like.
#pragma once

#include <cstdint>
#include <vector>

#include "workload/population.hpp"

namespace ckvsim::engine {

/// Histories that fit_histories() takes, at most.
inline constexpr std::size_t kFitHistories = 512;

/// What the last training impression of each of so many users sees, its newest `max_tokens` items,
/// oldest first; users without such an impression, or without history before it, are passed over.
/// Where no user has one (a population that nobody trains on), stored histories instead; none where
/// every history is empty. Users come in steps through the population from a start of the seed's: a
/// pure function of (population, max_tokens, seed, most), the same on every rank. Local.
std::vector<std::vector<ItemId>> fit_histories(workload::Population const& population,
                                               std::uint32_t max_tokens, std::uint64_t seed,
                                               std::size_t most = kFitHistories);

}  // namespace ckvsim::engine
