#include "core/hash.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace ckvsim {
namespace {

TEST(Hash, IsXxh3WithTheDocumentedEmptyValue) {
    // XXH3_64bits of no input and seed 0, from the xxHash specification's test vectors.
    EXPECT_EQ(hash_bytes(nullptr, 0), 0x2D06800538D394C2ULL);
    std::vector<std::uint32_t> const values = {1, 2, 3};
    EXPECT_EQ(hash_span<std::uint32_t>(values), hash_bytes(values.data(), 12));
    EXPECT_NE(hash_span<std::uint32_t>(values, 1), hash_span<std::uint32_t>(values));
}

TEST(UnorderedHash, DoesNotDependOnOrderOrGrouping) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs;
    for (std::uint64_t i = 0; i < 1000; ++i) pairs.emplace_back(i, i * i);
    UnorderedHash all;
    for (auto const& [id, value] : pairs) all.add(id, value);
    std::reverse(pairs.begin(), pairs.end());
    UnorderedHash first;
    UnorderedHash second;
    for (std::size_t i = 0; i < pairs.size(); ++i)
        (i % 3 == 0 ? first : second).add(pairs[i].first, pairs[i].second);
    UnorderedHash merged = first;
    merged.merge(second);
    EXPECT_EQ(merged.value(), all.value());
    first.merge_raw(second.value());
    EXPECT_EQ(first.value(), all.value());
}

TEST(UnorderedHash, SeesSwappedValuesAndMissingEntries) {
    auto const of = [](std::vector<std::pair<std::uint64_t, std::uint64_t>> const& pairs) {
        UnorderedHash hash;
        for (auto const& [id, value] : pairs) hash.add(id, value);
        return hash.value();
    };
    EXPECT_NE(of({{1, 10}, {2, 20}}), of({{1, 20}, {2, 10}}));
    EXPECT_NE(of({{1, 10}}), of({{1, 10}, {2, 0}}));
    EXPECT_NE(of({{1, 2}}), of({{2, 1}}));
    EXPECT_NE(of({{0, 0}}), of({}));
}

TEST(ToHex, SixteenDigits) {
    EXPECT_EQ(to_hex(0), "0000000000000000");
    EXPECT_EQ(to_hex(0xFEDCBA9876543210ULL), "fedcba9876543210");
    EXPECT_EQ(to_hex(~0ULL), "ffffffffffffffff");
}

}  // namespace
}  // namespace ckvsim
