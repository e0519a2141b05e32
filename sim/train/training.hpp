// One network trained to its early stop: epochs, evaluation, state, what its weight file holds.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/archive.hpp"
#include "core/tensor_file.hpp"
#include "train/batch.hpp"
#include "train/samples.hpp"
#include "train/sim_network.hpp"
#include "train/team.hpp"
#include "train/trainer.hpp"

namespace ckvsim::train {

/// On one rank. What decides how it goes on is the same on all ranks: weights, losses and scores of
/// whole batches and splits. References must outlive it.
class Training {
  public:
    /// `origin` names the sample file in messages.
    Training(Samples const& samples, std::string const& origin, VariantSpec const& variant,
             std::uint64_t seed, Team& team, Compute const& compute);

    /// Trains to the early stop from wherever the state is; the network has the best epoch's
    /// weights then. Collective. `after_step` is called after every step, when the state can be
    /// saved. Throws DataError when a loss or a score is not finite.
    RunResult fit(std::function<void()> const& after_step);

    /// Logits that the network is to learn besides the labels (StepLosses::distil), one for every
    /// training sample in the split's order; for a variant with a teacher, before fit(). They must
    /// outlive the training.
    void learn_from(std::span<float const> teacher) { teacher_ = teacher; }
    /// Logits in evaluation mode, of the split in its order, on every rank: the same for any number
    /// of ranks. Collective. Throws DataError when one is not finite.
    std::vector<float> scores(Split const& split);

    /// Of all epochs, those before a resumption too.
    [[nodiscard]] std::uint64_t steps() const { return done_.steps; }
    [[nodiscard]] SimNetwork& network() { return network_; }

    /// Throws on all ranks unless all hold the same weights and moments. Collective.
    void require_equal_weights(std::string const& when);

    /// State between two steps. load_state() throws DataError for that of other shapes.
    void save_state(ByteSink& sink);
    void load_state(ByteSource& source);
    [[nodiscard]] std::uint64_t state_layout();
    template <class Archive>
    void archive(Archive& ar) {
        ar(done_, best_);
    }

    /// Adds training facts, weights and reference block.
    void store(RunResult const& result, TensorFile& out);

  private:
    /// What was done before the next step.
    struct Done {
        std::uint32_t epoch = 1;    ///< of the next step
        std::uint64_t samples = 0;  ///< of that epoch
        double loss_sum = 0;        ///< over those
        std::uint64_t steps = 0;    ///< of all epochs
        RunResult result;
    };

    void next_epoch();
    double run_epoch(std::function<void()> const& after_step);
    void require_finite(StepLosses const& losses) const;
    std::vector<float> predict_own(Split const& split);
    void build_step(std::span<std::uint32_t const> rows);
    void store_reference(TensorFile& out);
    [[nodiscard]] std::string name() const;

    Samples const& samples_;
    std::string const& origin_;
    VariantSpec variant_;
    std::uint64_t seed_;
    Team& team_;
    BatchBuilder builder_;
    SimNetwork network_;
    Batch batch_;
    Done done_;
    std::span<float const> teacher_;
    std::vector<std::vector<float>> best_;  ///< weights of result.best_epoch
};

/// Digest of a network's values.
std::uint64_t digest_of(SimNetwork const& network);

}  // namespace ckvsim::train
