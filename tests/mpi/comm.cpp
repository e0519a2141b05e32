// Every rank runs every case; a case that leaves a rank behind would hang and fail by CTest's time
// limit.
#include "comm/communicator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>

#include "mpi_fixture.hpp"

namespace ckvsim::comm {
namespace {

using test::world;

TEST(Comm, SumsAndMaximaReachEveryRank) {
    auto& comm = world();
    std::int64_t const n = comm.size();
    std::array<std::int64_t, 2> sums{comm.rank(), 1};
    comm.sum(std::span<std::int64_t>(sums));
    EXPECT_EQ(sums, (std::array<std::int64_t, 2>{n * (n - 1) / 2, n}));
    std::array<std::uint64_t, 1> wrapped{1ULL << 63};
    comm.sum(std::span<std::uint64_t>(wrapped));
    EXPECT_EQ(wrapped[0], n % 2 == 1 ? 1ULL << 63 : 0);
    std::array<std::int64_t, 1> largest{-10 + comm.rank()};
    comm.max(std::span<std::int64_t>(largest));
    EXPECT_EQ(largest[0], -10 + n - 1);
    std::array<double, 1> real{0.5 * comm.rank()};
    comm.max(std::span<double>(real));
    EXPECT_EQ(real[0], 0.5 * static_cast<double>(n - 1));
    comm.barrier();
}

TEST(Comm, BroadcastResizesReceivers) {
    auto& comm = world();
    for (int root = 0; root < comm.size(); ++root) {
        std::vector<std::byte> data(comm.rank() == root ? 5 : 99, std::byte{1});
        if (comm.rank() == root) data[4] = static_cast<std::byte>(root);
        comm.broadcast(data, root);
        ASSERT_EQ(data.size(), 5U);
        EXPECT_EQ(data[4], static_cast<std::byte>(root));
    }
}

TEST(Comm, GatherConcatenatesInRankOrder) {
    auto& comm = world();
    // Rank r brings r values; rank 0 brings none.
    std::vector<std::uint32_t> const part(static_cast<std::size_t>(comm.rank()),
                                          static_cast<std::uint32_t>(comm.rank()));
    for (int root = 0; root < comm.size(); ++root) {
        auto const all = comm.gather_values<std::uint32_t>(part, root);
        std::vector<std::uint32_t> expected;
        if (comm.rank() == root) {
            for (std::uint32_t r = 0; r < static_cast<std::uint32_t>(comm.size()); ++r)
                expected.insert(expected.end(), r, r);
        }
        EXPECT_EQ(all, expected);
    }
}

TEST(Comm, AllGatherIsInRankOrder) {
    auto const values =
        world().all_gather(std::uint64_t{100} + static_cast<std::uint64_t>(world().rank()));
    ASSERT_EQ(values.size(), static_cast<std::size_t>(world().size()));
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], 100 + i);
}

/// The message with which this rank leaves a phase; empty when it succeeded.
std::string message_of(std::string const& phase, std::function<void()> const& body,
                       ExitCode& code) {
    try {
        world().run_phase(phase, body);
    } catch (CollectiveError const& error) {
        code = error.exit_code();
        return error.what();
    }
    return "";
}

TEST(Comm, AFailureOnOneRankMakesAllRanksThrowTheSame) {
    auto& comm = world();
    for (int failing = 0; failing < comm.size(); ++failing) {
        ExitCode code = ExitCode::ok;
        auto const message = message_of(
            "decode",
            [&] {
                if (comm.rank() == failing) throw DataError("weights.ckvt", 0, "truncated");
            },
            code);
        EXPECT_EQ(message, "decode, rank " + std::to_string(failing) + " of " +
                               std::to_string(comm.size()) + ": weights.ckvt: truncated");
        EXPECT_EQ(code, ExitCode::data);
    }
    // And the job goes on.
    ExitCode code = ExitCode::ok;
    EXPECT_EQ(message_of(
                  "after", [] {}, code),
              "");
}

TEST(Comm, TheLowestOfSeveralFailingRanksSpeaks) {
    auto& comm = world();
    if (comm.size() < 3) GTEST_SKIP() << "needs three ranks";
    ExitCode code = ExitCode::ok;
    auto const message = message_of(
        "decode",
        [&] {
            if (comm.rank() >= 1) throw std::runtime_error("no " + std::to_string(comm.rank()));
        },
        code);
    EXPECT_EQ(message, "decode, rank 1 of " + std::to_string(comm.size()) +
                           ": unexpected exception: no 1 [" + std::to_string(comm.size() - 1) +
                           " ranks failed]");
    EXPECT_EQ(code, ExitCode::internal);
}

TEST(Comm, UnequalInputsAreNamedOnEveryRank) {
    auto& comm = world();
    EXPECT_NO_THROW(comm.require_equal(42, "spec digest"));
    if (comm.size() == 1) return;
    bool const last = comm.rank() == comm.size() - 1;
    try {
        comm.require_equal(last ? 43 : 42, "spec digest");
        FAIL() << "a rank went on";
    } catch (CollectiveError const& error) {
        EXPECT_NE(std::string(error.what())
                      .find("spec digest: ranks disagree (rank 0 against rank " +
                            std::to_string(comm.size() - 1)),
                  std::string::npos)
            << error.what();
    }
}

}  // namespace
}  // namespace ckvsim::comm
