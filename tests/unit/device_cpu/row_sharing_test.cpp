#include "device/cpu/row_sharing.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "core/rng.hpp"
#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {
namespace {

constexpr SharingCost kCost{256, 2};

std::vector<std::uint32_t> random_keys(std::size_t count, std::uint32_t bound,
                                       std::uint64_t stream) {
    CounterRng rng(2, Purpose::test, stream);
    std::vector<std::uint32_t> keys(count);
    for (auto& key : keys) key = rng.below(bound);
    return keys;
}

void expect_places(RowSharing const& sharing, std::vector<std::uint32_t> const& keys) {
    ASSERT_FALSE(sharing.all());
    EXPECT_EQ(sharing.distinct(), std::set<std::uint32_t>(keys.begin(), keys.end()).size());
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        std::uint32_t const place = sharing.places()[i];
        ASSERT_LE(place, next) << "places are given in the order of the first tokens";
        if (place == next) {
            EXPECT_EQ(sharing.firsts()[place], i);
            ++next;
        }
        EXPECT_EQ(keys[sharing.firsts()[place]], keys[i]);
    }
    EXPECT_EQ(next, sharing.distinct());
}

TEST(RowSharing, FindsTheDistinctKeysOfListAfterList) {
    RowSharing sharing;
    for (std::size_t round = 0; round < 4; ++round) {
        // Bounds below and above the one up to which keys are their own marks.
        for (std::uint32_t const bound : {1U, 7U, 200U, 65536U, 65537U, 4000000000U}) {
            for (std::size_t const count : {400U, 1000U, 4000U}) {
                auto keys = random_keys(count, std::min(bound, 150U), round * 100 + count);
                for (auto& key : keys) key = bound - 1 - key;
                ASSERT_TRUE(sharing.find(keys.data(), count, bound, kCost)) << bound;
                if (sharing.all()) {
                    EXPECT_EQ(sharing.distinct(), bound);
                    EXPECT_EQ(std::vector(sharing.places(), sharing.places() + count), keys);
                    continue;
                }
                expect_places(sharing, keys);
            }
        }
    }
}

TEST(RowSharing, DecidesByWhatItSaves) {
    RowSharing sharing;
    auto const decide = [&](std::vector<std::uint32_t> const& keys, std::size_t bound,
                            SharingCost const& cost = kCost) {
        return sharing.find(keys.data(), keys.size(), bound, cost);
    };
    EXPECT_FALSE(decide(random_keys(1000, 10000, 1), 10000)) << "hardly a key twice";
    EXPECT_TRUE(decide(random_keys(1000, 300, 1), 300));
    // Equally likely keys look distinct at first; the bound tells that they cannot stay so.
    EXPECT_TRUE(decide(random_keys(4000, 2000, 1), 2000));
    // Few of many keys are in use: the bound says nothing, the first keys do.
    EXPECT_TRUE(decide(random_keys(1000, 100, 1), 10000));
    EXPECT_FALSE(decide(random_keys(20, 2, 1), 10000)) << "too few tokens";
    // Rows of 8 values cost less than finding out which are equal.
    EXPECT_FALSE(decide(random_keys(1000, 300, 1), 300, {8, 1}));
    // Nor can rows of 64 values in two heads pay, not even one row for all.
    EXPECT_FALSE(decide(std::vector<std::uint32_t>(1000, 5), 10, {64, 2}));
    EXPECT_TRUE(decide(std::vector<std::uint32_t>(1000, 5), 10, {64, 1}));
}

TEST(RowSharing, ReadsAllRowsWhereMostAreWanted) {
    RowSharing sharing;
    auto const reads_all = [&](std::vector<std::uint32_t> const& keys, std::size_t bound) {
        return sharing.find(keys.data(), keys.size(), bound, kCost) && sharing.all();
    };
    EXPECT_TRUE(reads_all(random_keys(1000, 500, 1), 500));
    EXPECT_FALSE(reads_all(random_keys(1000, 650, 1), 650)) << "a fifth of the rows for nothing";
    EXPECT_FALSE(reads_all(random_keys(1000, 60, 1), 500)) << "the first keys are few";
    // One list does not change how the next is read.
    EXPECT_TRUE(reads_all(random_keys(400, 20, 1), 20));
    sharing.number(random_keys(40, 20, 1).data(), 40, 20);
    EXPECT_FALSE(sharing.all());
}

TEST(RowSharing, NumbersKeysWhetherOrNotSharingPays) {
    RowSharing sharing;
    for (std::uint32_t const bound : {9U, 70000U}) {
        for (std::size_t const count : {0U, 1U, 3U, 40U, 3U}) {
            auto const keys = random_keys(count, 9, count);
            sharing.number(keys.data(), count, bound);
            expect_places(sharing, keys);
            for (std::size_t i = count; i < padded(count); ++i) EXPECT_EQ(sharing.places()[i], 0U);
        }
    }
}

TEST(RowSharing, MarksStartAnewWhenTheyRunOut) {
    for (std::uint32_t const bound : {200U, 70000U}) {
        for (std::uint32_t left = 0; left < 80; ++left) {
            RowSharing sharing(std::numeric_limits<std::uint32_t>::max() - left);
            for (std::uint32_t list = 0; list < 5; ++list) {
                // All different: as many marks as a list can take.
                std::vector<std::uint32_t> keys(40);
                for (std::uint32_t i = 0; i < 40; ++i) keys[i] = (i * 7 + list) % 200;
                sharing.number(keys.data(), keys.size(), bound);
                expect_places(sharing, keys);
            }
        }
    }
}

}  // namespace
}  // namespace ckvsim::device::cpu
