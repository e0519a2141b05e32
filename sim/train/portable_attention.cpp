#include "train/portable_attention.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "train/recomputed.hpp"
#include "train/tensor_values.hpp"

namespace ckvsim::train::portable {

namespace {

/// [rows, width] -> [rows, heads, width / heads]
at::Tensor by_head(at::Tensor const& x, std::int64_t heads) {
    return x.view({x.size(0), heads, x.size(1) / heads});
}

/// Sums of the rows of `values` by list; zeros for a list without any.
at::Tensor sum_by_list(at::Tensor const& values, at::Tensor const& lists, std::int64_t count) {
    auto sizes = values.sizes().vec();
    sizes[0] = count;
    return at::zeros(sizes, values.options()).index_add(0, lists, values);
}

/// The largest value of each list [lists, columns], anything for a list without any. No gradient.
at::Tensor largest_by_list(at::Tensor const& values, Lists const& tokens) {
    auto const count = tokens.starts.size(0);
    if (values.size(0) == 0) return at::zeros({count, values.size(1)}, values.options());
    constexpr std::int64_t kMaximum = 2;  // embedding_bag's mode
    auto const all = at::arange(values.size(0), tokens.rows.options());
    return std::get<0>(at::embedding_bag(values, all, tokens.starts, false, kMaximum));
}

/// Softmax within each list; scores [tokens, heads].
at::Tensor softmax_by_list(at::Tensor const& scores, Lists const& tokens) {
    // The largest score only keeps the exponential finite: it has no gradient.
    auto const largest = largest_by_list(scores.detach(), tokens);
    auto const& lists = tokens.lists;
    auto const count = tokens.starts.size(0);
    auto const weights = (scores - largest.index_select(0, lists)).exp();
    return weights / sum_by_list(weights, lists, count).index_select(0, lists);
}

at::Tensor attend(PieceInputs const& of, Lists const& tokens, std::int64_t heads, double scale) {
    auto const& [queries, keys, values, none] = of;
    auto const q = by_head(queries.index_select(0, tokens.lists), heads);
    auto const k = by_head(keys.index_select(0, tokens.rows), heads);
    auto const weights = softmax_by_list((q * k).sum(2) * scale, tokens);
    auto const v = by_head(values.index_select(0, tokens.rows), heads) * weights.unsqueeze(2);
    return sum_by_list(v.reshape({v.size(0), values.size(1)}), tokens.lists, queries.size(0));
}

/// What collides in a piece: rows of the table and the sum that each is added to.
struct Pairs {
    at::Tensor rows;
    at::Tensor sums;
};

Pairs pairs_of(Collisions const& collisions, at::Tensor const& buckets, std::size_t first,
               std::size_t end) {
    auto const tokens = lists_of(*collisions.tokens, first, end, buckets.device());
    std::vector<std::int64_t> const rows(
        collisions.candidates.begin() + static_cast<std::ptrdiff_t>(first),
        collisions.candidates.begin() + static_cast<std::ptrdiff_t>(end));
    auto const wanted = buckets.index_select(0, view_of(rows).to(buckets.device()));
    auto const met = buckets.index_select(0, tokens.rows)
                         .eq(wanted.index_select(0, tokens.lists))
                         .nonzero();  // [pairs, (token, hash)]
    auto const token = met.select(1, 0);
    return {tokens.rows.index_select(0, token),
            tokens.lists.index_select(0, token) * static_cast<std::int64_t>(collisions.hashes) +
                met.select(1, 1)};
}

at::Tensor mean_directions(at::Tensor const& table, Pairs const& pairs, std::int64_t samples,
                           std::int64_t hashes) {
    auto const sums = sum_by_list(table.index_select(0, pairs.rows), pairs.sums, samples * hashes);
    auto const squares = sums.square().sum(1, true);
    auto const shortest = at::full_like(squares, kShortestSum * kShortestSum);
    auto const is_short = squares < shortest;
    // Both branches have finite gradients: what is not chosen is multiplied by zero.
    auto const lengths = at::where(is_short, at::ones_like(squares), squares).sqrt();
    auto const directions = at::where(is_short, sums.detach() / kShortestSum, sums / lengths);
    return directions.view({samples, hashes, table.size(1)}).mean(1);
}

/// Sequences [first, end) in rectangles, their last tokens and last queries in the last columns.
struct Rectangle {
    std::int64_t sequences = 0;
    std::int64_t tokens = 0;   ///< of the longest
    std::int64_t queries = 0;  ///< likewise
    at::Tensor token_rows;     ///< [sequences * tokens], of k and v; 0 where there is none
    at::Tensor query_rows;     ///< [sequences * queries], of q; 0 where there is none
    at::Tensor places;         ///< of the queries that exist in [sequences * queries]
    at::Tensor seen;           ///< [sequences, 1, queries, tokens] bool
    at::Tensor distances;      ///< [queries * tokens] buckets of biases
};

/// Indices of [lists, width] with the last element of every list in the last column.
struct Aligned {
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> places;
    Aligned(std::vector<std::uint32_t> const& offsets, std::size_t first, std::size_t end,
            std::int64_t width)
        : rows((end - first) * static_cast<std::size_t>(width), 0) {
        for (std::size_t s = first; s < end; ++s) {
            auto const count = static_cast<std::int64_t>(offsets[s + 1] - offsets[s]);
            auto at = static_cast<std::int64_t>(s - first + 1) * width - count;
            for (std::int64_t i = 0; i < count; ++i, ++at) {
                rows[static_cast<std::size_t>(at)] = offsets[s] + i;
                places.push_back(at);
            }
        }
    }
};

std::int64_t longest(std::vector<std::uint32_t> const& offsets, std::size_t first,
                     std::size_t end) {
    std::int64_t most = 0;
    for (std::size_t s = first; s < end; ++s)
        most = std::max<std::int64_t>(most, offsets[s + 1] - offsets[s]);
    return most;
}

/// Where the rectangle of sequence `first` and those behind it has to end.
std::size_t end_of_rectangle(Sequences const& of, std::size_t first, std::int64_t most) {
    std::int64_t tokens = longest(of.tokens, first, first + 1);
    std::int64_t queries = longest(of.queries, first, first + 1);
    std::size_t end = first + 1;
    for (; end < of.size(); ++end) {
        tokens = std::max(tokens, longest(of.tokens, end, end + 1));
        queries = std::max(queries, longest(of.queries, end, end + 1));
        if (static_cast<std::int64_t>(end + 1 - first) * tokens * queries > most) break;
    }
    return end;
}

/// Distances [queries, tokens] from a token to a query, negative for what comes after it.
at::Tensor distances_of(std::int64_t queries, std::int64_t tokens, at::Device device) {
    auto const options = at::TensorOptions(device).dtype(at::kLong);
    return (at::arange(queries, options) - queries).unsqueeze(1) -
           (at::arange(tokens, options) - tokens).unsqueeze(0);
}

Rectangle rectangle_of(Sequences const& of, std::size_t first, std::size_t end, at::Device device) {
    Rectangle out;
    out.sequences = static_cast<std::int64_t>(end - first);
    out.tokens = longest(of.tokens, first, end);
    out.queries = longest(of.queries, first, end);
    Aligned const tokens(of.tokens, first, end, out.tokens);
    Aligned const queries(of.queries, first, end, out.queries);
    out.token_rows = view_of(tokens.rows).clone().to(device);
    out.query_rows = view_of(queries.rows).clone().to(device);
    out.places = view_of(queries.places).clone().to(device);
    auto const bool_options = at::TensorOptions(device).dtype(at::kBool);
    auto exists = at::zeros({out.sequences * out.tokens}, bool_options);
    exists.index_fill_(0, view_of(tokens.places).to(device), true);
    auto const distances = distances_of(out.queries, out.tokens, device);
    out.seen = exists.view({out.sequences, 1, 1, out.tokens})
                   .logical_and(distances.ge(0).view({1, 1, out.queries, out.tokens}));
    std::vector<std::int64_t> buckets;
    for (std::int64_t d = 0; d < out.tokens; ++d)
        buckets.push_back(static_cast<std::int64_t>(position_bucket(static_cast<std::size_t>(d))));
    out.distances = view_of(buckets).to(device).index_select(0, distances.clamp_min(0).flatten());
    return out;
}

/// [rows, width] -> [sequences, heads, columns, width / heads]
at::Tensor spread(at::Tensor const& x, at::Tensor const& rows, std::int64_t sequences,
                  std::int64_t heads) {
    return x.index_select(0, rows)
        .view({sequences, rows.size(0) / sequences, heads, x.size(1) / heads})
        .transpose(1, 2);
}

at::Tensor attend_causally(PieceInputs const& of, Rectangle const& shape, std::int64_t heads,
                           double divisor, Precision precision) {
    auto const& [q, k, v, bias] = of;
    auto const queries = spread(q, shape.query_rows, shape.sequences, heads);
    auto const keys = spread(k, shape.token_rows, shape.sequences, heads);
    auto const values = spread(v, shape.token_rows, shape.sequences, heads);
    auto const biases =
        bias.index_select(1, shape.distances).view({1, heads, shape.queries, shape.tokens});
    auto const scores = product(queries, keys.transpose(2, 3), precision) + biases;
    auto const weights = (at::silu(scores) / divisor).masked_fill(shape.seen.logical_not(), 0.0);
    return product(weights, values, precision)
        .transpose(1, 2)
        .reshape({shape.sequences * shape.queries, v.size(1)})
        .index_select(0, shape.places);
}

/// The parts one after the other. Without any the inputs have gradients all the same, zeros: ranks
/// without a sample add theirs to those of the others.
at::Tensor joined(std::vector<at::Tensor> const& parts, PieceInputs const& inputs,
                  std::int64_t width) {
    if (parts.size() == 1) return parts.front();
    if (!parts.empty()) return at::cat(parts, 0);
    return recomputed(inputs, [width](PieceInputs const& of) {
        return at::zeros({0, width}, of[0].options().requires_grad(false));
    });
}

}  // namespace

at::Tensor product(at::Tensor const& a, at::Tensor const& b, Precision precision) {
    if (precision == Precision::fp32) return at::matmul(a, b);
    return at::matmul(a.to(at::kBFloat16), b.to(at::kBFloat16)).to(at::kFloat);
}

Lists lists_of(Ragged const& tokens, std::size_t first, std::size_t end, at::Device device) {
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> lists;
    rows.reserve(tokens.offsets[end] - tokens.offsets[first]);
    lists.reserve(rows.capacity());
    std::vector<std::int64_t> starts;
    for (std::size_t b = first; b < end; ++b) {
        starts.push_back(static_cast<std::int64_t>(rows.size()));
        for (auto const row : tokens.list(b)) {
            rows.push_back(row);
            lists.push_back(static_cast<std::int64_t>(b - first));
        }
    }
    return {view_of(rows).clone().to(device), view_of(lists).clone().to(device),
            view_of(starts).clone().to(device)};
}

at::Tensor ragged_attention(at::Tensor const& queries, at::Tensor const& keys,
                            at::Tensor const& values, Ragged const& tokens, std::int64_t heads,
                            double scale, PieceLimits const& limits) {
    validate(heads > 0 && keys.size(1) % heads == 0 && values.size(1) % heads == 0,
             "attention: heads must divide key and value width");
    std::vector<at::Tensor> parts;
    auto const most = limits.elements / std::max(keys.size(1), values.size(1));
    for_each_piece(tokens, most, [&](std::size_t first, std::size_t end) {
        auto const lists = lists_of(tokens, first, end, queries.device());
        auto const own = queries.narrow(0, static_cast<std::int64_t>(first),
                                        static_cast<std::int64_t>(end - first));
        parts.push_back(
            recomputed({own, keys, values}, [lists, heads, scale](PieceInputs const& of) {
                return attend(of, lists, heads, scale);
            }));
    });
    return joined(parts, {queries, keys, values}, values.size(1));
}

at::Tensor collision_means(at::Tensor const& embeddings, Collisions const& collisions,
                           PieceLimits const& limits) {
    validate(collisions.hashes > 0 && collisions.tokens != nullptr &&
                 collisions.candidates.size() == collisions.tokens->lists(),
             "collisions: one candidate per token list and at least one hash");
    auto const hashes = static_cast<std::int64_t>(collisions.hashes);
    auto const buckets =
        at::from_blob(const_cast<std::uint8_t*>(collisions.buckets.data()),
                      {static_cast<std::int64_t>(collisions.buckets.size()) / hashes, hashes},
                      at::kByte)
            .to(embeddings.device());
    std::vector<at::Tensor> parts;
    auto const most = limits.elements / (hashes * embeddings.size(1));
    for_each_piece(*collisions.tokens, most, [&](std::size_t first, std::size_t end) {
        auto const pairs = pairs_of(collisions, buckets, first, end);
        auto const samples = static_cast<std::int64_t>(end - first);
        parts.push_back(recomputed({embeddings}, [pairs, samples, hashes](PieceInputs const& of) {
            return mean_directions(of[0], pairs, samples, hashes);
        }));
    });
    return joined(parts, {embeddings}, embeddings.size(1));
}

at::Tensor causal_attention(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                            at::Tensor const& bias, Sequences const& sequences, std::int64_t heads,
                            double divisor, PieceLimits const& limits) {
    std::vector<at::Tensor> parts;
    for (std::size_t first = 0; first < sequences.size();) {
        std::size_t const end = end_of_rectangle(sequences, first, limits.elements / heads);
        auto const shape = rectangle_of(sequences, first, end, q.device());
        auto const precision = limits.precision;
        parts.push_back(
            recomputed({q, k, v, bias}, [shape, heads, divisor, precision](PieceInputs const& of) {
                return attend_causally(of, shape, heads, divisor, precision);
            }));
        first = end;
    }
    return joined(parts, {q, k, v, bias}, q.size(1));
}

}  // namespace ckvsim::train::portable
