#include "device/cpu/row_codes.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "device/cpu/cells.hpp"

namespace ckvsim::device::cpu {
namespace {

using kv::Section;

constexpr std::array<Section, 4> kSides = {Section::short_k, Section::short_v, Section::long_k,
                                           Section::long_v};
constexpr std::array<char const*, 4> kNames = {"short.k", "short.v", "long.k", "long.v"};

bool fits(kv::StrategyParams const& strategy) {
    return strategy.kind == kv::StrategyKind::low_rank || strategy.kind == kv::StrategyKind::vq ||
           (strategy.kind == kv::StrategyKind::full && strategy.mean_keys);
}

}  // namespace

std::vector<std::uint32_t> row_weights(std::span<std::vector<ItemId> const> histories,
                                       std::uint32_t items, std::uint32_t max_tokens) {
    std::vector<std::uint32_t> counts(std::size_t{items} + 1, 1);
    for (auto const& history : histories) {
        std::size_t const seen = std::min<std::size_t>(history.size(), max_tokens);
        for (ItemId const item : std::span(history).last(seen)) {
            validate(item <= items, "device/cpu: a history holds an item beyond the catalogue");
            ++counts[item];
        }
    }
    counts.erase(counts.begin());  // of padding
    return counts;
}

RowCodes::RowCodes(std::shared_ptr<model::SimWeights const> const& weights,
                   kv::StrategyParams const& strategy,
                   std::span<std::vector<ItemId> const> histories) {
    if (!fits(strategy)) return;
    model::SimShape const& shape = weights->shape;
    std::size_t const d = shape.attention_dim;
    auto const counts = row_weights(histories, weights->items, shape.max_tokens);
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
            auto const mean = mean_row(rows, d, counts);
            sides_[i].mean.assign(mean.begin(), mean.end());
        } else if (strategy.kind == kv::StrategyKind::low_rank) {
            sides_[i].basis = fit_basis(rows, d, strategy.rank, values ? shape.heads : 0, counts);
        } else {
            sides_[i].codebook =
                fit_codebook(rows, d, strategy.subspaces, kv::codewords(strategy, weights->items),
                             weights->training_seed, static_cast<std::uint32_t>(i), counts);
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
