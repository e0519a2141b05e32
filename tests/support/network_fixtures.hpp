// Networks of planted samples: the small cases of tests/unit/train_torch.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "planted_samples.hpp"
#include "temporary_folder.hpp"
#include "train/batch.hpp"
#include "train/sim_network.hpp"

namespace ckvsim::test {

inline train::Samples planted_samples(bool straight_through = false,
                                      train::Model model = train::Model::sim) {
    TemporaryFolder const folder;
    PlantedSamples planted;
    planted.set_model(train::to_string(model));
    planted.file().set("straight_through", std::int64_t{straight_through ? 1 : 0});
    planted.file().write(folder.path("a.ckvt"));
    return train::read_samples(folder.path("a.ckvt"));
}

inline train::VariantSpec variant_of(train::Kind kind, train::Scope scope = train::Scope::released,
                                     std::uint32_t d_u = 0, std::uint32_t m = 0,
                                     train::Sides sides = train::Sides::both) {
    return {kind, scope, d_u, m, "test", sides};
}

/// Pools in every site that the model can have them in.
inline train::VariantSpec pools_of(train::Model model, std::uint32_t d_u, std::uint32_t m) {
    auto const widest = model == train::Model::sdim ? train::Scope::released : train::Scope::all;
    return variant_of(train::Kind::collective, widest, d_u, m);
}

inline train::Batch batch_of(train::Samples const& samples, train::BatchBuilder::Mode mode,
                             std::size_t size) {
    std::vector<std::uint32_t> rows(size);
    std::iota(rows.begin(), rows.end(), 0U);
    train::Batch batch;
    train::BatchBuilder(samples, mode).build(samples.train, rows, batch);
    return batch;
}

/// Some steps away from the start, where softmaxes are nearly uniform and errors would hide.
inline void warm_up(train::SimNetwork& network, train::Samples const& samples) {
    train::BatchBuilder builder(samples);
    train::Batch batch;
    auto const order = train::epoch_order(samples.train.size(), 1, 1);
    for (std::size_t at = 0; at + 64 <= order.size(); at += 64) {
        builder.build(samples.train, std::span(order).subspan(at, 64), batch);
        network.train_step(batch);
    }
}

}  // namespace ckvsim::test
