// The ranks of a communicator as a team that trains together.
#pragma once

#include <new>
#include <vector>

#include "comm/communicator.hpp"
#include "train/team.hpp"

namespace ckvsim::train {

/// To be used on the thread that made the communicator. `comm` must outlive it.
class CommExchange final : public Exchange {
  public:
    explicit CommExchange(comm::Communicator& comm) : comm_(comm) {}
    [[nodiscard]] int rank() const override { return comm_.rank(); }
    [[nodiscard]] int size() const override { return comm_.size(); }
    std::vector<std::byte> exchange(std::vector<std::vector<std::byte>> const& to) override {
        try {
            return comm_.exchange(to);
        } catch (std::bad_alloc const&) {
            // Between two messages: the others wait for the second.
            comm_.end_job(ExitCode::backend,
                          "rank " + std::to_string(comm_.rank()) +
                              ": out of memory for what another rank sent. Put fewer ranks on a "
                              "machine");
            return {};  // not reached: GCC forgets [[noreturn]] of virtual functions
        }
    }

  private:
    comm::Communicator& comm_;
};

}  // namespace ckvsim::train
