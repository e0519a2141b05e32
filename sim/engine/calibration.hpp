// Measured stage costs of this machine: what the simulated twin of an executed run is priced by.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/serving.hpp"
#include "node/platform.hpp"
#include "workload/population.hpp"

namespace ckvsim::engine {

struct CalibrationParams {
    double seconds = 30.0;  ///< over all arms; a round over the grid is always finished
    std::uint64_t seed = 1;
    /// Entries fill an arena of this size, at most 96 MiB (several last-level cache shares): give
    /// the cache capacity of the nodes to be predicted, because small caches are faster than
    /// memory.
    std::uint64_t arena_bytes = UINT64_MAX;
    /// By arm, instead of arena_bytes; empty = arena_bytes for all.
    std::vector<std::uint64_t> arena_bytes_by_arm;
};

/// Gets lines for people, with warnings about a noisy machine; may be empty.
using CalibrationLog = std::function<void(std::string const&)>;

/// Measures stage costs of the given arms on this machine (executed kernels, wall clock) over a
/// grid of entries of fixed sizes, which no request stream shares. Uses as many threads as the
/// executed twin would (omp_get_max_threads()) and records their number: calibrate with the thread
/// count that a rank will have. Backends must offer EncodeMode::memo. Can be run in slices, between
/// other work, so that a machine whose speed drifts is measured over the same time as that work.
class Calibration {
  public:
    Calibration(std::vector<ServingArm> const& arms, workload::Population const& population,
                CalibrationParams const& params, CalibrationLog const& log);
    ~Calibration();
    Calibration(Calibration const&) = delete;
    Calibration& operator=(Calibration const&) = delete;

    /// Measures for about so long, each arm alike; at least five rounds over each arm's grid.
    void run(double seconds);
    /// From all that was measured so far. The machine's name, memory sizes and digest are the
    /// caller's.
    [[nodiscard]] node::Platform platform() const;
    /// To the log: rounds, an example, warnings about a noisy machine.
    void say_what_was_measured() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// One slice of params.seconds.
node::Platform calibrate(std::vector<ServingArm> const& arms,
                         workload::Population const& population, CalibrationParams const& params,
                         CalibrationLog const& log);

}  // namespace ckvsim::engine
