// Order of reading: every token once, and in turn one stream a quarter.
#include "device/cpu/token_order.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace ckvsim::device::cpu {
namespace {

std::vector<std::size_t> read(TokenOrder const& order, std::size_t count) {
    std::vector<std::size_t> tokens;
    for (std::size_t slot = 0; slot < count; ++slot) tokens.push_back(order.at(slot));
    return tokens;
}

TEST(TokenOrder, InTurnReadsOneTokenOfEachQuarter) {
    EXPECT_EQ(read({10, true}, 10), (std::vector<std::size_t>{0, 3, 6, 8, 1, 4, 7, 9, 2, 5}));
    EXPECT_EQ(read({3, true}, 3), (std::vector<std::size_t>{0, 1, 2}));
}

TEST(TokenOrder, OneAfterTheOtherChangesNothing) {
    EXPECT_EQ(read({6, false}, 6), (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
}

TEST(TokenOrder, EveryTokenIsReadOnce) {
    for (bool const in_turn : {false, true}) {
        for (std::size_t count = 0; count < 70; ++count) {
            std::vector<int> times(count, 0);
            for (std::size_t const token : read({count, in_turn}, count)) ++times.at(token);
            EXPECT_EQ(times, std::vector<int>(count, 1)) << count << " tokens, in turn " << in_turn;
        }
    }
}

}  // namespace
}  // namespace ckvsim::device::cpu
