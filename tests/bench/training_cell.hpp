// One cell of bench_training: the trainer's step and the textbook's on the same batches, in turn.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "textbook_memory.hpp"
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
    double memory_gib = 4.0;  ///< of the textbook's process at its peak
    /// Of the textbook, in samples, compared with each other.
    std::vector<std::uint32_t> micro_batches = {16, 64, test::kLargest};
};

/// Relative difference of gradients and losses above which the arms do not compute the same.
inline constexpr double kTolerance = 1e-4;

/// Trains the textbook alone, without timing it, on micro-batches of `micro_batch` samples (or of
/// the size that `peak_bytes` expects to fit, for kLargest; the batch at most): one micro-batch, and
/// two steps as the cell will time them as long as that fits. Call it in a process of its own and before anything
/// else of it uses memory: the peak is that process's VmHWM, of which nothing is subtracted
/// (program, libtorch, samples, weights and moments are in it, as they are in the trainer's own).
/// Returns {"micro_batch", "peak_mib", "fits"}, or {"skipped"}. Throws DataError for a broken file.
nlohmann::json textbook_peak(Cell const& cell, std::uint32_t micro_batch);

/// Measures in this process, whose peak memory becomes the cell's: call it in one of its own.
/// `peaks` are of the textbook's micro-batches; those that fit are timed, the fastest of them is
/// the row's. Returns the row; with "error" where none fits or the arms compute different things,
/// with "skipped" where the samples are fewer than a batch. Throws DataError for a broken file.
nlohmann::json measure(Cell const& cell, std::vector<test::MicroBatchPeak> const& peaks);

/// Libraries and their speed, for the same file.
nlohmann::json context_of(std::uint32_t threads);

/// Commit and build of the program, processor, cores, memory and date.
nlohmann::json provenance();

/// {"median", "low", "high"}: quartiles with linear interpolation. `values` not empty.
nlohmann::json spread_of(std::vector<double> values);

}  // namespace ckvsim::bench
