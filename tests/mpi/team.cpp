// A team whose messages go over MPI.
#include <gtest/gtest.h>

#include "mpi_fixture.hpp"
#include "team_suite.hpp"
#include "train_app/comm_exchange.hpp"

namespace ckvsim::train {
namespace {

class TeamOverMpi : public testing::Test {
  protected:
    CommExchange exchange_{test::world()};
    Team team_{exchange_};
};

TEST_F(TeamOverMpi, IsTheJob) {
    EXPECT_EQ(team_.rank(), test::world().rank());
    EXPECT_EQ(team_.size(), test::world().size());
}
TEST_F(TeamOverMpi, SlicesCoverEverythingOnce) { test::check_slices(team_); }
TEST_F(TeamOverMpi, SumsHaveTheSameBitsOnEveryRank) { test::check_sums(team_); }
TEST_F(TeamOverMpi, RowsAreMergedInOrder) { test::check_rows(team_); }
TEST_F(TeamOverMpi, GathersAndBroadcasts) { test::check_gather_and_broadcast(team_); }
TEST_F(TeamOverMpi, FailsTogether) { test::check_failures(team_); }

}  // namespace
}  // namespace ckvsim::train
