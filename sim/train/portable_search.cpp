#include "train/portable_search.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <tuple>

#include "core/error.hpp"
#include "train/tensor_values.hpp"

namespace ckvsim::train::portable {

namespace {

/// Places among all tokens of the k best of each list, ascending. `scores` [tokens] in the lists'
/// order.
at::Tensor best_places(Ragged const& tokens, at::Tensor const& scores, std::size_t k) {
    auto const device = scores.device();
    auto const count = static_cast<std::int64_t>(tokens.rows.size());
    auto const all = lists_of(tokens, 0, tokens.lists(), device);
    auto const& lists = all.lists;
    // Newest first, then by score, then by list: what sorts keep in order decides ties.
    auto const newest = at::arange(count, lists.options()).flip({0});
    auto const by_score = newest.index_select(
        0, std::get<1>(at::sort(scores.index_select(0, newest), /*stable=*/true, 0, true)));
    auto const order = by_score.index_select(
        0, std::get<1>(at::sort(lists.index_select(0, by_score), /*stable=*/true, 0, false)));
    auto const rank = at::arange(count, lists.options()) -
                      all.starts.index_select(0, lists.index_select(0, order));
    auto const chosen = order.masked_select(rank < static_cast<std::int64_t>(k));
    return std::get<0>(at::sort(chosen, 0, false));
}

/// The lists of what is at `places`.
Ragged lists_at(Ragged const& tokens, at::Tensor const& places, std::size_t k,
                std::vector<std::uint32_t>& positions) {
    auto const host = places.cpu();
    auto const* next = host.data_ptr<std::int64_t>();
    Ragged chosen;
    positions.clear();
    for (std::size_t b = 0; b < tokens.lists(); ++b) {
        std::size_t const kept = std::min(k, tokens.list(b).size());
        for (std::size_t j = 0; j < kept; ++j, ++next) {
            auto const place = static_cast<std::size_t>(*next);
            chosen.rows.push_back(tokens.rows[place]);
            positions.push_back(static_cast<std::uint32_t>(place - tokens.offsets[b]));
        }
        chosen.close_list();
    }
    return chosen;
}

/// `score` gives the scores of the tokens of a piece.
template <class Score>
Ragged choose(Ragged const& tokens, std::size_t k, std::int64_t most, at::Device device,
              std::vector<std::uint32_t>& positions, Score const& score) {
    at::NoGradGuard const no_grad;
    std::vector<at::Tensor> parts = {at::zeros({0}, at::TensorOptions(device).dtype(at::kFloat))};
    for_each_piece(tokens, most, [&](std::size_t first, std::size_t end) {
        parts.push_back(score(lists_of(tokens, first, end, device), first, end));
    });
    return lists_at(tokens, best_places(tokens, at::cat(parts, 0), k), k, positions);
}

}  // namespace

Ragged select_top_k(Ragged const& tokens, at::Tensor const& queries, at::Tensor const& keys,
                    std::size_t k, PieceLimits const& limits,
                    std::vector<std::uint32_t>& positions) {
    auto const score = [&](Lists const& of, std::size_t first, std::size_t end) {
        auto const own = queries.narrow(0, static_cast<std::int64_t>(first),
                                        static_cast<std::int64_t>(end - first));
        return (own.index_select(0, of.lists) * keys.index_select(0, of.rows)).sum(1);
    };
    return choose(tokens, k, limits.elements / keys.size(1), keys.device(), positions, score);
}

Ragged select_nearest(Ragged const& tokens, std::vector<std::int64_t> const& candidates,
                      at::Tensor const& projected, std::size_t k, PieceLimits const& limits,
                      std::vector<std::uint32_t>& positions) {
    auto const signs = projected.detach() > 0;
    auto const wanted = signs.index_select(0, view_of(candidates).to(projected.device()));
    auto const score = [&](Lists const& of, std::size_t first, std::size_t end) {
        auto const own = wanted.narrow(0, static_cast<std::int64_t>(first),
                                       static_cast<std::int64_t>(end - first));
        // Whole numbers: exact.
        return own.index_select(0, of.lists)
            .eq(signs.index_select(0, of.rows))
            .sum(1, false, at::kFloat);
    };
    return choose(tokens, k, limits.elements / signs.size(1), signs.device(), positions, score);
}

std::vector<std::uint8_t> buckets(std::int64_t hashes, at::Tensor const& table,
                                  at::Tensor const& planes) {
    at::NoGradGuard const no_grad;
    std::int64_t const bits = planes.size(0) / hashes;
    validate(bits >= 1 && bits <= 8, "collisions: a bucket's number is one byte");
    auto const columns = planes.t().contiguous();
    auto projected = at::zeros({table.size(0), planes.size(0)}, table.options());
    for (std::int64_t i = 0; i < table.size(1); ++i)
        projected.addcmul_(table.detach().narrow(1, i, 1), columns.narrow(0, i, 1));
    auto const above = (projected > 0).view({table.size(0), hashes, bits}).to(at::kInt);
    auto const places = at::pow(2, at::arange(bits, above.options())).to(at::kInt);
    auto const numbers = (above * places).sum(2).to(at::kByte).cpu().contiguous();
    auto const* const data = numbers.data_ptr<std::uint8_t>();
    return {data, data + numbers.numel()};
}

}  // namespace ckvsim::train::portable
