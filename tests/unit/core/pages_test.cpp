#include "core/pages.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

namespace ckvsim {
namespace {

TEST(PagedArray, StartsWithZerosAndKeepsWhatIsWritten) {
    PagedArray<std::uint64_t> array(100000, 100000);
    ASSERT_EQ(array.size(), 100000U);
    for (std::size_t i = 0; i < array.size(); ++i) ASSERT_EQ(array[i], 0U);
    for (std::size_t i = 0; i < array.size(); ++i) array[i] = i * i;
    for (std::size_t i = 0; i < array.size(); ++i) ASSERT_EQ(array[i], i * i);
}

TEST(PagedArray, GrowsUpToItsCapacityWithoutMoving) {
    PagedArray<std::uint32_t> array(2, 4);
    array[0] = 7;
    std::uint32_t const* const first = &array[0];
    array.grow() = 8;
    EXPECT_EQ(array.grow(), 0U);
    EXPECT_EQ(array.size(), 4U);
    EXPECT_EQ(array.capacity(), 4U);
    EXPECT_EQ(array[2], 8U);
    EXPECT_EQ(&array[0], first);
    EXPECT_THROW(array.grow(), BackendError);
    EXPECT_EQ(array.size(), 4U) << "a refused element is not counted";
}

TEST(PagedArray, MovesLeaveEverythingInOneOwner) {
    PagedArray<int> a(3, 5);
    a[2] = 4;
    PagedArray<int> b(std::move(a));
    EXPECT_EQ(b.size(), 3U);
    EXPECT_EQ(b[2], 4);
    PagedArray<int> c(1, 1);
    c = std::move(b);
    EXPECT_EQ(c.size(), 3U);
    EXPECT_EQ(c.capacity(), 5U);
    EXPECT_EQ(c[2], 4);
}

TEST(PagedArray, AddressSpaceIsNotMemoryAndTooMuchIsRefused) {
    PagedArray<std::uint64_t> wide(1, std::size_t{1} << 36);  // 512 GiB of address space
    wide[0] = 5;
    EXPECT_EQ(wide[0], 5U);
    EXPECT_THROW(PagedArray<std::uint64_t>(0, std::size_t{1} << 58), BackendError);
    PagedArray<int> empty(0, 0);
    EXPECT_EQ(empty.size(), 0U);
    EXPECT_THROW(empty.grow(), BackendError);
}

}  // namespace
}  // namespace ckvsim
