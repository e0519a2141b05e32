// SDIM's buckets and sums against plain loops, on every instruction set of this machine that was
// compiled.
#include "device/cpu/bucket_sums.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "every_target.hpp"

namespace ckvsim::device::cpu {
namespace {

using Buckets = EveryTarget;

constexpr std::array<std::size_t, 9> kWidths = {1, 3, 8, 15, 16, 17, 33, 64, 100};

TEST_P(Buckets, AreTheSignsOfTheirPlanesLowBitsFirst) {
    for (auto const& [hashes, bits] :
         {std::pair<std::size_t, std::size_t>{1, 1}, {16, 3}, {5, 2}, {64, 8}}) {
        std::size_t const step = padded(hashes * bits);
        auto projected = random_floats(3 * step, hashes);
        projected[0] = 0.0F;  // on a plane is not above it
        std::vector<std::byte> packed(3 * hashes + 1, std::byte{0xEE});
        pack_buckets(projected.data(), step, 3, hashes, bits, packed.data());
        for (std::size_t r = 0; r < 3; ++r) {
            for (std::size_t h = 0; h < hashes; ++h) {
                unsigned expected = 0;
                for (std::size_t b = 0; b < bits; ++b)
                    expected += projected[r * step + h * bits + b] > 0.0F ? 1U << b : 0;
                EXPECT_EQ(std::to_integer<unsigned>(packed[r * hashes + h]), expected);
            }
        }
        EXPECT_EQ(std::to_integer<unsigned>(packed.back()), 0xEEU);
    }
}

TEST_P(Buckets, RowsAreAddedWhereTheyAreAskedFor) {
    for (std::size_t const width : kWidths) {
        auto const row = random_floats(width, 1);
        auto const before = random_floats(5 * width, 2);
        auto sums = before;
        sums.push_back(kPoison);
        std::vector<std::uint32_t> const places = {4, 0};
        add_to_rows(row.data(), width, places.data(), places.size(), sums.data());
        for (std::size_t r = 0; r < 5; ++r) {
            for (std::size_t i = 0; i < width; ++i) {
                float const old = before[r * width + i];
                EXPECT_EQ(sums[r * width + i], r == 0 || r == 4 ? old + row[i] : old);
            }
        }
        EXPECT_EQ(sums.back(), kPoison);
    }
}

TEST_P(Buckets, UnitLengthLeavesZerosAlone) {
    for (std::size_t const width : kWidths) {
        auto row = random_floats(width, 3, 20.0);
        double length = 0.0;
        for (float const x : row) length += double{x} * x;
        length = std::sqrt(length);
        auto unit = row;
        unit.push_back(kPoison);
        to_unit_length(unit.data(), width);
        for (std::size_t i = 0; i < width; ++i) EXPECT_NEAR(unit[i], row[i] / length, 1e-6);
        EXPECT_EQ(unit.back(), kPoison);
        std::vector<float> zeros(width, 0.0F);
        to_unit_length(zeros.data(), width);
        EXPECT_EQ(zeros, std::vector<float>(width, 0.0F));
    }
}

TEST_P(Buckets, MeansAreOfTheRowsAtTheirPlaces) {
    for (std::size_t const width : kWidths) {
        auto const rows = random_floats(6 * width, 4);
        std::vector<std::uint32_t> const places = {5, 2, 2};
        std::vector<float> mean(width + 1, kPoison);
        mean_of_rows(rows.data(), width, places.data(), places.size(), mean.data());
        for (std::size_t i = 0; i < width; ++i) {
            double const sum = double{rows[5 * width + i]} + 2.0 * rows[2 * width + i];
            EXPECT_NEAR(mean[i], sum / 3, 1e-6);
        }
        EXPECT_EQ(mean.back(), kPoison);
    }
}

model::SimWeights two_hashes() {
    model::SimWeights weights;
    weights.shape.kind = model::ModelKind::sdim;
    weights.shape.hashes = 2;
    weights.shape.hash_bits = 2;
    weights.d_e = 1;
    return weights;
}

std::vector<std::byte> bytes(std::vector<int> const& values) {
    std::vector<std::byte> result;
    for (int const value : values) result.push_back(static_cast<std::byte>(value));
    return result;
}

TEST(WantedRows, AreNumberedInTheOrderOfAskingAndForgotten) {
    BucketShape const shape(two_hashes());
    ASSERT_EQ(shape.rows(), 8U);
    WantedRows wanted;
    wanted.clear(shape);
    auto const first = bytes({3, 1});
    auto const second = bytes({3, 0});
    wanted.add(shape, first.data());
    wanted.add(shape, second.data());
    EXPECT_TRUE(std::ranges::equal(wanted.rows(), std::vector<std::uint32_t>{3, 5, 4}));
    std::vector<std::uint32_t> places(2, 77);
    EXPECT_EQ(wanted.find(shape, second.data(), places.data()), 2U);
    EXPECT_EQ(places, (std::vector<std::uint32_t>{0, 2}));
    auto const third = bytes({0, 1});
    EXPECT_EQ(wanted.find(shape, third.data(), places.data()), 1U);
    EXPECT_EQ(places[0], 1U);
    wanted.clear(shape);
    EXPECT_TRUE(wanted.rows().empty());
    EXPECT_EQ(wanted.find(shape, first.data(), places.data()), 0U);
    wanted.add_all(shape);
    EXPECT_EQ(wanted.rows().size(), 8U);
}

TEST(WantedRows, AreSummedFromTheTokensInThemAlone) {
    BucketShape const shape(two_hashes());
    std::vector<float> const embeddings = {0.0F, 1.0F, 10.0F, 100.0F};
    // Of items 0 .. 3.
    auto const table = bytes({0, 0, 1, 2, 1, 3, 0, 2});
    std::vector<ItemId> const tokens = {1, 2, 3, 2};
    WantedRows wanted;
    wanted.clear(shape);
    wanted.add(shape, table.data() + 1 * 2);
    std::vector<std::uint32_t> places;
    std::vector<float> sums(2, kPoison);
    sum_wanted(shape, wanted, tokens, {table.data(), tokens.data()}, embeddings.data(), places,
               sums.data());
    EXPECT_EQ(sums[0], 1.0F + 10.0F + 10.0F) << "bucket 1 of the first hash";
    EXPECT_EQ(sums[1], 1.0F + 100.0F) << "bucket 2 of the second";
    // Buckets token by token give the same.
    auto const in_order = bytes({1, 2, 1, 3, 0, 2, 1, 3});
    std::vector<float> again(2, kPoison);
    sum_wanted(shape, wanted, tokens, {in_order.data(), nullptr}, embeddings.data(), places,
               again.data());
    EXPECT_EQ(again, sums);
}

INSTANTIATE_TEST_SUITE_P(Targets, Buckets, ::testing::ValuesIn(compiled_targets()), target_name);

}  // namespace
}  // namespace ckvsim::device::cpu
