// main() of MPI tests: every rank runs the same cases; the job fails when any rank fails; rank 0
// prints.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "comm/communicator.hpp"
#include "mpi_fixture.hpp"

namespace ckvsim::test {

namespace {
comm::Communicator* g_world = nullptr;  // set once before the tests run
}

comm::Communicator& world() { return *g_world; }
void set_world(comm::Communicator& world) { g_world = &world; }

}  // namespace ckvsim::test

int main(int argc, char** argv) {
    ckvsim::comm::Runtime runtime(argc, argv);
    ckvsim::comm::require_launched(runtime.world());
    ckvsim::test::set_world(runtime.world());
    testing::InitGoogleTest(&argc, argv);
    if (!runtime.world().is_root()) {
        auto& listeners = testing::UnitTest::GetInstance()->listeners();
        delete listeners.Release(listeners.default_result_printer());
    }
    std::array<std::int64_t, 1> failed{RUN_ALL_TESTS()};
    runtime.world().max(std::span<std::int64_t>(failed));
    return failed[0] == 0 ? 0 : 1;
}
