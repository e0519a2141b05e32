#include "node/user_index.hpp"

#include <gtest/gtest.h>

#include <map>

namespace ckvsim::node {
namespace {

TEST(UserIndex, AgreesWithAMapUnderRandomInsertionsAndRemovals) {
    UserIndex index;
    std::vector<UserId> users;  // by slot
    auto const user_of = [&](std::uint32_t slot) { return users[slot]; };
    std::map<UserId, std::uint32_t> expected;
    CounterRng rng(1, Purpose::test, 0);
    for (int step = 0; step < 40000; ++step) {
        UserId const user = rng.below(3000);
        auto const known = expected.find(user);
        ASSERT_EQ(index.find(user, user_of), known == expected.end() ? kNoSlot : known->second);
        if (known == expected.end()) {
            users.push_back(user);
            auto const slot = static_cast<std::uint32_t>(users.size() - 1);
            index.insert(user, slot, user_of);
            expected[user] = slot;
        } else if (rng.below(2) == 0) {
            index.erase(user, user_of);
            expected.erase(known);
        }
        ASSERT_EQ(index.size(), expected.size());
    }
    for (UserId user = 0; user < 3000; ++user) {
        auto const known = expected.find(user);
        EXPECT_EQ(index.find(user, user_of), known == expected.end() ? kNoSlot : known->second);
    }
}

}  // namespace
}  // namespace ckvsim::node
