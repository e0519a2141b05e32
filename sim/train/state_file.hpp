// The state of one training run while it runs, beside its weight file: `<weights>.state-1` and
// `<weights>.state-2`, written in turn, so that the older one serves when the newer is damaged.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "core/archive.hpp"

namespace ckvsim::train {

/// Not thread-safe. Files that cannot be written or read cost a warning on standard error, never
/// the run.
class StateFile {
  public:
    /// `key`: digest of everything that decides the weights. `interval_s`: seconds between two
    /// states; 0: the longer of 5 minutes and 50 times the last write.
    StateFile(std::string weights_path, std::uint64_t key, double interval_s);

    /// Calls `load` with the newest good state, and with the one before when that throws DataError.
    /// False: there is none.
    bool restore(std::function<void(ByteSource&)> const& load);
    [[nodiscard]] bool is_due() const { return Clock::now() >= due_; }
    void keep(std::function<void(ByteSink&)> const& save);
    /// Removes both: the weights are written, or are not to be gone on with.
    void forget();

  private:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] std::string path_of(std::uint64_t number) const;
    void wait(double last_write_s);

    std::string weights_path_;
    std::uint64_t key_;
    double interval_s_;
    std::uint64_t number_ = 0;  ///< of the last state
    Clock::time_point due_;
};

}  // namespace ckvsim::train
