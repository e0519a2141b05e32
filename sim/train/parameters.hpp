// What training changes: values with their optimiser state.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

#include "train/adam.hpp"

namespace ckvsim::train {

/// A dense parameter.
struct Parameter {
    at::Tensor value;
    AdamState adam;
};

/// An embedding table: only the rows that a batch touches enter the graph and are updated.
struct Table {
    std::string name;
    at::Tensor value;
    AdamState adam;
    std::int64_t frozen_row = -1;  ///< padding
};

/// Values and moments of a Parameter or a Table.
template <class Archive, class Owner>
void archive_tensor(Archive& ar, Owner& owner) {
    auto const count = static_cast<std::uint64_t>(owner.value.numel());
    for (auto* values : {owner.value.template data_ptr<float>(), owner.adam.first.data(),
                         owner.adam.second.data()}) {
        ar.fixed_size(count);
        ar.raw(values, count * sizeof(float));
    }
}

}  // namespace ckvsim::train
