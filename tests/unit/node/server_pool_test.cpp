#include "node/server_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/rng.hpp"

namespace ckvsim::node {
namespace {

TEST(ServerPool, TheFirstServerToGetFreeTakesTheJob) {
    ServerPool pool(2);
    auto const expect = [](FifoServer::Slot slot, Nanoseconds start, Nanoseconds end) {
        EXPECT_EQ(slot.start_ns, start);
        EXPECT_EQ(slot.end_ns, end);
    };
    expect(pool.serve(0, 10), 0, 10);
    expect(pool.serve(0, 30), 0, 30);
    EXPECT_EQ(pool.start_of(5), 10);
    EXPECT_EQ(pool.start_of(5), 10) << "asking takes no server";
    expect(pool.serve(5, 10), 10, 20);
    expect(pool.serve(5, 10), 20, 30);
    EXPECT_EQ(pool.start_of(100), 100);
    expect(pool.serve(100, 1), 100, 101);
}

TEST(ServerPool, OfOneIsAFifoServer) {
    ServerPool pool(1);
    FifoServer server;
    CounterRng rng(1, Purpose::arrivals, 0, 0);
    Nanoseconds now = 0;
    for (int i = 0; i < 500; ++i) {
        now += rng.next_u32() % 20;
        Nanoseconds const duration = rng.next_u32() % 20;
        EXPECT_EQ(pool.start_of(now), std::max(now, server.free_ns()));
        auto const a = pool.serve(now, duration);
        auto const b = server.serve(now, duration);
        ASSERT_EQ(a.start_ns, b.start_ns);
        ASSERT_EQ(a.end_ns, b.end_ns);
    }
}

TEST(ServerPool, IsWorkConserving) {
    // No job waits while fewer than four others run at its time, and never more than four run.
    ServerPool pool(4);
    CounterRng rng(2, Purpose::arrivals, 0, 0);
    std::vector<FifoServer::Slot> slots;
    Nanoseconds now = 0;
    int waited = 0;
    for (int i = 0; i < 1000; ++i) {
        now += rng.next_u32() % 10;
        auto const slot = pool.serve(now, 1 + rng.next_u32() % 35);
        auto const running = [&](Nanoseconds at) {
            return std::count_if(slots.begin(), slots.end(), [at](FifoServer::Slot const& s) {
                return s.start_ns <= at && at < s.end_ns;
            });
        };
        ASSERT_LT(running(slot.start_ns), 4);
        if (slot.start_ns > now) {
            ASSERT_EQ(running(slot.start_ns - 1), 4);
            ++waited;
        }
        slots.push_back(slot);
    }
    EXPECT_GT(waited, 100);
    EXPECT_LT(waited, 1000);
}

TEST(ServerPool, NeedsAServer) { EXPECT_THROW(ServerPool(0), InternalError); }

}  // namespace
}  // namespace ckvsim::node
