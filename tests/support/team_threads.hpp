// Threads of one process as the ranks of a team: training together without MPI.
#pragma once

#include <gtest/gtest.h>

#include <barrier>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "train/team.hpp"

namespace ckvsim::test {

/// What the threads of a team share: everybody's messages of one round.
class TeamBoard {
  public:
    explicit TeamBoard(int ranks)
        : ranks_(ranks), messages_(static_cast<std::size_t>(ranks)), barrier_(ranks) {}
    [[nodiscard]] int ranks() const { return ranks_; }
    std::vector<std::byte> exchange(int rank, std::vector<std::vector<std::byte>> const& to) {
        messages_[static_cast<std::size_t>(rank)] = to;
        barrier_.arrive_and_wait();
        std::vector<std::byte> came;
        for (auto const& of_one : messages_) {
            auto const& part = of_one.at(static_cast<std::size_t>(rank));
            came.insert(came.end(), part.begin(), part.end());
        }
        barrier_.arrive_and_wait();  // nobody overwrites what another still reads
        return came;
    }

  private:
    int ranks_;
    std::vector<std::vector<std::vector<std::byte>>> messages_;
    std::barrier<> barrier_;
};

/// One thread's way to the others.
class ThreadExchange final : public train::Exchange {
  public:
    ThreadExchange(TeamBoard& board, int rank) : board_(board), rank_(rank) {}
    [[nodiscard]] int rank() const override { return rank_; }
    [[nodiscard]] int size() const override { return board_.ranks(); }
    std::vector<std::byte> exchange(std::vector<std::vector<std::byte>> const& to) override {
        return board_.exchange(rank_, to);
    }

  private:
    TeamBoard& board_;
    int rank_;
};

/// Runs `body` as each of `ranks`, at the same time. An exception on one that is not agreed on
/// would leave the others waiting: it ends the test program.
inline void run_team(int ranks, std::function<void(train::Team&)> const& body) {
    TeamBoard board(ranks);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&, rank] {
            ThreadExchange exchange(board, rank);
            train::Team team(exchange);
            body(team);
        });
    }
    for (auto& thread : threads) thread.join();
}

}  // namespace ckvsim::test
