#include "reference_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "reference_stack.hpp"

namespace ckvsim::test {
namespace {

using Row = std::vector<double>;

/// y = W x, W [x.size() columns] row-major.
Row multiply(std::vector<float> const& w, Row const& x) {
    Row y(x.empty() ? 0 : w.size() / x.size(), 0.0);
    for (std::size_t o = 0; o < y.size(); ++o) {
        for (std::size_t i = 0; i < x.size(); ++i) y[o] += double{w[o * x.size() + i]} * x[i];
    }
    return y;
}

double dot(double const* a, double const* b, std::size_t count) {
    return std::inner_product(a, a + count, b, 0.0);
}

double silu(double x) { return x / (1.0 + std::exp(-x)); }

}  // namespace

double round_to_half(double value) {
    double const magnitude = std::abs(value);
    if (magnitude == 0.0) return value;
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    // 11 significant bits; below 2^-14 the spacing stays at 2^-24.
    double const spacing = std::ldexp(1.0, std::max(exponent - 11, -24));
    double const rounded = std::nearbyint(magnitude / spacing) * spacing;
    return std::copysign(std::min(rounded, 65504.0), value);
}

ReferenceModel::ReferenceModel(model::SimWeights const& weights, ReferenceOptions options)
    : weights_(weights), options_(std::move(options)) {
    if (options_.indices.buckets.empty()) options_.indices.buckets = make_bucket_table();
}

Row ReferenceModel::embedding(ItemId item) const {
    auto const from = weights_.item_embeddings.begin() +
                      static_cast<std::ptrdiff_t>(std::size_t{item} * weights_.d_e);
    return {from, from + weights_.d_e};
}

Row ReferenceModel::stored(Row row) const {
    if (options_.half_values) std::transform(row.begin(), row.end(), row.begin(), round_to_half);
    return row;
}

std::uint32_t ReferenceModel::arg_max(model::SideWeights const& side, ItemId item) const {
    Row const logits = multiply(side.router, embedding(item));
    return static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) -
                                      logits.begin());
}

std::vector<std::uint32_t> ReferenceModel::arg_max_table(model::SideWeights const& side) const {
    std::vector<std::uint32_t> result;
    if (side.router.empty()) return result;
    for (ItemId item = 0; item <= weights_.items; ++item) result.push_back(arg_max(side, item));
    return result;
}

Row ReferenceModel::side_row(model::SiteWeights const& site, model::SideWeights const& side,
                             std::vector<std::uint32_t> const& indices,
                             ReferenceRows::Table const& rows, ItemId item) const {
    if (!rows.empty()) return rows[item];
    Row row;
    if (!side.router.empty()) {
        std::size_t const shared = weights_.shape.attention_dim - weights_.variant.d_u;
        std::size_t const index = indices.empty() ? arg_max(side, item) : indices[item];
        auto const pool = side.pool.begin() + static_cast<std::ptrdiff_t>(index * shared);
        row.assign(pool, pool + static_cast<std::ptrdiff_t>(shared));
        Row const user = multiply(side.user, embedding(item));
        row.insert(row.end(), user.begin(), user.end());
    } else {
        row = multiply(side.w, embedding(item));
    }
    if (site.silu) std::transform(row.begin(), row.end(), row.begin(), silu);
    return stored(std::move(row));
}

Row ReferenceModel::query(model::SiteWeights const& site, Row const& candidate) const {
    Row q = multiply(site.wq, candidate);
    if (site.silu) std::transform(q.begin(), q.end(), q.begin(), silu);
    return q;
}

Row ReferenceModel::attention(model::SiteWeights const& site,
                              std::vector<std::uint32_t> const& k_indices,
                              std::vector<std::uint32_t> const& v_indices,
                              ReferenceRows::Table const& k_rows,
                              ReferenceRows::Table const& v_rows, Row const& candidate,
                              std::vector<ItemId> const& tokens) const {
    if (tokens.empty()) return Row(weights_.d_e, 0.0);
    std::size_t const d = weights_.shape.attention_dim;
    std::size_t const head_dim = d / weights_.shape.heads;
    Row const q = query(site, candidate);
    std::vector<Row> k;
    std::vector<Row> v;
    for (ItemId const item : tokens) {
        k.push_back(side_row(site, site.k, k_indices, k_rows, item));
        v.push_back(side_row(site, site.v, v_indices, v_rows, item));
    }
    Row joined(d, 0.0);
    for (std::size_t first = 0; first < d; first += head_dim) {
        Row p;
        for (Row const& key : k)
            p.push_back(dot(q.data() + first, key.data() + first, head_dim) /
                        std::sqrt(static_cast<double>(head_dim)));
        double const top = *std::max_element(p.begin(), p.end());
        for (double& score : p) score = std::exp(score - top);
        double const total = std::accumulate(p.begin(), p.end(), 0.0);
        for (std::size_t t = 0; t < p.size(); ++t) {
            for (std::size_t i = first; i < first + head_dim; ++i)
                joined[i] += p[t] / total * v[t][i];
        }
    }
    return multiply(site.wo, joined);
}

double ReferenceModel::agreement(Row const& a, Row const& b) const {
    Row const left = multiply(weights_.hash_planes, a);
    Row const right = multiply(weights_.hash_planes, b);
    double differing = 0.0;
    for (std::size_t bit = 0; bit < left.size(); ++bit)
        differing += (left[bit] > 0.0) != (right[bit] > 0.0) ? 1.0 : 0.0;
    return -differing;
}

std::vector<std::uint8_t> ReferenceModel::make_bucket_table() const {
    std::vector<std::uint8_t> table;
    if (weights_.shape.bucket_hashes() == 0 || weights_.hash_planes.empty()) return table;
    for (ItemId item = 0; item <= weights_.items; ++item) {
        Row const sides = multiply(weights_.hash_planes, embedding(item));
        for (std::size_t h = 0; h < weights_.shape.hashes; ++h) {
            std::uint8_t bucket = 0;
            for (std::size_t b = 0; b < weights_.shape.hash_bits; ++b) {
                if (sides[h * weights_.shape.hash_bits + b] > 0.0)
                    bucket = static_cast<std::uint8_t>(bucket | (1U << b));
            }
            table.push_back(bucket);
        }
    }
    return table;
}

Row ReferenceModel::bucket_sum(std::span<ItemId const> tokens, ItemId candidate,
                               std::size_t hash) const {
    std::size_t const hashes = weights_.shape.hashes;
    Row sum(weights_.d_e, 0.0);
    std::vector<float> rounded(weights_.d_e, 0.0F);
    for (ItemId const item : tokens) {
        if (bucket_table()[item * hashes + hash] != bucket_table()[candidate * hashes + hash])
            continue;
        Row const e = embedding(item);
        for (std::size_t i = 0; i < sum.size(); ++i) {
            sum[i] += e[i];
            rounded[i] += static_cast<float>(e[i]);
        }
    }
    return options_.stored_sum ? options_.stored_sum(rounded) : sum;
}

Row ReferenceModel::bucket_mean(std::span<ItemId const> tokens, ItemId candidate) const {
    Row mean(weights_.d_e, 0.0);
    for (std::size_t h = 0; h < weights_.shape.hashes; ++h) {
        Row const sum = bucket_sum(tokens, candidate, h);
        double const length = std::max(std::sqrt(dot(sum.data(), sum.data(), sum.size())), 1e-12);
        for (std::size_t i = 0; i < mean.size(); ++i)
            mean[i] += sum[i] / length / static_cast<double>(weights_.shape.hashes);
    }
    return mean;
}

void ReferenceModel::search(std::span<ItemId const> tokens, Row const& candidate,
                            ReferenceResult& result) const {
    bool const twin = weights_.shape.kind == model::ModelKind::twin;
    bool const eta = weights_.shape.kind == model::ModelKind::eta;
    model::SiteWeights const& site = weights_.long_site;
    Row const q = twin ? query(site, candidate) : multiply(weights_.search_wq, candidate);
    Row scores;
    for (ItemId const item : tokens) {
        if (eta) {
            scores.push_back(agreement(candidate, embedding(item)));
            continue;
        }
        Row const key =
            twin ? side_row(site, site.k, options_.indices.long_k, options_.rows.long_k, item)
            : options_.rows.search.empty() ? stored(multiply(weights_.search_wk, embedding(item)))
                                           : options_.rows.search[item];
        scores.push_back(dot(q.data(), key.data(), key.size()));
        result.largest_score = std::max(result.largest_score, std::abs(scores.back()));
    }
    std::vector<std::uint32_t> order(tokens.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
    });
    std::size_t const kept = std::min<std::size_t>(order.size(), weights_.shape.top_k);
    result.top_k_gap = kept < order.size() ? scores[order[kept - 1]] - scores[order[kept]]
                                           : std::numeric_limits<double>::infinity();
    result.top_k.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept));
    std::sort(result.top_k.begin(), result.top_k.end());
}

Row ReferenceModel::long_attention(std::span<ItemId const> tokens, Row const& candidate,
                                   std::vector<std::uint32_t> const* forced_top_k,
                                   ReferenceResult& result) const {
    search(tokens, candidate, result);
    if (forced_top_k != nullptr) result.top_k = *forced_top_k;
    std::vector<ItemId> found;
    for (std::uint32_t const position : result.top_k) found.push_back(tokens[position]);
    return attention(weights_.long_site, options_.indices.long_k, options_.indices.long_v,
                     options_.rows.long_k, options_.rows.long_v, candidate, found);
}

Row ReferenceModel::mean(std::span<ItemId const> tokens) const {
    Row sum(weights_.d_e, 0.0);
    for (ItemId const item : tokens) {
        Row const e = embedding(item);
        for (std::size_t i = 0; i < sum.size(); ++i)
            sum[i] += e[i] / static_cast<double>(tokens.size());
    }
    return sum;
}

double ReferenceModel::tower(Row row) const {
    for (std::size_t l = 0; l < weights_.tower.size(); ++l) {
        row = multiply(weights_.tower[l].w, row);
        for (std::size_t o = 0; o < row.size(); ++o) {
            row[o] += weights_.tower[l].b[o];
            if (l + 1 < weights_.tower.size()) row[o] = std::max(row[o], 0.0);
        }
    }
    return row.front();
}

ReferenceResult ReferenceModel::score(std::span<ItemId const> history, ItemId candidate,
                                      std::uint32_t context,
                                      std::vector<std::uint32_t> const* forced_top_k) const {
    model::SimShape const& shape = weights_.shape;
    auto const tokens = history.last(std::min<std::size_t>(history.size(), shape.max_tokens));
    auto const recent = tokens.last(std::min<std::size_t>(tokens.size(), shape.short_tokens));
    ReferenceResult result;
    Row const e = embedding(candidate);
    if (shape.stack_layers() > 0) {
        Row input = e;
        Row const out = stack_output(tokens, candidate);
        input.insert(input.end(), out.begin(), out.end());
        result.logit = tower(with_context(std::move(input), context));
        return result;
    }
    Row short_out(weights_.d_e, 0.0);
    Row long_out(weights_.d_e, 0.0);
    if (weights_.variant.variant == model::Variant::mean_pool) {
        short_out = mean(recent);
        long_out = mean(tokens);
    } else if (weights_.variant.variant != model::Variant::no_history) {
        short_out = attention(weights_.short_site, options_.indices.short_k,
                              options_.indices.short_v, options_.rows.short_k,
                              options_.rows.short_v, e, {recent.begin(), recent.end()});
        long_out = shape.bucket_hashes() > 0 ? bucket_mean(tokens, candidate)
                                             : long_attention(tokens, e, forced_top_k, result);
    }
    Row input = e;
    input.insert(input.end(), short_out.begin(), short_out.end());
    input.insert(input.end(), long_out.begin(), long_out.end());
    result.logit = tower(with_context(std::move(input), context));
    return result;
}

Row ReferenceModel::with_context(Row input, std::uint32_t context) const {
    std::uint32_t const width = weights_.shape.context_dim;
    auto const row = weights_.context_embeddings.begin() +
                     static_cast<std::ptrdiff_t>(std::size_t{context} * width);
    input.insert(input.end(), row, row + width);
    return input;
}

Row ReferenceModel::stack_output(std::span<ItemId const> tokens, ItemId candidate) const {
    if (weights_.variant.variant == model::Variant::no_history) return Row(weights_.d_e, 0.0);
    if (weights_.variant.variant == model::Variant::mean_pool) return mean(tokens);
    return ReferenceStack(weights_, options_).output(tokens, candidate);
}

}  // namespace ckvsim::test
