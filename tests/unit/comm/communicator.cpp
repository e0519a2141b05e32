#include "comm/communicator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <new>
#include <stdexcept>

namespace ckvsim::comm {
namespace {

TEST(Capture, KeepsCodeAndMessage) {
    EXPECT_FALSE(capture([] {}).has_value());
    auto const data = capture([] { throw DataError("a.tsv", 3, "broken"); });
    ASSERT_TRUE(data.has_value());
    EXPECT_EQ(data->code, ExitCode::data);
    EXPECT_EQ(data->message, "a.tsv:3: broken");
    EXPECT_EQ(capture([] { throw std::runtime_error("odd"); })->message,
              "unexpected exception: odd");
    EXPECT_EQ(capture([] { throw std::bad_alloc(); })->code, ExitCode::backend);
    EXPECT_EQ(capture([] { throw 5; })->code, ExitCode::internal);
}

TEST(SerialCommunicator, IsOneRank) {
    auto const comm = make_serial();
    EXPECT_EQ(comm->size(), 1);
    EXPECT_TRUE(comm->is_root());
    EXPECT_EQ(comm->native_handle(), nullptr);
    std::array<std::int64_t, 2> values{3, -4};
    comm->sum(std::span<std::int64_t>(values));
    comm->max(std::span<std::int64_t>(values));
    EXPECT_EQ(values, (std::array<std::int64_t, 2>{3, -4}));
    std::array<double, 3> const part{1.5, 2.5, -1.0};
    EXPECT_EQ(comm->gather_values<double>(part), (std::vector<double>{1.5, 2.5, -1.0}));
    EXPECT_THROW(comm->gather(std::as_bytes(std::span(part)), 1), InternalError);
    EXPECT_EQ(comm->all_gather(7), std::vector<std::uint64_t>{7});
}

TEST(RequireLaunched, OneProcessIsNoPartOfALargerJob) {
    auto const comm = make_serial();
    for (char const* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
        ::unsetenv(name);
        EXPECT_NO_THROW(require_launched(*comm));
        ::setenv(name, "1", 1);
        EXPECT_NO_THROW(require_launched(*comm));
        ::setenv(name, "3", 1);
        try {
            require_launched(*comm);
            ADD_FAILURE() << name;
        } catch (BackendError const& error) {
            EXPECT_NE(std::string(error.what()).find("3 processes (" + std::string(name)),
                      std::string::npos);
        }
        ::unsetenv(name);
    }
}

TEST(SerialCommunicator, PhaseFailuresNamePhaseRankAndReason) {
    auto const comm = make_serial();
    EXPECT_NO_THROW(comm->run_phase("fine", [] {}));
    try {
        comm->run_phase("reading", [] { throw DataError("a.tsv", 3, "broken"); });
        FAIL() << "the failure was swallowed";
    } catch (CollectiveError const& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::data);
        EXPECT_STREQ(error.what(), "reading, rank 0 of 1: a.tsv:3: broken");
    }
}

}  // namespace
}  // namespace ckvsim::comm
