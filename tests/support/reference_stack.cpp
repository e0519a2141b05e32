#include "reference_stack.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace ckvsim::test {
namespace {

using Row = ReferenceStack::Row;

Row multiply(std::vector<float> const& w, Row const& x) {
    Row y(w.size() / x.size(), 0.0);
    for (std::size_t o = 0; o < y.size(); ++o) {
        for (std::size_t i = 0; i < x.size(); ++i) y[o] += double{w[o * x.size() + i]} * x[i];
    }
    return y;
}

double silu(double x) { return x / (1.0 + std::exp(-x)); }
Row silu(Row row) {
    for (double& x : row) x = silu(x);
    return row;
}

Row normalised(Row row) {
    auto const count = static_cast<double>(row.size());
    double const mean = std::accumulate(row.begin(), row.end(), 0.0) / count;
    double variance = 0.0;
    for (double const x : row) variance += (x - mean) * (x - mean) / count;
    for (double& x : row) x = (x - mean) / std::sqrt(variance + 1e-6);
    return row;
}

/// The first distance of each bucket from 16 on, by the contract's words: 16 equal steps of the
/// logarithm from 16 to 128.
std::size_t bucket(std::size_t distance) {
    std::size_t found = std::min<std::size_t>(distance, 15);
    for (std::size_t step = 0; step < 16 && distance >= 16; ++step) {
        double const first = 16.0 * std::pow(8.0, static_cast<double>(step) / 16.0);
        if (static_cast<double>(distance) >= first - 1e-9) found = 16 + step;
    }
    return found;
}

}  // namespace

Row ReferenceStack::side_row(model::SideWeights const& side, std::size_t layer, std::size_t which,
                             std::size_t token, Row const& normed) const {
    Row row;
    if (!side.router.empty()) {
        Row const logits = multiply(side.router, normed);
        auto const best = std::max_element(logits.begin(), logits.end());
        auto index = static_cast<std::size_t>(best - logits.begin());
        if (!options_.stack.empty()) {
            index = options_.stack[layer][which][token];
            shortfall_ = std::max(shortfall_, *best - logits[index]);
        }
        std::size_t const shared = weights_.shape.attention_dim - weights_.variant.d_u;
        auto const pool = side.pool.begin() + static_cast<std::ptrdiff_t>(index * shared);
        row.assign(pool, pool + static_cast<std::ptrdiff_t>(shared));
        if (weights_.variant.d_u > 0) {
            Row const user = multiply(side.user, normed);
            row.insert(row.end(), user.begin(), user.end());
        }
    } else {
        row = multiply(side.w, normed);
    }
    row = silu(std::move(row));
    if (options_.half_values) std::transform(row.begin(), row.end(), row.begin(), round_to_half);
    if (options_.stack_rows.empty()) return row;
    KeptRow const& kept = options_.stack_rows[layer][which][token];
    if (options_.stack_loss) {
        displacement_ =
            std::max(displacement_, options_.stack_loss(layer, which, row, kept.values));
        return kept.values;
    }
    for (std::size_t i = 0; i < row.size(); ++i) {
        double const moved = std::abs(kept.values[i] - row[i]);
        displacement_ = std::max(displacement_, moved - kept.half_steps[i]);
    }
    return kept.values;
}

void ReferenceStack::run_layer(std::size_t number, std::vector<Row>& states) const {
    model::StackLayer const& layer = weights_.stack[number];
    std::size_t const d = weights_.shape.attention_dim;
    std::size_t const head_dim = d / weights_.shape.heads;
    std::vector<Row> k;
    std::vector<Row> v;
    for (std::size_t i = 0; i < states.size(); ++i) {
        Row const normed = normalised(states[i]);
        k.push_back(side_row(layer.site.k, number, 0, i, normed));
        v.push_back(side_row(layer.site.v, number, 1, i, normed));
    }
    for (std::size_t i = 0; i < states.size(); ++i) {
        Row const normed = normalised(states[i]);
        Row const q = silu(multiply(layer.site.wq, normed));
        Row const gate = silu(multiply(layer.gate, normed));
        Row attended(d, 0.0);
        for (std::size_t j = 0; j <= i; ++j) {
            for (std::size_t h = 0; h < weights_.shape.heads; ++h) {
                double score = layer.position_bias[h * 32 + bucket(i - j)];
                for (std::size_t c = h * head_dim; c < (h + 1) * head_dim; ++c)
                    score += q[c] * k[j][c];
                double const weight = silu(score) / weights_.shape.max_tokens;
                for (std::size_t c = h * head_dim; c < (h + 1) * head_dim; ++c)
                    attended[c] += weight * v[j][c];
            }
        }
        attended = normalised(std::move(attended));
        for (std::size_t c = 0; c < d; ++c) attended[c] *= gate[c];
        Row const change = multiply(layer.site.wo, attended);
        for (std::size_t c = 0; c < change.size(); ++c) states[i][c] += change[c];
    }
}

Row ReferenceStack::output(std::span<ItemId const> tokens, ItemId candidate) const {
    std::vector<ItemId> sequence(tokens.begin(), tokens.end());
    sequence.push_back(candidate);
    std::vector<Row> states;
    for (ItemId const item : sequence) {
        auto const from = weights_.item_embeddings.begin() +
                          static_cast<std::ptrdiff_t>(std::size_t{item} * weights_.d_e);
        states.emplace_back(from, from + weights_.d_e);
    }
    shortfall_ = 0.0;
    displacement_ = -std::numeric_limits<double>::infinity();
    for (std::size_t layer = 0; layer < weights_.stack.size(); ++layer) run_layer(layer, states);
    return states.back();
}

}  // namespace ckvsim::test
