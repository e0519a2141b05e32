// One cell of bench_training: the trainer's step and the textbook's on the same batches, in turn.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "training_data.hpp"

namespace ckvsim::bench {

struct Cell {
    std::string samples;  ///< file; empty: Zipf
    ZipfSamples zipf;
    std::uint32_t batch = 2048;
    std::uint32_t m = 2048;
    std::uint32_t d_u = 1;
    std::uint32_t threads = 1;
    std::uint32_t rounds = 7;
    double cell_s = 60.0;    ///< no further round beyond it, once there are three
    double limit_s = 60.0;   ///< of one step of the textbook
    double memory_gib = 4.0;  ///< what a micro-batch of the textbook may hold at once
    std::uint32_t micro_batch = 0;  ///< of the textbook; 0: the largest that fits memory_gib
};

/// Relative difference of gradients and losses above which the arms do not compute the same.
inline constexpr double kTolerance = 1e-4;

/// Measures in this process, whose peak memory becomes the cell's: call it in one of its own.
/// Returns the row; with "error" where a cell cannot be measured or the arms compute different
/// things, with "skipped" where the samples are fewer than a batch. Throws DataError for a broken
/// file.
nlohmann::json measure(Cell const& cell);

/// Libraries and their speed, for the same file.
nlohmann::json context_of(std::uint32_t threads);

/// {"median", "low", "high"}: quartiles with linear interpolation. `values` not empty.
nlohmann::json spread_of(std::vector<double> values);

}  // namespace ckvsim::bench
