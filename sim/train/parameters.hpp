// What training changes: values with their optimiser state.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

#include "train/adam.hpp"

namespace ckvsim::train {

/// First and second moments of Adam, of the shape and on the device of the values.
struct Moments {
    at::Tensor first;
    at::Tensor second;
    Moments() = default;
    explicit Moments(at::Tensor const& values)
        : first(at::zeros(values.sizes(), values.options().requires_grad(false))),
          second(at::zeros_like(first)) {}
};

/// A dense parameter.
struct Parameter {
    at::Tensor value;
    Moments moments;
};

/// An embedding table: only the rows that a batch touches enter the graph and are updated.
struct Table {
    std::string name;
    at::Tensor value;
    Moments moments;
    std::int64_t frozen_row = -1;  ///< padding
};

/// Of a Parameter or a Table on the CPU.
template <class Owner>
AdamArrays arrays_of(Owner const& owner) {
    return {owner.value.template data_ptr<float>(), owner.moments.first.template data_ptr<float>(),
            owner.moments.second.template data_ptr<float>()};
}

/// Values and moments of a Parameter or a Table. Those of another device travel through memory of
/// the CPU: the bytes of a state do not say where it was made.
template <class Archive, class Owner>
void archive_tensor(Archive& ar, Owner& owner) {
    for (auto const& tensor : {owner.value, owner.moments.first, owner.moments.second}) {
        auto const count = static_cast<std::uint64_t>(tensor.numel());
        auto const host = tensor.detach().cpu();  // itself on the CPU
        ar.fixed_size(count);
        ar.raw(host.template data_ptr<float>(), count * sizeof(float));
        if constexpr (Archive::kLoads) {
            if (!tensor.is_cpu()) tensor.detach().copy_(host);
        }
    }
}

}  // namespace ckvsim::train
