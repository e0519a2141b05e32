#include "core/large_array.hpp"

#include <gtest/gtest.h>

#include <cstdint>

#include "core/error.hpp"

namespace ckvsim {
namespace {

TEST(LargeArray, GrowsWithItsContentAndZeroesTheRest) {
    LargeArray<std::uint32_t> array(1000);
    for (std::uint32_t i = 0; i < 1000; ++i) array[i] = i + 1;
    array.grow(3'000'000);
    ASSERT_EQ(array.size(), 3'000'000U);
    for (std::uint32_t i = 0; i < 1000; ++i) ASSERT_EQ(array[i], i + 1);
    for (std::uint32_t i = 1000; i < 3'000'000; i += 997) ASSERT_EQ(array[i], 0U);
    array.grow(5);
    EXPECT_EQ(array.size(), 3'000'000U);
    EXPECT_EQ(array.bytes(), 12'000'000U);
}

TEST(LargeArray, MovesAndStaysEmpty) {
    LargeArray<std::uint64_t> empty;
    EXPECT_EQ(empty.size(), 0U);
    LargeArray<std::uint64_t> full(10);
    full[3] = 7;
    LargeArray<std::uint64_t> moved(std::move(full));
    EXPECT_EQ(moved[3], 7U);
    empty = std::move(moved);
    EXPECT_EQ(empty[3], 7U);
}

TEST(LargeArray, RefusedMemoryIsATypedError) {
    EXPECT_THROW(LargeArray<std::uint64_t>(std::size_t{1} << 57), BackendError);
}

}  // namespace
}  // namespace ckvsim
