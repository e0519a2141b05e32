// What a team must do whatever carries its messages: run by threads (tests/unit/train) and by MPI
// (tests/mpi). Every rank calls these.
#pragma once

#include <gtest/gtest.h>

#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/hash.hpp"
#include "core/rng.hpp"
#include "train/team.hpp"

namespace ckvsim::test {

inline float team_value(int rank, std::size_t i) {
    return static_cast<float>(
        CounterRng(1, Purpose::test, i, static_cast<std::uint32_t>(rank)).uniform() - 0.5);
}

inline void check_slices(train::Team& team) {
    for (std::size_t const count : {0U, 1U, 3U, 64U, 1001U}) {
        auto const own = team.slice_of(count);
        double all = static_cast<double>(own.size);
        team.sum(std::span(&all, 1));
        EXPECT_EQ(all, static_cast<double>(count));
        if (team.rank() == 0) {
            EXPECT_EQ(own.begin, 0U);
        }
        if (team.rank() + 1 == team.size()) {
            EXPECT_EQ(own.begin + own.size, count);
        }
        if (count >= static_cast<std::size_t>(team.size())) {
            EXPECT_GT(own.size, 0U);
        }
    }
}

/// Short sums take one round, long ones slices, and beyond 16 MiB pieces.
inline void check_sums(train::Team& team) {
    for (std::size_t const count : {0U, 1U, 1024U, 1025U, 100003U, (4U << 20) + 7U}) {
        std::vector<float> values(count);
        for (std::size_t i = 0; i < count; ++i) values[i] = team_value(team.rank(), i % 100003);
        team.sum(values);
        std::size_t const step = count > 200000 ? 4099 : 1;
        for (std::size_t i = 0; i < count; i += step) {
            double expected = 0;
            for (int r = 0; r < team.size(); ++r) expected += double{team_value(r, i % 100003)};
            ASSERT_EQ(values[i], static_cast<float>(expected)) << i << " of " << count;
        }
        team.require_equal(hash_span(std::span<float const>(values)), ExitCode::internal,
                           "bits of a sum", "");
    }
}

inline void check_rows(train::Team& team) {
    constexpr std::size_t kWidth = 3;
    // Rank r touches the multiples of r + 1, the largest first; row 0 is everybody's.
    std::vector<std::int64_t> ids;
    std::vector<float> rows;
    auto const step = static_cast<std::int64_t>(team.rank() + 1);
    for (std::int64_t id = 24 / step * step; id >= 0; id -= step) {
        ids.push_back(id);
        for (std::size_t i = 0; i < kWidth; ++i)
            rows.push_back(team_value(team.rank(), static_cast<std::size_t>(id) * kWidth + i));
    }
    if (team.size() == 1) return;
    team.sum_rows(ids, rows, kWidth);
    std::vector<std::int64_t> expected_ids(25);  // rank 0 touches every row
    std::iota(expected_ids.begin(), expected_ids.end(), 0);
    ASSERT_EQ(ids, expected_ids);
    for (auto const id : ids) {
        for (std::size_t i = 0; i < kWidth; ++i) {
            std::size_t const at = static_cast<std::size_t>(id) * kWidth + i;
            double sum = 0;
            for (int r = 0; r < team.size(); ++r) {
                if (id % (r + 1) == 0) sum += double{team_value(r, at)};
            }
            EXPECT_EQ(rows[at], static_cast<float>(sum)) << "row " << id;
        }
    }
}

inline void check_gather_and_broadcast(train::Team& team) {
    // Rank r brings r bytes; the last brings more than one piece.
    bool const last = team.rank() + 1 == team.size();
    std::size_t const large = (std::size_t{16} << 20) + 5;
    std::vector<std::byte> const own(last ? large : static_cast<std::size_t>(team.rank()),
                                     static_cast<std::byte>(team.rank() + 1));
    auto const all = team.all_gather(own);
    ASSERT_EQ(all.size(), static_cast<std::size_t>(team.size()));
    for (std::size_t r = 0; r < all.size(); ++r) {
        ASSERT_EQ(all[r].size(), r + 1 == all.size() ? large : r);
        for (std::size_t i = 0; i < all[r].size(); i += 4096)
            ASSERT_EQ(all[r][i], static_cast<std::byte>(r + 1));
    }
    double value = 1.5 + team.rank();
    team.broadcast_value(value);
    EXPECT_EQ(value, 1.5);
    std::vector<std::byte> data(static_cast<std::size_t>(7 * team.rank()), std::byte{9});
    if (team.is_root()) data.assign(3, std::byte{2});
    team.broadcast(data);
    EXPECT_EQ(data, std::vector<std::byte>(3, std::byte{2}));
}

/// The message with which this rank leaves the guard; empty when it succeeded.
inline std::string team_message(train::Team& team, std::function<void()> const& body,
                                ExitCode& code) {
    try {
        team.guard("phase", body);
    } catch (train::TeamError const& error) {
        code = error.exit_code();
        return error.what();
    }
    return "";
}

/// One rank fails alone, in every place that it can, and afterwards the team still works.
inline void check_failures(train::Team& team) {
    if (team.size() == 1) return;
    int const last = team.size() - 1;
    bool const fails = team.rank() == last;
    std::string const who =
        "phase, rank " + std::to_string(last) + " of " + std::to_string(team.size()) + ": ";
    ExitCode code = ExitCode::ok;
    std::vector<float> values(5000, 1.0F);
    // Where the others wait in a sum, in its second round, and at the end of the guard.
    EXPECT_EQ(team_message(
                  team,
                  [&] {
                      if (fails) throw DataError("file", 0, "is broken");
                      team.sum(values);
                      ADD_FAILURE() << "went on without the failed rank";
                  },
                  code),
              who + DataError("file", 0, "is broken").what());
    EXPECT_EQ(code, ExitCode::data);
    EXPECT_EQ(team_message(
                  team,
                  [&] {
                      team.sum(values);
                      if (fails) throw std::bad_alloc();
                  },
                  code)
                  .find(who + "out of memory"),
              0U);
    EXPECT_EQ(code, ExitCode::backend);
    // Inside another guard: both are left by all.
    EXPECT_EQ(
        team_message(
            team,
            [&] {
                team.guard("inner", [&] {
                    if (fails) throw std::runtime_error("lost");
                });
                ADD_FAILURE() << "went on behind the inner guard";
            },
            code),
        "inner, rank " + std::to_string(last) + " of " + std::to_string(team.size()) + ": lost");
    // All fail alike: no rank is to blame.
    EXPECT_EQ(team_message(
                  team, [&] { throw Error(ExitCode::usage, "wrong"); }, code),
              "wrong");
    EXPECT_EQ(code, ExitCode::usage);
    // All fail, each in its own way.
    auto const own = team_message(
        team, [&] { throw std::runtime_error("reason " + std::to_string(team.rank())); }, code);
    EXPECT_EQ(own, "phase, rank 0 of " + std::to_string(team.size()) + ": reason 0 [" +
                       std::to_string(team.size()) + " ranks failed]");
    EXPECT_EQ(
        team_message(
            team,
            [&] { team.require_equal(fails ? 1 : 0, ExitCode::data, "the file", "Copy it."); },
            code),
        "the file: ranks disagree (rank 0 against rank " + std::to_string(last) + "). Copy it.");
    EXPECT_EQ(team_message(
                  team, [&] { team.require_equal(4, ExitCode::data, "a", "b"); }, code),
              "");
    float one = 1;
    team.sum(std::span(&one, 1));
    EXPECT_EQ(one, static_cast<float>(team.size()));
}

}  // namespace ckvsim::test
