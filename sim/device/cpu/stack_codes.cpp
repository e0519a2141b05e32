#include "device/cpu/stack_codes.hpp"

#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "device/cpu/self_attention.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Rows of every layer and side, back to back in the order of the histories.
using StackRows = std::vector<std::array<std::vector<float>, 2>>;

/// The tokens of a history that HSTU sees.
std::span<ItemId const> seen(std::vector<ItemId> const& history, std::size_t max_tokens) {
    return std::span(history).last(std::min(history.size(), max_tokens));
}

/// Where the rows of every history start; the last element is their number.
std::vector<std::size_t> starts_of(model::SimWeights const& weights,
                                   std::span<std::vector<ItemId> const> histories) {
    std::vector<std::size_t> starts = {0};
    if (histories.empty()) return starts;
    std::size_t const most = (kFittedRows + histories.size() - 1) / histories.size();
    for (auto const& history : histories) {
        auto const tokens = seen(history, weights.shape.max_tokens);
        for (ItemId const item : tokens)
            validate(item <= weights.items,
                     "device/cpu: a history holds an item beyond the catalogue");
        starts.push_back(starts.back() + std::min(most, tokens.size()));
    }
    return starts;
}

/// Copies `taken` evenly spaced ones of `tokens` rows [width].
void copy_spaced(float const* rows, std::size_t tokens, std::size_t taken, std::size_t width,
                 float* out) {
    for (std::size_t i = 0; i < taken; ++i)
        std::copy_n(rows + i * tokens / taken * width, width, out + i * width);
}

StackRows rows_of(model::SimWeights const& weights,
                  std::span<std::vector<ItemId> const> histories) {
    kv::StrategyParams const plain;  // full, fp32
    kv::EntryLayout const layout(weights.shape, weights.variant, plain);
    SelfAttention const stack(weights, plain, layout);
    std::size_t const d = weights.shape.attention_dim;
    auto const starts = starts_of(weights, histories);
    validate(starts.back() > 0,
             "device/cpu: low_rank and vq of model 'hstu' are fitted to tokens of histories, but "
             "none were given");
    StackRows rows(weights.shape.layers);
    for (auto& layer : rows) {
        for (auto& side : layer) side.resize(starts.back() * d);
    }
#pragma omp parallel
    {
        StackScratch scratch;
        AlignedVector<std::byte> entry;
#pragma omp for schedule(dynamic)
        for (std::int64_t at = 0; at < static_cast<std::int64_t>(histories.size()); ++at) {
            auto const h = static_cast<std::size_t>(at);
            auto const tokens = seen(histories[h], weights.shape.max_tokens);
            auto const count = static_cast<std::uint32_t>(tokens.size());
            std::byte* kept = reserve_elements(entry, layout.entry_bytes(count) + 1);
            stack.extend(kept, 0, count, tokens, scratch);
            for (std::uint32_t l = 0; l < rows.size(); ++l) {
                for (std::size_t side = 0; side < 2; ++side) {
                    auto const part = side == 0 ? kv::LayerPart::k : kv::LayerPart::v;
                    std::byte const* own = kept + layout.offset(kv::layer_section(l, part), count);
                    copy_spaced(reinterpret_cast<float const*>(own), count,
                                starts[h + 1] - starts[h], d, rows[l][side].data() + starts[h] * d);
                }
            }
        }
    }
    return rows;
}

}  // namespace

StackCodes fit_stack_codes(model::SimWeights const& weights, kv::StrategyParams const& strategy,
                           std::span<std::vector<ItemId> const> histories) {
    bool const low_rank = strategy.kind == kv::StrategyKind::low_rank;
    if (!low_rank && strategy.kind != kv::StrategyKind::vq) return {};
    std::size_t const d = weights.shape.attention_dim;
    auto const rows = rows_of(weights, histories);
    StackCodes codes(rows.size());
    for (std::size_t l = 0; l < rows.size(); ++l) {
        for (std::size_t side = 0; side < 2; ++side) {
            if (low_rank) {
                // Rows of K are put together, too, as the whole output of one head.
                codes[l][side].basis = fit_basis(rows[l][side], d, strategy.rank, 1);
            } else {
                codes[l][side].codebook = fit_codebook(
                    rows[l][side], d, strategy.subspaces, kv::codewords(strategy, weights.items),
                    weights.training_seed, static_cast<std::uint32_t>(2 * l + side));
            }
        }
    }
    return codes;
}

}  // namespace ckvsim::device::cpu
