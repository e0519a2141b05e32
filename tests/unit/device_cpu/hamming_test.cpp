// The search by signatures against bit-by-bit oracles, on every instruction set of this machine
// that was compiled.
#include "device/cpu/hamming.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/error.hpp"
#include "device/cpu/aligned.hpp"
#include "every_target.hpp"

namespace ckvsim::device::cpu {
namespace {

using Hamming = EveryTarget;

std::uint32_t differing_bits(std::uint64_t a, std::uint64_t b) {
    std::uint32_t count = 0;
    for (int bit = 0; bit < 64; ++bit) count += ((a ^ b) >> bit & 1U) != 0 ? 1 : 0;
    return count;
}

/// Positions by a full sort: nearest first, of equal distances the newer token.
std::vector<std::uint32_t> nearest(std::vector<std::uint32_t> const& distances, std::uint32_t k) {
    std::vector<std::uint32_t> order(distances.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return distances[a] != distances[b] ? distances[a] < distances[b] : a > b;
    });
    order.resize(std::min<std::size_t>(k, order.size()));
    std::sort(order.begin(), order.end());
    return order;
}

/// Signatures back to back, aligned as entries are, and nothing behind the last.
AlignedVector<std::byte> packed(std::vector<std::uint64_t> const& signatures, std::size_t bytes) {
    AlignedVector<std::byte> result(signatures.size() * bytes);
    for (std::size_t t = 0; t < signatures.size(); ++t)
        std::memcpy(result.data() + t * bytes, &signatures[t], bytes);
    return result;
}

void expect_nearest(std::vector<std::uint64_t> const& signatures, std::uint64_t query,
                    std::size_t bytes, std::uint32_t k) {
    SCOPED_TRACE(std::to_string(signatures.size()) + " tokens, k " + std::to_string(k) + ", " +
                 std::to_string(bytes) + " bytes");
    std::size_t const tokens = signatures.size();
    auto const table = packed(signatures, bytes);
    std::vector<std::uint8_t> distances(padded_distances(tokens) + 1, 0xEE);
    hamming_distances(query, table.data(), bytes, tokens, distances.data());
    std::vector<std::uint32_t> expected;
    for (std::uint64_t const signature : signatures)
        expected.push_back(differing_bits(signature, query));
    for (std::size_t t = 0; t < tokens; ++t) EXPECT_EQ(distances[t], expected[t]) << t;
    for (std::size_t t = tokens; t + 1 < distances.size(); ++t) EXPECT_GT(distances[t], 64) << t;
    EXPECT_EQ(distances.back(), 0xEE);
    std::vector<std::uint32_t> positions(std::size_t{k} + 1, 77);
    auto const chosen = select_nearest(distances.data(), tokens, k, positions.data());
    EXPECT_EQ(positions.back(), 77U);
    positions.resize(chosen);
    EXPECT_EQ(positions, nearest(expected, k));
}

TEST_P(Hamming, ChoiceIsThatOfAFullSort) {
    CounterRng rng(4, Purpose::test, 1);
    for (std::size_t const bytes : {1U, 2U, 4U, 8U}) {
        std::uint64_t const mask = bytes == 8 ? ~0ULL : (1ULL << (8 * bytes)) - 1;
        for (std::size_t const tokens : {0U, 1U, 2U, 15U, 63U, 64U, 65U, 200U, 1001U}) {
            std::vector<std::uint64_t> signatures(tokens);
            for (auto& signature : signatures) signature = rng.next_u64() & mask;
            for (std::uint32_t const k : {0U, 1U, 2U, 20U, 64U, 1000U, 5000U})
                expect_nearest(signatures, rng.next_u64() & mask, bytes, k);
        }
    }
}

TEST_P(Hamming, TiesGoToTheNewerToken) {
    CounterRng rng(4, Purpose::test, 2);
    for (std::size_t const bytes : {1U, 2U, 4U, 8U}) {
        // Two signatures only, or a single one: nearly everything is a tie.
        for (std::uint32_t const kinds : {1U, 2U, 3U}) {
            std::vector<std::uint64_t> signatures(333);
            for (auto& signature : signatures) signature = rng.below(kinds) * 0x55ULL;
            for (std::uint32_t const k : {1U, 7U, 100U, 332U, 333U})
                expect_nearest(signatures, 0x55, bytes, k);
        }
    }
}

TEST_P(Hamming, EveryDistanceOccurs) {
    std::vector<std::uint64_t> signatures = {0};
    for (int bit = 0; bit < 64; ++bit) signatures.push_back(signatures.back() << 1 | 1U);
    for (std::uint32_t k = 0; k <= 66; ++k) {
        expect_nearest(signatures, 0, 8, k);
        expect_nearest(signatures, ~0ULL, 8, k);
    }
}

TEST(Signatures, BitsAreTheSignsOfTheValues) {
    for (std::size_t const bits : {8U, 16U, 32U, 64U}) {
        std::size_t const step = bits + 3;
        auto values = random_floats(5 * step, bits);
        values[0] = 0.0F;
        values[1] = -0.0F;
        std::vector<std::byte> out(5 * bits / 8 + 1, std::byte{0x5A});
        pack_signs(values.data(), step, 5, bits, out.data());
        for (std::size_t i = 0; i < 5; ++i) {
            std::uint64_t const signature = load_signature(out.data() + i * bits / 8, bits / 8);
            for (std::size_t b = 0; b < bits; ++b)
                EXPECT_EQ(signature >> b & 1U, values[i * step + b] > 0.0F ? 1U : 0U);
            if (bits < 64) {
                EXPECT_EQ(signature >> bits, 0U);
            }
        }
        EXPECT_EQ(out.back(), std::byte{0x5A});
    }
}

TEST(Signatures, OtherWidthsAreRefused) {
    std::byte signature{};
    std::uint8_t distances[kDistancePad];
    EXPECT_THROW(hamming_distances(0, &signature, 3, 1, distances), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Targets, Hamming, ::testing::ValuesIn(compiled_targets()), target_name);

}  // namespace
}  // namespace ckvsim::device::cpu
