// Exact Zipf ranks without tables: rejection-inversion (Hoermann and Derflinger, ACM TOMACS 1996).
#pragma once

#include <cmath>
#include <cstdint>

namespace ckvsim::workload {

/// Ranks 0 .. n-1 with P(rank) proportional to (rank + 1)^-alpha, alpha > 0. Constant memory; about
/// 1.1 uniform numbers per rank.
class ZipfSampler {
  public:
    ZipfSampler(std::uint64_t ranks, double alpha)
        : ranks_(static_cast<double>(ranks)),
          alpha_(alpha),
          integral_at_one_(integral(1.5) - 1.0),
          integral_at_end_(integral(ranks_ + 0.5)),
          shortcut_(2.0 - inverse(integral(2.5) - std::pow(2.0, -alpha))) {}

    /// `uniform()` returns numbers in [0, 1).
    template <class Uniform>
    [[nodiscard]] std::uint64_t draw(Uniform&& uniform) const {
        for (;;) {
            double const u = integral_at_end_ + uniform() * (integral_at_one_ - integral_at_end_);
            double const x = inverse(u);
            double rank = std::floor(x + 0.5);
            if (rank < 1.0) rank = 1.0;
            if (rank > ranks_) rank = ranks_;
            if (rank - x <= shortcut_ || u >= integral(rank + 0.5) - std::pow(rank, -alpha_))
                return static_cast<std::uint64_t>(rank) - 1;
        }
    }

  private:
    [[nodiscard]] double integral(double x) const {
        double const log_x = std::log(x);
        double const t = (1.0 - alpha_) * log_x;
        return std::abs(t) < 1e-8 ? log_x * (1.0 + t / 2.0) : std::expm1(t) / t * log_x;
    }
    [[nodiscard]] double inverse(double y) const {
        double const t = y * (1.0 - alpha_);
        if (t <= -1.0) return 1.0;
        return std::exp(std::abs(t) < 1e-8 ? y * (1.0 - t / 2.0) : std::log1p(t) / t * y);
    }

    double ranks_;
    double alpha_;
    double integral_at_one_;
    double integral_at_end_;
    double shortcut_;
};

}  // namespace ckvsim::workload
