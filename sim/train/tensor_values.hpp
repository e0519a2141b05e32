// Vectors as tensors and back.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace ckvsim::train {

/// The values where they are: valid as long as the vector.
inline at::Tensor view_of(std::vector<float> const& values) {
    return at::from_blob(const_cast<float*>(values.data()),
                         {static_cast<std::int64_t>(values.size())}, at::kFloat);
}
inline at::Tensor view_of(std::vector<std::int64_t> const& values) {
    return at::from_blob(const_cast<std::int64_t*>(values.data()),
                         {static_cast<std::int64_t>(values.size())}, at::kLong);
}

/// A copy, without a gradient.
inline std::vector<float> values_of(at::Tensor const& tensor) {
    auto const flat = tensor.detach().contiguous();
    auto const* const data = flat.data_ptr<float>();
    return {data, data + flat.numel()};
}

}  // namespace ckvsim::train
