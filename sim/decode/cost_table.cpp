#include "decode/cost_table.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::decode {

namespace {

/// Positions up to this x are tabulated: histories and candidate counts of common workloads.
constexpr std::uint32_t kTabulated = 4096;

}  // namespace

GridAxis::GridAxis(std::span<std::uint32_t const> points) : points_(points.begin(), points.end()) {
    validate(!points_.empty(), "decode::GridAxis: a cost grid needs at least one point");
    validate(
        std::adjacent_find(points_.begin(), points_.end(), std::greater_equal<>()) == points_.end(),
        "decode::GridAxis: the points of a cost grid must ascend");
    std::uint32_t const tabulated = std::min(points_.back() + 1, kTabulated);
    table_.reserve(tabulated);
    for (std::uint32_t x = 0; x < tabulated; ++x) table_.push_back(locate(x));
}

AxisPosition GridAxis::locate(std::uint32_t x) const {
    if (points_.size() == 1 || x <= points_.front()) return {};
    auto const above = std::upper_bound(points_.begin(), points_.end(), x) - points_.begin();
    auto const cell = std::min(static_cast<std::size_t>(above), points_.size() - 1) - 1;
    double const low = points_[cell];
    return {static_cast<std::uint32_t>(cell), (x - low) / (points_[cell + 1] - low)};
}

CostTable::CostTable(std::span<std::uint32_t const> tokens,
                     std::span<std::uint32_t const> candidates, std::span<double const> mean_ns)
    : tokens_(tokens), candidates_(candidates), columns_(candidates.size() + 1) {
    validate(mean_ns.size() == tokens.size() * candidates.size(),
             "decode::CostTable: needs one cost per (tokens, candidates)");
    validate(std::all_of(mean_ns.begin(), mean_ns.end(),
                         [](double ns) { return std::isfinite(ns) && ns >= 0.0; }),
             "decode::CostTable: costs must be finite and not negative");
    for (std::size_t row = 0; row <= tokens.size(); ++row) {
        std::size_t const from = std::min(row, tokens.size() - 1) * candidates.size();
        for (std::size_t column = 0; column < columns_; ++column)
            cells_.push_back(mean_ns[from + std::min(column, candidates.size() - 1)]);
    }
}

std::vector<double> left_out_errors(std::span<std::uint32_t const> tokens,
                                    std::span<std::uint32_t const> candidates,
                                    std::span<double const> mean_ns) {
    std::vector<double> errors;
    if (mean_ns.empty()) return errors;
    double const least = 0.1 * *std::max_element(mean_ns.begin(), mean_ns.end());
    auto const leave_out = [&](std::span<std::uint32_t const> axis, std::size_t i, std::size_t at,
                               std::size_t step) {
        if (i == 0 || i + 1 >= axis.size() || !(mean_ns[at] > 0.0) || mean_ns[at] < least) return;
        double const low = axis[i - 1];
        double const share = (axis[i] - low) / (axis[i + 1] - low);
        double const between =
            mean_ns[at - step] + share * (mean_ns[at + step] - mean_ns[at - step]);
        errors.push_back(std::abs(between / mean_ns[at] - 1.0));
    };
    for (std::size_t t = 0; t < tokens.size(); ++t) {
        for (std::size_t c = 0; c < candidates.size(); ++c) {
            std::size_t const at = t * candidates.size() + c;
            leave_out(tokens, t, at, candidates.size());
            leave_out(candidates, c, at, 1);
        }
    }
    std::sort(errors.begin(), errors.end());
    return errors;
}

NoiseTable::NoiseTable(std::span<double const> quantiles)
    : quantiles_(quantiles.begin(), quantiles.end()) {
    validate(!quantiles_.empty() && std::is_sorted(quantiles_.begin(), quantiles_.end()) &&
                 std::all_of(quantiles_.begin(), quantiles_.end(),
                             [](double q) { return std::isfinite(q) && q >= 0.0; }),
             "decode::NoiseTable: quantiles must be finite, not negative and ascending");
    quantiles_.push_back(quantiles_.back());
}

}  // namespace ckvsim::decode
