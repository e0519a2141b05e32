// Distance between two empirical distributions over the same ordered bins.
#pragma once

#include <cstdint>
#include <span>

namespace ckvsim::metrics {

/// Two-sample Kolmogorov-Smirnov statistic: the largest difference of the cumulative shares. Bins
/// in ascending order of the value; `a` and `b` equally long. NaN when one of them counts nothing.
/// Throws InternalError on different lengths.
double kolmogorov_smirnov(std::span<std::uint64_t const> a, std::span<std::uint64_t const> b);

}  // namespace ckvsim::metrics
