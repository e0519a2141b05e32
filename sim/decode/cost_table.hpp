// Looks up measured stage costs: nanoseconds over a grid of (tokens, candidates).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ckvsim::decode {

/// Position of x on a grid axis: between points `cell` and `cell + 1`, at `fraction` of the way.
struct AxisPosition {
    std::uint32_t cell = 0;
    double fraction = 0.0;
};

/// One axis of a grid. Positions of small x are tabulated: a look-up is one load.
class GridAxis {
  public:
    /// `points` ascending, at least one.
    explicit GridAxis(std::span<std::uint32_t const> points);
    [[nodiscard]] AxisPosition at(std::uint32_t x) const {
        return x < table_.size() ? table_[x] : locate(x);
    }
    [[nodiscard]] std::size_t size() const { return points_.size(); }

  private:
    [[nodiscard]] AxisPosition locate(std::uint32_t x) const;
    std::vector<std::uint32_t> points_;
    std::vector<AxisPosition> table_;
};

/// Bilinear in tokens and candidates: exact for costs of the form a + b n + c C + d n C between
/// grid points, which is what the kernels' loops have. Below the grid the first point counts; above
/// it the last cell's slope goes on (never below zero). A single grid point makes the cost constant
/// along its axis. Immutable, thread-safe.
class CostTable {
  public:
    /// mean_ns is row-major [tokens][candidates]. Throws InternalError on empty or unsorted axes, a
    /// size that does not match, or a negative or non-finite cost.
    CostTable(std::span<std::uint32_t const> tokens, std::span<std::uint32_t const> candidates,
              std::span<double const> mean_ns);
    [[nodiscard]] double ns(std::uint32_t tokens, std::uint32_t candidates) const {
        AxisPosition const t = tokens_.at(tokens);
        AxisPosition const c = candidates_.at(candidates);
        double const* low = &cells_[t.cell * columns_ + c.cell];
        double const* high = low + columns_;
        double const a = low[0] + c.fraction * (low[1] - low[0]);
        double const b = high[0] + c.fraction * (high[1] - high[0]);
        double const value = a + t.fraction * (b - a);
        return value > 0.0 ? value : 0.0;
    }

  private:
    GridAxis tokens_;
    GridAxis candidates_;
    std::size_t columns_;        ///< candidates + 1: the last row and column are repeated
    std::vector<double> cells_;  ///< so that a cell always has four corners
};

/// How wrong a grid is between its points, by leaving points out: relative errors, ascending, of
/// the inner points when each is interpolated from its two neighbours along an axis. The distance
/// to the neighbours is then twice that of any look-up: an upper estimate for smooth costs. Points
/// below a tenth of the largest cost are left aside. Empty without inner points.
std::vector<double> left_out_errors(std::span<std::uint32_t const> tokens,
                                    std::span<std::uint32_t const> candidates,
                                    std::span<double const> mean_ns);

/// Quantile function of a positive variable, given by equally spaced quantiles (first 0, last 1).
class NoiseTable {
  public:
    /// At least one quantile, ascending, finite; throws InternalError otherwise.
    explicit NoiseTable(std::span<double const> quantiles);
    /// Value at `u` in [0, 1), interpolated.
    [[nodiscard]] double at(double u) const {
        double const position = u * static_cast<double>(quantiles_.size() - 2);
        auto const cell = static_cast<std::size_t>(position);
        double const low = quantiles_[cell];
        return low + (position - static_cast<double>(cell)) * (quantiles_[cell + 1] - low);
    }

  private:
    std::vector<double> quantiles_;  ///< the last one repeated
};

}  // namespace ckvsim::decode
