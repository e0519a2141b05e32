// The router with its gradients over blocks of rows, for any way to compute a block; private to the
// sources that have one.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>

#include "train/autograd_ops.hpp"

namespace ckvsim::train {

/// What a block of rows needs for the gradient of its logits, see balance_gradient in
/// router_rows.hpp.
struct RouterGradient {
    at::Tensor slope;   ///< [m]
    at::Tensor counts;  ///< [rows]
    at::Tensor winner;  ///< [rows] gradients of the winning logits
    at::Tensor index;   ///< [rows]
};

// Softmax kept between forward and backward up to this size per router; beyond it, recomputing
// costs one GEMM of four and keeps four routers of 10,000 rows far below the memory budget.
inline constexpr std::int64_t kKeepElements = 1 << 26;

/// The sum over the ranks, in place; through memory of the CPU.
inline void sum_over(Team& team, at::Tensor const& values) {
    if (team.size() == 1) return;
    auto const host = values.cpu();
    team.sum(std::span(host.data_ptr<float>(), static_cast<std::size_t>(host.numel())));
    if (!values.is_cpu()) values.copy_(host);
}

/// `Rows` has, of blocks of rows:
///   block_rows(pool)                          how many at a time
///   product_into(out, a, b), add_product(..)  out = a b, out += a b
///   winners(logits, winner, index)            the largest logit and its place, the first of equal
///   softmax(logits, winner)                   in place
///   gradient(RouterGradient, softmax, out)    of the logits; `out` may be `softmax`
template <class Rows>
class RouterFunction : public torch::autograd::Function<RouterFunction<Rows>> {
  public:
    using Context = torch::autograd::AutogradContext;
    using Variables = torch::autograd::variable_list;

    static Variables forward(Context* context, at::Tensor const& embeddings,
                             at::Tensor const& router, at::Tensor const& counts, double tokens,
                             bool want_balance, Team* team, Rows const* rows_of) {
        std::int64_t const items = embeddings.size(0);
        std::int64_t const pool = router.size(0);
        auto const options = embeddings.options();
        auto winner = at::empty({items}, options);
        auto index = at::empty({items}, options.dtype(at::kLong));
        auto mean = at::zeros({pool}, options);
        bool const keep = want_balance && items * pool <= kKeepElements;
        auto kept = keep ? at::empty({items, pool}, options) : at::Tensor();
        auto const rows = rows_of->block_rows(pool);
        auto scratch = at::empty({keep ? 0 : std::min(rows, items), pool}, options);
        for (std::int64_t at = 0; at < items; at += rows) {
            auto const count = std::min(rows, items - at);
            auto logits = keep ? kept.narrow(0, at, count) : scratch.narrow(0, 0, count);
            rows_of->product_into(logits, embeddings.narrow(0, at, count), router.t());
            auto own_winner = winner.narrow(0, at, count);
            auto own_index = index.narrow(0, at, count);
            rows_of->winners(logits, own_winner, own_index);
            if (!want_balance) continue;
            rows_of->softmax(logits, own_winner);
            mean.add_(at::mv(logits.t(), counts.narrow(0, at, count)));
        }
        at::Tensor balance = at::zeros({}, options);
        if (want_balance) {
            sum_over(*team, mean);
            // The floor keeps the logarithm finite for pool rows whose probability underflows.
            mean = mean.div(tokens).clamp_min(1e-30);
            balance = (mean * (mean * static_cast<double>(pool)).log()).sum();
        }
        context->save_for_backward({embeddings, router, counts, index, mean, winner, kept});
        context->saved_data["tokens"] = tokens;
        context->saved_data["want_balance"] = want_balance;
        context->saved_data["rows"] = reinterpret_cast<std::int64_t>(rows_of);
        context->mark_non_differentiable({index});
        return {winner, balance, index};
    }

    static Variables backward(Context* context, Variables const& grad_outputs) {
        auto const saved = context->get_saved_variables();
        auto const& embeddings = saved[0];
        auto const& router = saved[1];
        auto const& counts = saved[2];
        auto const& index = saved[3];
        auto const& mean = saved[4];
        auto const& winner = saved[5];
        auto const& kept = saved[6];
        bool const want_balance = context->saved_data["want_balance"].toBool();
        auto const* rows_of = reinterpret_cast<Rows const*>(context->saved_data["rows"].toInt());
        std::int64_t const items = embeddings.size(0);
        // d balance / d mean, up to a constant that the softmax's gradient cancels.
        auto const slope = (mean * static_cast<double>(mean.size(0))).log() * grad_outputs[1] /
                           context->saved_data["tokens"].toDouble();
        auto grad_embeddings = at::empty_like(embeddings);
        auto grad_router = at::zeros_like(router);
        auto const grad_winner = grad_outputs[0].contiguous();
        auto const weights = counts.contiguous();
        auto const rows = rows_of->block_rows(router.size(0));
        auto scratch = at::empty({std::min(rows, items), router.size(0)}, router.options());
        for (std::int64_t at = 0; at < items; at += rows) {
            auto const count = std::min(rows, items - at);
            auto const block = embeddings.narrow(0, at, count);
            auto gradient = scratch.narrow(0, 0, count);
            if (want_balance) {
                auto const softmax = kept.defined() ? kept.narrow(0, at, count) : gradient;
                if (!kept.defined()) {
                    rows_of->product_into(gradient, block, router.t());
                    rows_of->softmax(gradient, winner.narrow(0, at, count));
                }
                rows_of->gradient({slope, weights.narrow(0, at, count),
                                   grad_winner.narrow(0, at, count), index.narrow(0, at, count)},
                                  softmax, gradient);
            } else {
                gradient.zero_();
                gradient.scatter_(1, index.narrow(0, at, count).unsqueeze(1),
                                  grad_winner.narrow(0, at, count).unsqueeze(1));
            }
            auto target = grad_embeddings.narrow(0, at, count);
            rows_of->product_into(target, gradient, router);
            rows_of->add_product(grad_router, gradient.t(), block);
        }
        Variables grads(7);
        grads[0] = grad_embeddings;
        grads[1] = grad_router;
        return grads;
    }
};

/// route() of autograd_ops.hpp. `rows` must live until backward has run.
template <class Rows>
Routing route_by(Rows const& rows, at::Tensor const& embeddings, at::Tensor const& router,
                 at::Tensor const& counts, double tokens, bool want_balance, Team& team) {
    auto const out = RouterFunction<Rows>::apply(embeddings.contiguous(), router, counts, tokens,
                                                 want_balance, &team, &rows);
    return {out[2], out[0], out[1]};
}

/// route_index() of autograd_ops.hpp.
template <class Rows>
at::Tensor route_index_by(Rows const& rows_of, at::Tensor const& embeddings,
                          at::Tensor const& router) {
    at::NoGradGuard const no_grad;
    std::int64_t const items = embeddings.size(0);
    auto index = at::empty({items}, embeddings.options().dtype(at::kLong));
    auto const rows = rows_of.block_rows(router.size(0));
    auto scratch = at::empty({std::min(rows, items), router.size(0)}, router.options());
    for (std::int64_t at = 0; at < items; at += rows) {
        auto const count = std::min(rows, items - at);
        auto logits = scratch.narrow(0, 0, count);
        rows_of.product_into(logits, embeddings.narrow(0, at, count), router.t());
        index.narrow(0, at, count).copy_(logits.argmax(1));
    }
    return index;
}

}  // namespace ckvsim::train
