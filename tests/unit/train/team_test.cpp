#include "train/team.hpp"

#include <gtest/gtest.h>

#include "team_suite.hpp"
#include "team_threads.hpp"

namespace ckvsim::train {
namespace {

class TeamOfThreads : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, TeamOfThreads, testing::Values(1, 2, 3, 4));

TEST_P(TeamOfThreads, SlicesCoverEverythingOnce) { test::run_team(GetParam(), test::check_slices); }
TEST_P(TeamOfThreads, SumsHaveTheSameBitsOnEveryRank) {
    test::run_team(GetParam(), test::check_sums);
}
TEST_P(TeamOfThreads, RowsAreMergedInOrder) { test::run_team(GetParam(), test::check_rows); }
TEST_P(TeamOfThreads, GathersAndBroadcasts) {
    test::run_team(GetParam(), test::check_gather_and_broadcast);
}
TEST_P(TeamOfThreads, FailsTogether) { test::run_team(GetParam(), test::check_failures); }

TEST(Team, AloneNothingChanges) {
    Team team;
    EXPECT_EQ(team.rank(), 0);
    EXPECT_EQ(team.size(), 1);
    EXPECT_EQ(team.slice_of(10).size, 10U);
    std::vector<std::int64_t> ids = {7, 3};
    std::vector<float> rows = {1, 2};
    team.sum_rows(ids, rows, 1);
    EXPECT_EQ(ids, (std::vector<std::int64_t>{7, 3})) << "not even the order";
    team.sum(rows);
    EXPECT_EQ(rows, (std::vector<float>{1, 2}));
    EXPECT_EQ(team.all_gather(std::as_bytes(std::span(rows))).size(), 1U);
    // Nobody to agree with: exceptions keep their type.
    EXPECT_THROW(team.guard("phase", [] { throw DataError("file", 0, "is broken"); }), DataError);
}

}  // namespace
}  // namespace ckvsim::train
