// A run from its first step to its weight file: one training, or more where the variant starts warm
// or has a teacher.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/archive.hpp"
#include "core/tensor_file.hpp"
#include "train/samples.hpp"
#include "train/state_file.hpp"
#include "train/team.hpp"
#include "train/trainer.hpp"
#include "train/training.hpp"

namespace ckvsim::train {

/// The variant whose scores `variant` learns; names the start, too, where it is both.
VariantSpec teacher_of(VariantSpec const& variant);

/// On one rank. What is trained first is trained as a run of its own with the same seed would be:
/// the teacher_of() a variant with a teacher, then the start_of() one with a warm start, once where
/// both are one variant. A network goes when the next has what it needs of it, and with it the
/// moments: of a teacher that is its scores of the training samples (4 bytes a sample), of a start
/// the weights. The last training begins as any other, at step 1 of epoch 1. References must
/// outlive it.
class Phases {
  public:
    Phases(Samples const& samples, std::string const& origin, TrainingRun const& run, Team& team,
           Compute const& compute);

    /// From wherever the state is to the end. Rank 0 keeps states in `state`. Collective.
    RunResult fit(StateFile& state, StepCallback const& on_step);

    /// State between two steps: which training it is of, too, and the teacher's scores.
    void save_state(ByteSink& sink);
    void load_state(ByteSource& source);
    [[nodiscard]] std::uint64_t state_layout();

    /// Adds to the weight file what training decided.
    void store(RunResult const& result, TensorFile& out);

  private:
    /// Of a training that goes before the last.
    struct Progress {
        std::uint64_t ended = 0;  ///< 1: it has
        FirstResult result;
    };

    [[nodiscard]] bool teaches() const { return run_.variant.has_teacher() && teacher_.ended == 0; }
    [[nodiscard]] bool is_started_from() const;
    [[nodiscard]] VariantSpec current() const;
    [[nodiscard]] std::unique_ptr<Training> begin(VariantSpec const& variant) const;
    [[nodiscard]] std::uint64_t before(std::uint64_t FirstResult::*amount) const;
    void go_on_from(FirstResult const& ended);

    Samples const& samples_;
    std::string const& origin_;
    TrainingRun const& run_;
    Team& team_;
    Compute const& compute_;
    Progress start_;
    Progress teacher_;
    std::vector<float> scores_;  ///< the teacher's logits, one for every training sample
    std::unique_ptr<Training> training_;
};

/// What store() wrote of the training before that is called `first` ("start" or "teacher"), but its
/// digest. Throws InternalError where it is missing.
FirstResult read_first(TensorFile const& file, std::string const& first);

}  // namespace ckvsim::train
