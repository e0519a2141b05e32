#include "train/recomputed.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace ckvsim::train {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A piece as a value that the graph can hold.
struct Held final : torch::CustomClassHolder {
    explicit Held(Piece own) : piece(std::move(own)) {}
    Piece piece;
};

class RecomputedFunction : public torch::autograd::Function<RecomputedFunction> {
  public:
    static at::Tensor forward(AutogradContext* context, at::Tensor const& a, at::Tensor const& b,
                              at::Tensor const& c, at::Tensor const& d,
                              c10::intrusive_ptr<Held> const& held) {
        context->save_for_backward({a, b, c, d});
        context->saved_data["piece"] = c10::IValue::make_capsule(held);
        return held->piece({a, b, c, d});
    }

    static variable_list backward(AutogradContext* context, variable_list const& grad_outputs) {
        auto const saved = context->get_saved_variables();
        auto const capsule = context->saved_data["piece"].toCapsule();
        auto const& piece = static_cast<Held const&>(*capsule).piece;
        at::AutoGradMode const graph(true);
        PieceInputs inputs;
        std::vector<std::size_t> wanted;
        variable_list leaves;
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            inputs[i] = saved[i].detach();
            if (!context->needs_input_grad(i)) continue;
            inputs[i].requires_grad_(true);
            wanted.push_back(i);
            leaves.push_back(inputs[i]);
        }
        variable_list gradients(5);
        for (auto const i : wanted) gradients[i] = at::zeros_like(saved[i]);
        auto const out = piece(inputs);
        if (!out.requires_grad()) return gradients;
        auto const found = torch::autograd::grad({out}, leaves, {grad_outputs[0]}, {},
                                                 /*create_graph=*/false, /*allow_unused=*/true);
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            if (found[i].defined()) gradients[wanted[i]] = found[i];
        }
        return gradients;
    }
};

}  // namespace

at::Tensor recomputed(PieceInputs const& inputs, Piece piece) {
    auto const held = c10::make_intrusive<Held>(std::move(piece));
    // libtorch wants tensors that have a device.
    auto const given = [&](std::size_t i) {
        return inputs[i].defined() ? inputs[i] : at::empty({0}, inputs[0].options());
    };
    return RecomputedFunction::apply(given(0), given(1), given(2), given(3), held);
}

}  // namespace ckvsim::train
