#include "train/autograd_ops.hpp"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "train/router_function.hpp"
#include "train/router_rows.hpp"

namespace ckvsim::train {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A block of logits stays in the L2 cache from one pass to the next where pools are small; where
// they are large it has rows enough for its products not to wait for the router's rows.
constexpr std::int64_t kBlockElements = 1 << 18;
constexpr std::int64_t kBlockRows = 128;

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

/// The router's rows by the kernels of router_rows.hpp.
class RowKernels {
  public:
    [[nodiscard]] static std::int64_t block_rows(std::int64_t pool) {
        return std::max(kBlockRows, kBlockElements / pool);
    }
    static void product_into(at::Tensor& out, at::Tensor const& a, at::Tensor const& b) {
        at::mm_out(out, a, b);
    }
    static void add_product(at::Tensor& out, at::Tensor const& a, at::Tensor const& b) {
        out.addmm_(a, b);
    }
    static void winners(at::Tensor const& logits, at::Tensor& winner, at::Tensor& index) {
        find_winners(block_of(logits), data_of(logits), winner.data_ptr<float>(),
                     index.data_ptr<std::int64_t>());
    }
    static void softmax(at::Tensor& logits, at::Tensor const& winner) {
        softmax_in_place(block_of(logits), data_of(winner), logits.data_ptr<float>());
    }
    static void gradient(RouterGradient const& of, at::Tensor const& softmax, at::Tensor& out) {
        balance_gradient(block_of(out), data_of(softmax), data_of(of.slope), data_of(of.counts),
                         data_of(of.winner), of.index.data_ptr<std::int64_t>(),
                         out.data_ptr<float>());
    }
};

RowKernels const kRowKernels;

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
    return route_by(kRowKernels, embeddings, router, counts, tokens, want_balance, team);
}

at::Tensor route_index(at::Tensor const& embeddings, at::Tensor const& router) {
    return route_index_by(kRowKernels, embeddings, router);
}

}  // namespace ckvsim::train
