// A piece of a computation that keeps its inputs alone: the backward pass computes it again.
#pragma once

#include <torch/types.h>

#include <array>
#include <functional>

namespace ckvsim::train {

/// Inputs of a piece, the first of them defined; it sees empty tensors for those that are not.
using PieceInputs = std::array<at::Tensor, 4>;
/// Must give the same result for the same inputs, whenever it is called, and must not change them.
using Piece = std::function<at::Tensor(PieceInputs const&)>;

/// piece(inputs), whose gradients are those of automatic differentiation. What it holds between the
/// forward and the backward pass are the inputs and what `piece` has captured.
at::Tensor recomputed(PieceInputs const& inputs, Piece piece);

}  // namespace ckvsim::train
