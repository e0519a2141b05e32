#include "node/batcher.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "node/fifo_server.hpp"

namespace ckvsim::node {
namespace {

struct Case {
    char const* what;
    std::uint32_t max_batch;
    double max_wait_us;
    std::vector<Nanoseconds> arrivals;
    Nanoseconds ready_ns;
    Nanoseconds close_ns;
    std::size_t end;
};

TEST(Batcher, ClosesWhenFullOrWhenTheFirstHasWaitedAndNeverBeforeTheServerIsReady) {
    std::vector<Case> const cases = {
        {"full", 3, 100, {0, 10, 20, 30}, 0, 20, 3},
        {"waited", 3, 1, {0, 10, 5000}, 0, 1000, 2},
        {"a busy server takes what came meanwhile", 3, 1, {0, 10, 5000, 5001}, 6000, 6000, 3},
        {"the last batch waits too", 8, 2, {500}, 0, 2500, 1},
        {"one at a time closes at once", 1, 100, {700, 700}, 0, 700, 1},
        {"no wait takes what is there", 4, 0, {700, 700, 701}, 0, 700, 2},
        {"a request at the closing time is in", 8, 1, {0, 1000, 1001}, 0, 1000, 2},
    };
    for (auto const& c : cases) {
        Batcher const batcher(c.max_batch, c.max_wait_us);
        auto const arrival = [&](std::size_t i) { return c.arrivals[i]; };
        Nanoseconds const close = batcher.close_ns(0, c.arrivals.size(), c.ready_ns, arrival);
        EXPECT_EQ(close, c.close_ns) << c.what;
        EXPECT_EQ(batcher.end_of(0, c.arrivals.size(), close, arrival), c.end) << c.what;
    }
}

TEST(FifoServer, ServesInOrderWithoutIdlingWhileWorkWaits) {
    FifoServer server;
    auto const first = server.serve(10, 5);
    EXPECT_EQ(first.start_ns, 10);
    EXPECT_EQ(first.end_ns, 15);
    EXPECT_EQ(server.serve(12, 5).start_ns, 15);
    EXPECT_EQ(server.serve(100, 1).start_ns, 100);
    EXPECT_EQ(server.free_ns(), 101);
}

}  // namespace
}  // namespace ckvsim::node
