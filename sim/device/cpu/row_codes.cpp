#include "device/cpu/row_codes.hpp"

#include "core/error.hpp"
#include "device/cpu/cells.hpp"

namespace ckvsim::device::cpu {
namespace {

using kv::Section;

constexpr std::array<Section, 4> kSides = {Section::short_k, Section::short_v, Section::long_k,
                                           Section::long_v};
constexpr std::array<char const*, 4> kNames = {"short.k", "short.v", "long.k", "long.v"};

/// Sums in double precision, in the order of items.
std::vector<float> mean_row(std::span<float const> rows, std::size_t width) {
    std::vector<double> sums(width, 0.0);
    for (std::size_t i = 0; i < rows.size(); ++i) sums[i % width] += rows[i];
    std::vector<float> mean(width);
    double const count = static_cast<double>(rows.size() / width);
    for (std::size_t i = 0; i < width; ++i) mean[i] = static_cast<float>(sums[i] / count);
    return mean;
}

bool fits(kv::StrategyParams const& strategy) {
    return strategy.kind == kv::StrategyKind::low_rank || strategy.kind == kv::StrategyKind::vq ||
           (strategy.kind == kv::StrategyKind::full && strategy.mean_keys);
}

}  // namespace

RowCodes::RowCodes(std::shared_ptr<model::SimWeights const> const& weights,
                   kv::StrategyParams const& strategy) {
    if (!fits(strategy)) return;
    model::SimShape const& shape = weights->shape;
    std::size_t const d = shape.attention_dim;
    CellMaker const plain(weights, {}, kv::ValueType::fp32, nullptr, nullptr);
    std::size_t const sides = shape.has_long_attention() ? kSides.size() : 2;
    for (std::size_t i = 0; i < sides; ++i) {
        bool const values = kSides[i] == Section::short_v || kSides[i] == Section::long_v;
        if (strategy.mean_keys && values) continue;
        auto const table = make_item_table(plain, kSides[i], weights->items);
        // The first row belongs to no item.
        std::span<float const> const rows(reinterpret_cast<float const*>(table.data()) + d,
                                          weights->items * d);
        if (strategy.mean_keys) {
            sides_[i].mean = mean_row(rows, d);
        } else if (strategy.kind == kv::StrategyKind::low_rank) {
            sides_[i].basis = fit_basis(rows, d, strategy.rank, values ? shape.heads : 0);
        } else {
            sides_[i].codebook =
                fit_codebook(rows, d, strategy.subspaces, kv::codewords(strategy, weights->items),
                             weights->training_seed, static_cast<std::uint32_t>(i));
        }
    }
}

SideCodes const& RowCodes::side(Section values) const {
    for (std::size_t i = 0; i < kSides.size(); ++i) {
        if (kSides[i] == values) return sides_[i];
    }
    throw InternalError("device/cpu: only rows of K and V are fitted");
}

std::size_t RowCodes::bytes(std::string const& what) const {
    for (std::size_t i = 0; i < kSides.size(); ++i) {
        SideCodes const& side = sides_[i];
        if (side.basis && what == std::string(kNames[i]) + ".basis") return side.basis->bytes();
        if (side.codebook && what == std::string(kNames[i]) + ".codebook")
            return side.codebook->bytes();
    }
    return 0;
}

}  // namespace ckvsim::device::cpu
