#include "train/autograd_ops.hpp"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <span>

#include "train/router_rows.hpp"

namespace ckvsim::train {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A block of logits stays in the L2 cache from one pass to the next where pools are small; where
// they are large it has rows enough for its products not to wait for the router's rows.
constexpr std::int64_t kBlockElements = 1 << 18;
constexpr std::int64_t kBlockRows = 128;
// Softmax kept between forward and backward up to this size per router; beyond it, recomputing
// costs one GEMM of four and keeps four routers of 10,000 rows far below the memory budget.
constexpr std::int64_t kKeepElements = 1 << 26;

std::int64_t block_rows(at::Tensor const& router) {
    return std::max(kBlockRows, kBlockElements / router.size(0));
}

float const* data_of(at::Tensor const& tensor) { return tensor.data_ptr<float>(); }

RouterBlock block_of(at::Tensor const& logits) {
    return {static_cast<std::size_t>(logits.size(0)), static_cast<std::size_t>(logits.size(1))};
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
  public:
    static at::Tensor forward(AutogradContext* context, at::Tensor const& queries,
                              at::Tensor const& keys, at::Tensor const& values,
                              Ragged const* tokens, std::int64_t heads, double scale) {
        auto const q = queries.contiguous();
        auto const k = keys.contiguous();
        auto const v = values.contiguous();
        AttentionShape const shape{static_cast<std::size_t>(heads),
                                   static_cast<std::size_t>(k.size(1)),
                                   static_cast<std::size_t>(v.size(1)), static_cast<float>(scale)};
        auto out = at::empty({q.size(0), v.size(1)}, v.options());
        auto weights =
            at::empty({static_cast<std::int64_t>(tokens->rows.size()) * heads}, v.options());
        attention_forward(shape, *tokens, data_of(q), data_of(k), data_of(v), out.data_ptr<float>(),
                          weights.data_ptr<float>());
        context->save_for_backward({q, k, v, weights});
        context->saved_data["tokens"] = reinterpret_cast<std::int64_t>(tokens);
        context->saved_data["heads"] = heads;
        context->saved_data["scale"] = scale;
        return out;
    }

    static variable_list backward(AutogradContext* context, variable_list const& grad_outputs) {
        auto const saved = context->get_saved_variables();
        auto const& q = saved[0];
        auto const& k = saved[1];
        auto const& v = saved[2];
        auto const* tokens = reinterpret_cast<Ragged const*>(context->saved_data["tokens"].toInt());
        AttentionShape const shape{static_cast<std::size_t>(context->saved_data["heads"].toInt()),
                                   static_cast<std::size_t>(k.size(1)),
                                   static_cast<std::size_t>(v.size(1)),
                                   static_cast<float>(context->saved_data["scale"].toDouble())};
        auto const grad_out = grad_outputs[0].contiguous();
        variable_list grads(6);
        float* targets[3] = {};
        for (std::size_t i = 0; i < 3; ++i) {
            if (!context->needs_input_grad(i)) continue;
            grads[i] = at::zeros_like(saved[i]);
            targets[i] = grads[i].data_ptr<float>();
        }
        attention_backward(shape, *tokens, data_of(q), data_of(k), data_of(v), data_of(saved[3]),
                           data_of(grad_out), targets[0], targets[1], targets[2]);
        return grads;
    }
};

class CollisionFunction : public torch::autograd::Function<CollisionFunction> {
  public:
    static at::Tensor forward(AutogradContext* context, at::Tensor const& embeddings,
                              Collisions const* collisions) {
        auto const table = embeddings.contiguous();
        auto out =
            at::empty({static_cast<std::int64_t>(collisions->tokens->lists()), table.size(1)},
                      table.options());
        collision_means_forward(*collisions, static_cast<std::size_t>(table.size(1)),
                                data_of(table), out.data_ptr<float>());
        context->save_for_backward({table});
        context->saved_data["collisions"] = reinterpret_cast<std::int64_t>(collisions);
        return out;
    }

    static variable_list backward(AutogradContext* context, variable_list const& grad_outputs) {
        auto const table = context->get_saved_variables()[0];
        auto const* collisions =
            reinterpret_cast<Collisions const*>(context->saved_data["collisions"].toInt());
        auto const grad_out = grad_outputs[0].contiguous();
        auto grad = at::zeros_like(table);
        collision_means_backward(*collisions, static_cast<std::size_t>(table.size(1)),
                                 data_of(table), data_of(grad_out), grad.data_ptr<float>());
        return {grad, at::Tensor()};
    }
};

class CausalFunction : public torch::autograd::Function<CausalFunction> {
  public:
    static at::Tensor forward(AutogradContext* context, at::Tensor const& queries,
                              at::Tensor const& keys, at::Tensor const& values,
                              at::Tensor const& biases, Sequences const* sequences,
                              std::int64_t heads, double divisor) {
        auto const q = queries.contiguous();
        auto const k = keys.contiguous();
        auto const v = values.contiguous();
        auto const bias = biases.contiguous();
        auto out = at::empty_like(q);
        causal_attention_forward(shape_of(q, heads, divisor), *sequences, data_of(q), data_of(k),
                                 data_of(v), data_of(bias), out.data_ptr<float>());
        context->save_for_backward({q, k, v, bias});
        context->saved_data["sequences"] = reinterpret_cast<std::int64_t>(sequences);
        context->saved_data["heads"] = heads;
        context->saved_data["divisor"] = divisor;
        return out;
    }

    static variable_list backward(AutogradContext* context, variable_list const& grad_outputs) {
        auto const saved = context->get_saved_variables();
        auto const* sequences =
            reinterpret_cast<Sequences const*>(context->saved_data["sequences"].toInt());
        auto const shape = shape_of(saved[0], context->saved_data["heads"].toInt(),
                                    context->saved_data["divisor"].toDouble());
        auto const grad_out = grad_outputs[0].contiguous();
        variable_list grads(7);
        for (std::size_t i = 0; i < 4; ++i) grads[i] = at::zeros_like(saved[i]);
        causal_attention_backward(shape, *sequences, data_of(saved[0]), data_of(saved[1]),
                                  data_of(saved[2]), data_of(saved[3]), data_of(grad_out),
                                  {grads[0].data_ptr<float>(), grads[1].data_ptr<float>(),
                                   grads[2].data_ptr<float>(), grads[3].data_ptr<float>()});
        return grads;
    }

  private:
    static CausalShape shape_of(at::Tensor const& q, std::int64_t heads, double divisor) {
        return {static_cast<std::size_t>(heads), static_cast<std::size_t>(q.size(1)),
                static_cast<float>(divisor)};
    }
};

class RouterFunction : public torch::autograd::Function<RouterFunction> {
  public:
    static variable_list forward(AutogradContext* context, at::Tensor const& embeddings,
                                 at::Tensor const& router, at::Tensor const& counts, double tokens,
                                 bool want_balance, Team* team) {
        std::int64_t const items = embeddings.size(0);
        std::int64_t const pool = router.size(0);
        auto const options = embeddings.options();
        auto winner = at::empty({items}, options);
        auto index = at::empty({items}, options.dtype(at::kLong));
        auto mean = at::zeros({pool}, options);
        bool const keep = want_balance && items * pool <= kKeepElements;
        auto kept = keep ? at::empty({items, pool}, options) : at::Tensor();
        auto const rows = block_rows(router);
        auto scratch = at::empty({keep ? 0 : std::min(rows, items), pool}, options);
        for (std::int64_t at = 0; at < items; at += rows) {
            auto const count = std::min(rows, items - at);
            auto logits = keep ? kept.narrow(0, at, count) : scratch.narrow(0, 0, count);
            at::mm_out(logits, embeddings.narrow(0, at, count), router.t());
            RouterBlock const block = block_of(logits);
            find_winners(block, data_of(logits), winner.data_ptr<float>() + at,
                         index.data_ptr<std::int64_t>() + at);
            if (!want_balance) continue;
            softmax_in_place(block, data_of(winner) + at, logits.data_ptr<float>());
            mean.add_(at::mv(logits.t(), counts.narrow(0, at, count)));
        }
        at::Tensor balance = at::zeros({}, options);
        if (want_balance) {
            team->sum(std::span(mean.data_ptr<float>(), static_cast<std::size_t>(pool)));
            // The floor keeps the logarithm finite for pool rows whose probability underflows.
            mean = mean.div(tokens).clamp_min(1e-30);
            balance = (mean * (mean * static_cast<double>(pool)).log()).sum();
        }
        context->save_for_backward({embeddings, router, counts, index, mean, winner, kept});
        context->saved_data["tokens"] = tokens;
        context->saved_data["want_balance"] = want_balance;
        context->mark_non_differentiable({index});
        return {winner, balance, index};
    }

    static variable_list backward(AutogradContext* context, variable_list const& grad_outputs) {
        auto const saved = context->get_saved_variables();
        auto const& embeddings = saved[0];
        auto const& router = saved[1];
        auto const& counts = saved[2];
        auto const& index = saved[3];
        auto const& mean = saved[4];
        auto const& winner = saved[5];
        auto const& kept = saved[6];
        bool const want_balance = context->saved_data["want_balance"].toBool();
        std::int64_t const items = embeddings.size(0);
        // d balance / d mean, up to a constant that the softmax's gradient cancels.
        auto const slope = (mean * static_cast<double>(mean.size(0))).log() * grad_outputs[1] /
                           context->saved_data["tokens"].toDouble();
        auto grad_embeddings = at::empty_like(embeddings);
        auto grad_router = at::zeros_like(router);
        auto const grad_winner = grad_outputs[0].contiguous();
        auto const weights = counts.contiguous();
        auto const rows = block_rows(router);
        auto scratch = at::empty({std::min(rows, items), router.size(0)}, router.options());
        for (std::int64_t at = 0; at < items; at += rows) {
            auto const count = std::min(rows, items - at);
            auto const block = embeddings.narrow(0, at, count);
            auto gradient = scratch.narrow(0, 0, count);
            if (want_balance) {
                auto const softmax = kept.defined() ? kept.narrow(0, at, count) : gradient;
                RouterBlock const shape = block_of(gradient);
                if (!kept.defined()) {
                    at::mm_out(gradient, block, router.t());
                    softmax_in_place(shape, data_of(winner) + at, gradient.data_ptr<float>());
                }
                balance_gradient(shape, data_of(softmax), data_of(slope), data_of(weights) + at,
                                 data_of(grad_winner) + at, index.data_ptr<std::int64_t>() + at,
                                 gradient.data_ptr<float>());
            } else {
                gradient.zero_();
                gradient.scatter_(1, index.narrow(0, at, count).unsqueeze(1),
                                  grad_winner.narrow(0, at, count).unsqueeze(1));
            }
            auto target = grad_embeddings.narrow(0, at, count);
            at::mm_out(target, gradient, router);
            grad_router.addmm_(gradient.t(), block);
        }
        return {grad_embeddings, grad_router,  at::Tensor(),
                at::Tensor(),    at::Tensor(), at::Tensor()};
    }
};

}  // namespace

at::Tensor ragged_attention(at::Tensor const& queries, at::Tensor const& keys,
                            at::Tensor const& values, Ragged const& tokens, std::int64_t heads,
                            double scale) {
    return AttentionFunction::apply(queries, keys, values, &tokens, heads, scale);
}

at::Tensor collision_means(at::Tensor const& embeddings, Collisions const& collisions) {
    return CollisionFunction::apply(embeddings, &collisions);
}

at::Tensor causal_attention(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                            at::Tensor const& bias, Sequences const& sequences, std::int64_t heads,
                            double divisor) {
    return CausalFunction::apply(q, k, v, bias, &sequences, heads, divisor);
}

Routing route(at::Tensor const& embeddings, at::Tensor const& router, at::Tensor const& counts,
              double tokens, bool want_balance, Team& team) {
    auto const out =
        RouterFunction::apply(embeddings.contiguous(), router, counts, tokens, want_balance, &team);
    return {out[2], out[0], out[1]};
}

at::Tensor route_index(at::Tensor const& embeddings, at::Tensor const& router) {
    at::NoGradGuard const no_grad;
    std::int64_t const items = embeddings.size(0);
    auto index = at::empty({items}, embeddings.options().dtype(at::kLong));
    auto const rows = block_rows(router);
    for (std::int64_t at = 0; at < items; at += rows) {
        auto const count = std::min(rows, items - at);
        index.narrow(0, at, count)
            .copy_(at::mm(embeddings.narrow(0, at, count), router.t()).argmax(1));
    }
    return index;
}

}  // namespace ckvsim::train
