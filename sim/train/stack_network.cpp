// The self-attention layers of HSTU (model/sim.hpp) over the sequences of a batch: every history,
// its candidate last.
#include <cmath>

#include "train/network_parts.hpp"

namespace ckvsim::train {

namespace {

// Biases start small beside scores: the attention begins by content.
constexpr double kBiasDeviation = 0.02;
constexpr double kNormEpsilon = 1e-6;

std::string layer_name(std::uint32_t layer) { return "layer" + std::to_string(layer + 1); }

at::Tensor normed(at::Tensor const& x) {
    return at::layer_norm(x, {x.size(1)}, {}, {}, kNormEpsilon);
}

/// Rows of `embeddings` of all sequences, one after the other.
std::vector<std::int64_t> rows_of(Batch const& batch) {
    std::vector<std::int64_t> rows;
    rows.reserve(batch.long_tokens.rows.size() + batch.size());
    for (std::size_t b = 0; b < batch.size(); ++b) {
        auto const tokens = batch.long_tokens.list(b);
        rows.insert(rows.end(), tokens.begin(), tokens.end());
        rows.push_back(batch.candidates[b]);
    }
    return rows;
}

}  // namespace

void SimNetwork::Parts::add_stack() {
    std::int64_t const d = shape.attention_dim;
    std::int64_t const d_e = shape.d_e();
    for (std::uint32_t l = 0; l < shape.layers; ++l) {
        auto const site = layer_name(l);
        add_site(site, variant.kind == Kind::collective, 1.0);  // states are normed
        add(site + ".wg", d, d_e, std::sqrt(2.0 / static_cast<double>(d + d_e)));
        add(site + ".bias", shape.heads, static_cast<std::int64_t>(kPositionBuckets),
            kBiasDeviation);
    }
}

/// Outputs of the last layer of the candidates, [B, d_e]. In all layers but the last every token is
/// a query.
at::Tensor SimNetwork::Parts::stack(Batch const& batch, at::Tensor const& embeddings,
                                    Pass& pass) const {
    pass.token_rows = rows_of(batch);
    auto x = at::embedding(embeddings, here(pass.token_rows));
    Tokens const tokens_once{at::ones({x.size(0)}, operations->options()),
                             batch.whole.long_tokens + batch.whole.samples};
    auto& [all, last] = pass.sequences;
    for (std::size_t b = 0; b < batch.size(); ++b) {
        std::size_t const tokens = batch.long_tokens.list(b).size() + 1;
        all.add(tokens, tokens);
        last.add(tokens, 1);
        pass.candidate_rows.push_back(static_cast<std::int64_t>(all.tokens.back()) - 1);
    }
    auto const candidates = here(pass.candidate_rows);
    bool const collective = variant.kind == Kind::collective;
    for (std::uint32_t l = 0; l < shape.layers; ++l) {
        bool const deepest = l + 1 == shape.layers;
        auto const site = layer_name(l);
        auto const states = normed(x);
        auto const keys = side(site, "k", collective, states, tokens_once, pass);
        auto const values = side(site, "v", collective, states, tokens_once, pass);
        auto const asking = deepest ? states.index_select(0, candidates) : states;
        if (deepest) x = x.index_select(0, candidates);
        auto const attended = operations->causal_attention(
            at::silu(linear(asking, site + ".wq")), keys, values, parameter(site + ".bias"),
            deepest ? last : all, shape.heads, shape.max_tokens);
        auto const gate = at::silu(linear(asking, site + ".wg"));
        x = x + linear(normed(attended) * gate, site + ".wo");
    }
    return x;
}

}  // namespace ckvsim::train
