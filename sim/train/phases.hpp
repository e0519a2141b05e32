// A run from its first step to its weight file: one training, or two where the variant starts warm.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/archive.hpp"
#include "core/tensor_file.hpp"
#include "train/samples.hpp"
#include "train/state_file.hpp"
#include "train/team.hpp"
#include "train/trainer.hpp"
#include "train/training.hpp"

namespace ckvsim::train {

/// On one rank. With a warm start the variant start_of() is trained first, as a run of its own with
/// the same seed would; its network goes when the pools' network has started from it, and with it
/// the moments: the second training begins as any other, at step 1 of epoch 1. References must
/// outlive it.
class Phases {
  public:
    Phases(Samples const& samples, std::string const& origin, TrainingRun const& run, Team& team,
           Compute const& compute);

    /// From wherever the state is to the end. Rank 0 keeps states in `state`. Collective.
    RunResult fit(StateFile& state, StepCallback const& on_step);

    /// State between two steps: with a warm start, which training it is of, too.
    void save_state(ByteSink& sink);
    void load_state(ByteSource& source);
    [[nodiscard]] std::uint64_t state_layout();

    /// Adds to the weight file what training decided.
    void store(RunResult const& result, TensorFile& out);

  private:
    /// What of a warm start was done.
    struct Progress {
        std::uint64_t ended = 0;  ///< 1: the run is the pools' now
        StartResult result;
    };

    [[nodiscard]] std::unique_ptr<Training> begin(VariantSpec const& variant) const;
    void start_from_first();

    Samples const& samples_;
    std::string const& origin_;
    TrainingRun const& run_;
    Team& team_;
    Compute const& compute_;
    Progress start_;
    std::unique_ptr<Training> training_;
};

/// What store() wrote of a warm start, but its digest. Throws InternalError where it is missing.
void read_start(TensorFile const& file, StartResult& result);

}  // namespace ckvsim::train
