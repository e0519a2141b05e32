// Which micro-batches of the textbook fit a memory: decided by measured peaks (bench_training).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace ckvsim::test {

/// Stands for the largest micro-batch that fits.
inline constexpr std::uint32_t kLargest = 0;

/// A micro-batch of the textbook, in samples, and the peak of a process that trains on it.
struct MicroBatchPeak {
    std::uint32_t micro_batch = 0;
    double peak_mib = 0;
    bool fits = false;
};

/// Asks `peak_of` for every micro-batch of `asked`, each size once and none above `batch`. For
/// kLargest it is asked with kLargest, whose answer says where to begin, and then with half the
/// size as long as that does not fit, down to one sample.
std::vector<MicroBatchPeak> micro_batch_peaks(
    std::vector<std::uint32_t> const& asked, std::uint32_t batch,
    std::function<MicroBatchPeak(std::uint32_t)> const& peak_of);

}  // namespace ckvsim::test
