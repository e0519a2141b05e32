#include "device/cpu/low_rank.hpp"

// One thread, so that no sum depends on how many there are.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Rows taken into the covariance together: 8 MB of doubles at a width of 256.
constexpr std::size_t kBlockRows = 4096;

/// Of row `r`; without weights one.
double weight_of(std::span<std::uint32_t const> weights, std::size_t r) {
    return weights.empty() ? 1.0 : weights[r];
}

/// Lower triangle of the weighted sum of centred outer products.
Eigen::MatrixXd scatter_of(std::span<float const> rows, Eigen::VectorXd const& mean,
                           std::span<std::uint32_t const> weights) {
    Eigen::Index const width = mean.size();
    auto const wide = static_cast<std::size_t>(width);
    Eigen::MatrixXd scatter = Eigen::MatrixXd::Zero(width, width);
    for (std::size_t first = 0; first < rows.size(); first += kBlockRows * wide) {
        std::size_t const values = std::min(kBlockRows * wide, rows.size() - first);
        Eigen::Map<Eigen::MatrixXf const> const block(rows.data() + first, width,
                                                      static_cast<Eigen::Index>(values / wide));
        Eigen::MatrixXd centred = block.cast<double>().colwise() - mean;
        for (Eigen::Index r = 0; !weights.empty() && r < centred.cols(); ++r)
            centred.col(r) *= std::sqrt(weights[first / wide + static_cast<std::size_t>(r)]);
        scatter.selfadjointView<Eigen::Lower>().rankUpdate(centred);
    }
    return scatter;
}

}  // namespace

std::vector<double> mean_row(std::span<float const> rows, std::size_t width,
                             std::span<std::uint32_t const> weights) {
    std::size_t const count = rows.size() / width;
    validate(weights.empty() || weights.size() == count, "device/cpu: every row needs a weight");
    std::vector<double> mean(width, 0.0);
    double total = 0.0;
    for (std::size_t r = 0; r < count; ++r) {
        double const weight = weight_of(weights, r);
        total += weight;
        for (std::size_t i = 0; i < width; ++i) mean[i] += weight * rows[r * width + i];
    }
    for (double& value : mean) value = total == 0.0 ? 0.0 : value / total;
    return mean;
}

void RowBasis::coefficients(float* rows, std::size_t step, std::size_t count, float* out) const {
    for (std::size_t r = 0; r < count; ++r) {
        for (std::size_t i = 0; i < width; ++i) rows[r * step + i] -= mean[i];
    }
    multiply(rows, step, count, axes, out, axes.stride);
}

void RowBasis::rows(float const* coefficients, std::size_t step, std::size_t count,
                    float* out) const {
    PackedMatrix const& whole = heads.front();
    multiply(coefficients, step, count, whole, out, whole.stride);
    for (std::size_t r = 0; r < count; ++r) {
        for (std::size_t i = 0; i < width; ++i) out[r * whole.stride + i] += mean[i];
    }
}

std::size_t RowBasis::bytes() const {
    std::size_t sum = axes.bytes() + mean.size() * sizeof(float);
    for (PackedMatrix const& head : heads) sum += head.bytes();
    return sum;
}

RowBasis fit_basis(std::span<float const> rows, std::size_t width, std::size_t rank,
                   std::size_t heads, std::span<std::uint32_t const> weights) {
    validate(rank >= 1 && rank <= width, "device/cpu: a basis needs 1 to width axes");
    std::vector<double> const centre = mean_row(rows, width, weights);
    Eigen::Map<Eigen::VectorXd const> const mean(centre.data(), static_cast<Eigen::Index>(width));
    Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> const solver(scatter_of(rows, mean, weights));
    validate(solver.info() == Eigen::Success, "device/cpu: no principal axes found");
    RowBasis basis;
    basis.rank = rank;
    basis.width = width;
    basis.mean.assign(mean.data(), mean.data() + mean.size());
    std::vector<float> axes(rank * width);
    for (std::size_t r = 0; r < rank; ++r) {
        // Eigenvalues ascend.
        auto const column = static_cast<Eigen::Index>(width - 1 - r);
        Eigen::VectorXd const axis = solver.eigenvectors().col(column);
        Eigen::Index largest = 0;
        axis.cwiseAbs().maxCoeff(&largest);
        double const sign = axis[largest] < 0.0 ? -1.0 : 1.0;
        for (std::size_t i = 0; i < width; ++i)
            axes[r * width + i] = static_cast<float>(sign * axis[static_cast<Eigen::Index>(i)]);
    }
    basis.axes = PackedMatrix(axes, rank, width);
    std::size_t const head_dim = heads == 0 ? 0 : width / heads;
    for (std::size_t h = 0; h < heads; ++h) {
        std::vector<float> part(head_dim * rank);
        for (std::size_t i = 0; i < head_dim; ++i) {
            for (std::size_t r = 0; r < rank; ++r)
                part[i * rank + r] = axes[r * width + h * head_dim + i];
        }
        basis.heads.emplace_back(part, head_dim, rank);
    }
    return basis;
}

}  // namespace ckvsim::device::cpu
