// Trains the variants and seeds of a sample file and writes their weight files (model/sim.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "train/compute.hpp"
#include "train/samples.hpp"
#include "train/team.hpp"

namespace ckvsim::train {

/// One weight file to make.
struct TrainingRun {
    VariantSpec variant;
    std::uint64_t seed = 0;
    std::string path;
};

/// Of a variant that is trained before the pools: what a warm start starts from, or a teacher.
/// Zeros without one.
struct FirstResult {
    std::uint32_t epochs = 0;
    std::uint32_t best_epoch = 0;  ///< whose weights the run started from, or learnt the scores of
    double tune_auc = 0;           ///< of these
    std::uint64_t steps = 0;       ///< of all its epochs
    std::uint64_t samples = 0;     ///< training samples seen, all its epochs
    std::uint64_t weights = 0;     ///< digest_of() the network at its best epoch
};

struct RunResult {
    bool skipped = false;          ///< an up-to-date file was there
    std::uint32_t epochs = 0;      ///< trained, the best one or not
    std::uint32_t best_epoch = 0;  ///< counts from 1; the stored weights
    double tune_auc = 0;           ///< of the stored weights
    double tune_logloss = 0;
    double train_loss = 0;      ///< mean cross-entropy of the stored weights' epoch
    std::uint64_t samples = 0;  ///< training samples seen, all epochs of all trainings
    bool resumed = false;       ///< went on from a state
    double seconds = 0;         ///< wall clock of this process, not part of the file
    FirstResult start;
    FirstResult teacher;  ///< equal to `start` where one training was both
};

struct RunOptions {
    std::uint32_t threads_per_run = 1;  ///< part of a file's identity: sums depend on it
    bool force = false;                 ///< train although the file is up to date, from the start
    double state_interval_s = 0.0;      ///< of StateFile
    /// The ranks that train each run together, every one a part of each batch; nullptr: this
    /// process trains alone. Their number is part of a file's identity.
    Team* team = nullptr;
    /// Part of a file's identity, but for the number of the device.
    Compute compute = {};
};

/// Called after every step; counts batches of this run. May be called from several threads.
using StepCallback = std::function<void(std::uint64_t done, std::uint64_t at_most)>;

/// Steps of a training that is not stopped early, and of a variant's run, which may have several.
std::uint64_t steps_of(Samples const& samples);
std::uint64_t steps_of(Samples const& samples, VariantSpec const& variant);

/// Trains one variant with one seed on the calling thread and writes its file atomically, or skips
/// it. A run that was killed goes on from its last state (state_file.hpp) to the same bytes.
/// `origin` names the sample file in messages. Throws DataError when the loss is not finite
/// (variant, seed, step, advice), BackendError when the file cannot be written. With a team it is
/// collective: rank 0 alone touches files, all ranks return the same result or throw one TeamError;
/// `on_step` may throw on one of them.
RunResult train_run(Samples const& samples, std::string const& origin, TrainingRun const& run,
                    RunOptions const& options, StepCallback const& on_step);

/// Trains `runs` on `concurrent` threads, in order; `on_done` is called under a lock after each.
/// The first failure (in the order of `runs`) stops runs that have not begun and is thrown after
/// the others have ended. Results do not depend on `concurrent`. With a team of several ranks the
/// runs follow each other on the calling thread: message libraries want to be called from one.
void train_runs(
    Samples const& samples, std::string const& origin, std::vector<TrainingRun> const& runs,
    std::uint32_t concurrent, RunOptions const& options,
    std::function<void(std::size_t run, std::uint64_t done, std::uint64_t at_most)> const& on_step,
    std::function<void(std::size_t run, RunResult const& result)> const& on_done);

}  // namespace ckvsim::train
