// The catalogue that a sample file describes, for tests that serve what they trained.
#pragma once

#include "train/samples.hpp"
#include "workload/population.hpp"

namespace ckvsim::test {

inline workload::Catalogue catalogue_of(train::Samples const& samples) {
    workload::Catalogue catalogue;
    catalogue.items = samples.items;
    catalogue.feature_names = {"item", "category"};
    catalogue.feature_vocabularies = samples.feature_vocabularies;
    catalogue.features = samples.item_features;
    return catalogue;
}

}  // namespace ckvsim::test
