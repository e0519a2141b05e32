// SDIM's long branch within the network: what it stores is what it summed by.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "network_fixtures.hpp"
#include "train/sim_network.hpp"

namespace ckvsim::train {
namespace {

using test::planted_samples;
using test::pools_of;
using test::variant_of;

/// A trained network's file, and its buckets.
struct Stored {
    explicit Stored(SimNetwork const& network) {
        network.store(file);
        auto const values = file.tensor("ref.signature").as<std::uint8_t>();
        signatures.assign(values.begin(), values.end());
    }
    [[nodiscard]] bool collide(std::uint32_t a, std::uint32_t b) const {
        for (std::size_t h = 0; h < 4; ++h) {
            if (signatures[a * 4 + h] == signatures[b * 4 + h]) return true;
        }
        return false;
    }
    TensorFile file;
    std::vector<std::uint8_t> signatures;
};

TEST(BucketNetwork, StoresTheSidesOfItsPlanes) {
    auto const samples = planted_samples(false, Model::sdim);
    SimNetwork network(samples, variant_of(Kind::full), 1);
    TensorFile start;
    network.store(start);
    test::warm_up(network, samples);
    Stored const stored(network);
    auto const planes = stored.file.tensor("hash.planes").as<float>();
    EXPECT_EQ(stored.file.tensor("hash.planes").shape, (std::vector<std::int64_t>{12, 16}));
    EXPECT_EQ(stored.file.tensor("ref.signature").shape, (std::vector<std::int64_t>{61, 4}));
    auto const before = start.tensor("hash.planes").as<float>();
    EXPECT_TRUE(std::equal(planes.begin(), planes.end(), before.begin())) << "never trained";
    std::set<std::uint8_t> seen;
    for (std::size_t item = 0; item <= 60; ++item) {
        for (std::size_t h = 0; h < 4; ++h) {
            unsigned bucket = 0;
            for (std::size_t bit = 0; bit < 3; ++bit) {
                double sum = 0;
                for (std::size_t i = 0; i < 16; ++i) {
                    std::size_t const f = i / 8;
                    auto const table = stored.file.tensor("embed." + std::to_string(f));
                    auto const id = samples.item_features[f][item];
                    sum +=
                        double{planes[(h * 3 + bit) * 16 + i]} * table.as<float>()[id * 8 + i % 8];
                }
                bucket |= (sum > 0 ? 1U : 0U) << bit;
            }
            EXPECT_EQ(stored.signatures[item * 4 + h], bucket) << "item " << item << " hash " << h;
            seen.insert(stored.signatures[item * 4 + h]);
        }
    }
    EXPECT_EQ(seen.size(), 8U) << "the case must not be trivial";
}

TEST(BucketNetwork, HasNeitherProjectionsNorASearch) {
    auto const samples = planted_samples(false, Model::sdim);
    auto const pools = pools_of(Model::sdim, 1, 16);
    std::map<std::uint64_t, std::vector<float>> planes;
    for (auto const& [variant, seed] :
         {std::pair{variant_of(Kind::full), 1U}, {pools, 1U}, {pools, 2U}}) {
        SimNetwork network(samples, variant, seed);
        TensorFile file;
        network.store(file);
        for (auto const& [name, tensor] : file.tensors) {
            EXPECT_FALSE(name.starts_with("long") || name.starts_with("search")) << name;
        }
        auto const values = file.tensor("hash.planes").as<float>();
        std::vector<float> const own(values.begin(), values.end());
        auto const [known, is_new] = planes.emplace(seed, own);
        if (!is_new) {
            EXPECT_EQ(known->second, own) << "one seed's arms share their planes";
        }
        auto const batch = test::batch_of(samples, BatchBuilder::Mode::unique_items, 64);
        Ragged chosen;
        network.predict(batch, &chosen);
        EXPECT_EQ(chosen.lists(), 64U);
        EXPECT_TRUE(chosen.rows.empty());
        std::map<std::string, std::vector<float>> gradients;
        EXPECT_EQ(network.gradients(batch, gradients).search, 0.0);
        EXPECT_FALSE(gradients.contains("hash.planes"));
    }
    EXPECT_NE(planes.at(1), planes.at(2));
    TensorFile none;
    SimNetwork(samples, variant_of(Kind::mean_pool), 1).store(none);
    EXPECT_FALSE(none.has("hash.planes") || none.has("ref.signature"));
}

// A history item that is neither in the short window nor in a bucket of the candidate's has no
// gradient: the items with one betray what was summed.
TEST(BucketNetwork, LearnsFromCollidingItemsAlone) {
    auto samples = planted_samples(false, Model::sdim);
    samples.schedule.peak_weight = 0;
    samples.schedule.balance_weight = 0;
    for (auto const& variant : {variant_of(Kind::full), variant_of(Kind::full_silu),
                                pools_of(Model::sdim, 1, 16), pools_of(Model::sdim, 0, 16)}) {
        SimNetwork network(samples, variant, 1);
        test::warm_up(network, samples);
        Stored const stored(network);
        std::size_t found = 0;
        std::size_t left_out = 0;
        for (std::uint32_t sample = 0; sample < 256; ++sample) {
            Batch batch;
            BatchBuilder(samples).build(samples.train, std::span(&sample, 1), batch);
            std::uint32_t const candidate =
                batch.items[static_cast<std::size_t>(batch.candidates[0])];
            std::set<std::uint32_t> expected = {candidate};
            for (auto const row : batch.short_tokens.rows) expected.insert(batch.items[row]);
            std::size_t const without_sums = expected.size();
            for (auto const row : batch.long_tokens.rows) {
                if (stored.collide(batch.items[row], candidate)) {
                    expected.insert(batch.items[row]);
                }
            }
            std::map<std::string, std::vector<float>> gradients;
            network.gradients(batch, gradients);
            auto const& rows = gradients.at("embed.0");
            std::set<std::uint32_t> moved;
            for (std::size_t i = 0; i < rows.size(); ++i) {
                if (rows[i] != 0.0F) moved.insert(static_cast<std::uint32_t>(i / 8));
            }
            EXPECT_TRUE(std::includes(expected.begin(), expected.end(), moved.begin(), moved.end()))
                << to_string(variant.kind) << " sample " << sample;
            if (moved == expected) found += expected.size() - without_sums;
            left_out += batch.items.size() - expected.size();
        }
        EXPECT_GT(found, 100U) << "the case must not be trivial";
        EXPECT_GT(left_out, 100U) << "the case must not be trivial";
    }
}

}  // namespace
}  // namespace ckvsim::train
