// Vectors as tensors and back.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <vector>

namespace ckvsim::train {

/// The values where they are: valid as long as these.
inline at::Tensor view_of(std::span<float const> values) {
    return at::from_blob(const_cast<float*>(values.data()),
                         {static_cast<std::int64_t>(values.size())}, at::kFloat);
}
inline at::Tensor view_of(std::vector<std::int64_t> const& values) {
    return at::from_blob(const_cast<std::int64_t*>(values.data()),
                         {static_cast<std::int64_t>(values.size())}, at::kLong);
}

/// A copy in memory of the CPU, without a gradient.
inline std::vector<float> values_of(at::Tensor const& tensor) {
    auto const flat = tensor.detach().cpu().contiguous();
    auto const* const data = flat.data_ptr<float>();
    return {data, data + flat.numel()};
}

/// Writes `values`, one for each of its elements, into the tensor, wherever it is; no gradient.
inline void assign(at::Tensor const& tensor, std::span<float const> values) {
    tensor.detach().copy_(view_of(values).view(tensor.sizes()));
}

}  // namespace ckvsim::train
