// The small catalogue and model whose bytes tests of the ledger count by hand.
#pragma once

#include <cstdint>
#include <vector>

#include "model/sim.hpp"
#include "workload/population.hpp"

namespace ckvsim::test::ledger {

/// V = 99, two features with 100 and 11 rows.
inline workload::Catalogue catalogue() {
    workload::Catalogue c;
    c.items = 99;
    c.feature_names = {"item", "category"};
    c.feature_vocabularies = {100, 11};
    c.features.assign(2, std::vector<std::uint32_t>(100, 0));
    return c;
}

inline model::SimShape shape() {
    model::SimShape s;
    s.feature_dim = 8;  // d_e = 16
    s.attention_dim = 32;
    s.search_dim = 4;
    s.context_dim = 3;
    s.tower = {20, 10};
    return s;
}

}  // namespace ckvsim::test::ledger
