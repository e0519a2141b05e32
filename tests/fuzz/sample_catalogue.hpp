// The catalogue that the weight seeds belong to.
#pragma once

#include "workload/population.hpp"

namespace ckvsim::fuzz {

inline workload::Catalogue sample_catalogue() {
    workload::Catalogue catalogue;
    catalogue.items = 5;
    catalogue.feature_names = {"item", "category"};
    catalogue.feature_vocabularies = {6, 3};
    catalogue.features = {{0, 1, 2, 3, 4, 5}, {0, 1, 2, 1, 2, 0}};
    return catalogue;
}

}  // namespace ckvsim::fuzz
