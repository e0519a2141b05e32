// The parts of the GPU benchmark. Each returns its rows as JSON with the raw times; shares are of
// limits that the same run has measured.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench_data.hpp"
#include "device/cuda/attention_plan.hpp"
#include "device/cuda/gpu_device.hpp"
#include "device/cuda/gpu_stream.hpp"

namespace ckvsim::gpubench {

using Json = nlohmann::ordered_json;

/// Measured rates, bytes per second.
struct Limits {
    double device_copy = 0;  ///< read plus written
    double link_in = 0;      ///< pinned host memory to the device, the better of engine and kernel
    double link_out = 0;
    /// Reading random rows of a table of a size, by (table bytes, row bytes).
    struct Gather {
        std::size_t table_bytes;
        std::size_t row_bytes;
        double rate;
    };
    std::vector<Gather> gathers;

    /// Of the smallest measured table that is not smaller.
    [[nodiscard]] double gather(std::size_t table_bytes, std::size_t row_bytes) const;
};

/// Everything that the parts share.
struct Bench {
    BenchOptions options;
    device::cuda::GpuInfo gpu;
    Limits limits;
};

/// Device milliseconds of each repetition, after one that does not count. `work` puts repetition r
/// into the stream.
std::vector<double> time_work(device::cuda::Stream const& stream, std::uint32_t repetitions,
                              std::function<void(std::uint32_t)> const& work);
double median(std::vector<double> values);
/// "ms" (raw), "median_ms".
Json times(std::vector<double> const& ms);

Json plan_row(device::cuda::AttentionPlan const& plan);
/// Throws InternalError when the largest error of what was measured is too large.
void expect_right(double error, std::string const& what);

/// Every kernel before any speed; "result" of a row is "right" or says what is wrong.
Json check_correctness(Bench const& bench);
Json measure_limits(Bench& bench);
// The parts throw InternalError when a measured result is wrong.
Json measure_decode(Bench const& bench);
/// Both kernels, with and without splits, where a plan has the choice.
Json measure_plans(Bench const& bench);
Json measure_small_batches(Bench const& bench);
Json measure_fetch(Bench const& bench);
Json measure_residency(Bench const& bench);

}  // namespace ckvsim::gpubench
