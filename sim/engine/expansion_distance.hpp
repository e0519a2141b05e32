// How far a dataset-derived population is from the recorded one, next to the distance of two parts
// of the recorded users (the noise floor) and to that of a bad expansion (shuffled items).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "workload/expanded.hpp"

namespace ckvsim::engine {

/// One distribution compared three ways; every value is a Kolmogorov-Smirnov statistic in [0, 1].
struct ExpansionDistance {
    std::string distribution;
    double expanded = 0;     ///< expanded users against a third of the recorded ones
    double noise_floor = 0;  ///< another third of the recorded users against the same third
    double shuffled = 0;     ///< the same expansion with shuffled items against that third
};

/// Local, OpenMP-parallel. Compares about `sample` expanded users (all when fewer) by
///   length            stored events per user,
///   popularity        share of events by item, items by recorded popularity,
///   repeat            share of a user's events that repeat one of his earlier items,
///   co_occurrence     over pairs of neighbouring events, how often other recorded users have the
///                     same two items within `neighbourhood` events of each other.
/// Items of a grown catalogue count as the source item they vary. Recorded users are split in three
/// by hash: pairs are counted in the first third, the second is the target, the third the noise
/// floor; expanded users made from the first third are left out, so that nobody is compared with
/// himself. `shuffled` is the control made with
/// ExpansionParams::shuffle_items.
std::vector<ExpansionDistance> expansion_distances(workload::ExpandedPopulation const& expanded,
                                                   workload::ExpandedPopulation const& shuffled,
                                                   std::uint64_t sample, std::uint64_t seed,
                                                   std::uint32_t neighbourhood);

}  // namespace ckvsim::engine
