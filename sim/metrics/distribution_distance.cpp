#include "metrics/distribution_distance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.hpp"

namespace ckvsim::metrics {

double kolmogorov_smirnov(std::span<std::uint64_t const> a, std::span<std::uint64_t const> b) {
    validate(a.size() == b.size(), "kolmogorov_smirnov: the distributions have different bins");
    auto const sum_a = std::accumulate(a.begin(), a.end(), std::uint64_t{0});
    auto const sum_b = std::accumulate(b.begin(), b.end(), std::uint64_t{0});
    if (sum_a == 0 || sum_b == 0) return std::numeric_limits<double>::quiet_NaN();
    double largest = 0.0;
    std::uint64_t below_a = 0;
    std::uint64_t below_b = 0;
    for (std::size_t bin = 0; bin < a.size(); ++bin) {
        below_a += a[bin];
        below_b += b[bin];
        double const share_a = static_cast<double>(below_a) / static_cast<double>(sum_a);
        double const share_b = static_cast<double>(below_b) / static_cast<double>(sum_b);
        largest = std::max(largest, std::fabs(share_a - share_b));
    }
    return largest;
}

}  // namespace ckvsim::metrics
