// What bench_training trains on: Zipf samples made in memory, or a file of `ckvsim prepare`.
#pragma once

#include <cstdint>
#include <string>

#include "train/samples.hpp"

namespace ckvsim::bench {

/// Samples whose histories and candidates are drawn independently by popularity: rank r with
/// probability ~ r^-exponent. Every sample has a history of its own, so that samples share items by
/// popularity alone; those of one user in a log share more.
struct ZipfSamples {
    std::uint32_t items = 100000;
    double exponent = 1.0;
    std::uint32_t tokens = 100;  ///< of every history
    std::uint32_t features = 4;  ///< the item itself and coarser groups of items
    train::Model model = train::Model::sim;
};

/// Shapes are the spec's defaults (sim/docs/spec.md). `count` training samples.
train::Samples make_samples(ZipfSamples const& parameters, std::uint32_t count);

}  // namespace ckvsim::bench
