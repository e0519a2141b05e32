#include "train/trainer.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <span>
#include <thread>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/tensor_file.hpp"
#include "train/batch.hpp"
#include "train/ranking.hpp"
#include "train/sim_network.hpp"
#include "train/state_file.hpp"
#include "train/torch_runtime.hpp"

namespace ckvsim::train {

namespace {

constexpr char const* kFormat = "ckvsim-sim-1";
// Part of a weight file's identity: raise it when the same input would give other weights.
constexpr std::int64_t kTrainerVersion = 2;
constexpr char const* kRanks = "train.ranks";
// Epochs without a better tune AUC before a run ends (LongCTR's early stop, FACTS section 1).
constexpr std::uint32_t kPatience = 2;
constexpr std::uint32_t kNoToken = 0xFFFFFFFF;
// Evaluation has no activations to keep: larger batches share more unique items.
constexpr std::size_t kEvaluationBatch = 2048;

std::string join(std::vector<std::uint32_t> const& values) {
    std::string text;
    for (auto const value : values) {
        if (!text.empty()) text += ',';
        text += std::to_string(value);
    }
    return text;
}

/// Everything that decides the weights: a file that has all of it is up to date.
TensorFile identity_of(Samples const& samples, TrainingRun const& run, RunOptions const& options,
                       int ranks) {
    TensorFile file;
    auto const& shape = samples.shape;
    file.set("format", std::string(kFormat));
    // SIM's files stay as they were before there was another model.
    if (shape.model != Model::sim) file.set("model", to_string(shape.model));
    file.set("variant", to_string(run.variant.kind));
    file.set("scope", to_string(run.variant.scope));
    file.set("d_u", std::int64_t{run.variant.d_u});
    file.set("m", std::int64_t{run.variant.m});
    // Files of both sides stay as they were before there was a choice.
    if (run.variant.sides != Sides::both) file.set("sides", to_string(run.variant.sides));
    file.set("seed", std::to_string(run.seed));
    file.set("feature_dim", std::int64_t{shape.feature_dim});
    file.set("attention_dim", std::int64_t{shape.attention_dim});
    file.set("heads", std::int64_t{shape.heads});
    if (shape.model == Model::hstu) {
        file.set("layers", std::int64_t{shape.layers});
    } else {
        file.set("short_tokens", std::int64_t{shape.short_tokens});
    }
    if (shape.top_k > 0) file.set("top_k", std::int64_t{shape.top_k});
    if (shape.model == Model::sim) file.set("search_dim", std::int64_t{shape.search_dim});
    if (shape.hash_planes() > 0) file.set("hash_bits", std::int64_t{shape.hash_bits});
    if (shape.hashes > 0) file.set("hashes", std::int64_t{shape.hashes});
    file.set("max_tokens", std::int64_t{shape.max_tokens});
    file.set("context_dim", std::int64_t{shape.context_dim});
    file.set("tower", join(shape.tower));
    file.set("catalogue_digest", samples.catalogue_digest);
    auto const& schedule = samples.schedule;
    file.set("train.version", kTrainerVersion);
    file.set("train.samples_digest", samples.samples_digest);
    file.set("train.max_epochs", std::int64_t{schedule.epochs});
    file.set("train.batch", std::int64_t{schedule.batch});
    file.set_real("train.learning_rate", schedule.learning_rate);
    file.set_real("train.embedding_l2", schedule.embedding_l2);
    file.set_real("train.dropout", schedule.dropout);
    file.set_real("train.peak_weight", schedule.peak_weight);
    file.set_real("train.balance_weight", schedule.balance_weight);
    file.set("train.straight_through", std::int64_t{schedule.straight_through ? 1 : 0});
    file.set("train.threads", std::int64_t{options.threads_per_run});
    // Files of one process stay as they were before there could be more.
    if (ranks > 1) file.set(kRanks, std::int64_t{ranks});
    return file;
}

/// A file that is missing, broken or of another input is not up to date.
bool up_to_date(std::string const& path, TensorFile const& identity, RunResult& result) {
    try {
        TensorFile const file = TensorFile::read(path);
        for (auto const& [key, value] : identity.attributes) {
            auto const found = file.attributes.find(key);
            if (found == file.attributes.end() || found->second != value) return false;
        }
        if (file.attributes.contains(kRanks) != identity.attributes.contains(kRanks)) return false;
        result.epochs = static_cast<std::uint32_t>(file.integer("train.epochs"));
        result.best_epoch = static_cast<std::uint32_t>(file.integer("train.best_epoch"));
        result.tune_auc = file.real("train.tune_auc");
        result.tune_logloss = file.real("train.tune_logloss");
        result.train_loss = file.real("train.loss");
        result.skipped = true;
        return true;
    } catch (Error const&) {
        return false;
    }
}

/// Splits 0 .. size into runs of at most `batch`.
template <class Action>
void for_each_batch(std::size_t size, std::size_t batch, Action const& action) {
    for (std::size_t begin = 0; begin < size; begin += batch)
        action(begin, std::min(batch, size - begin));
}

/// Digest of what is written.
class HashSink final : public ByteSink {
  public:
    void write(std::span<std::byte const> bytes) override { digest_ = hash_span(bytes, digest_); }
    [[nodiscard]] std::uint64_t digest() const { return digest_; }

  private:
    std::uint64_t digest_ = 0;
};

/// One run on one rank. What decides how it goes on is the same on all ranks: weights, losses and
/// scores of whole batches and splits.
class Training {
  public:
    Training(Samples const& samples, std::string const& origin, TrainingRun const& run, Team& team)
        : samples_(samples),
          origin_(origin),
          run_(run),
          team_(team),
          builder_(samples),
          network_(samples, run.variant, run.seed, team) {}

    /// Collective.
    RunResult fit(StateFile& state, StepCallback const& on_step) {
        auto& result = done_.result;
        for (; done_.epoch <= samples_.schedule.epochs; next_epoch()) {
            double const loss = run_epoch(state, on_step);
            require_equal_weights();
            auto const logits = predict_all(samples_.tune);
            double const tune_auc = auc(logits, samples_.tune.label);
            result.epochs = done_.epoch;
            result.samples += samples_.train.size();
            if (best_.empty() || tune_auc > result.tune_auc) {
                result.best_epoch = done_.epoch;
                result.tune_auc = tune_auc;
                result.tune_logloss = logloss(logits, samples_.tune.label);
                result.train_loss = loss;
                best_ = network_.snapshot();
            } else if (done_.epoch - result.best_epoch >= kPatience) {
                break;
            }
        }
        network_.restore(best_);
        return result;
    }

    /// State between two steps.
    void save_state(ByteSink& sink) {
        save(sink, *this);
        network_.save_state(sink);
    }
    void load_state(ByteSource& source) {
        load(source, *this);
        network_.load_state(source);
    }
    [[nodiscard]] std::uint64_t state_layout() {
        return mix64(layout_of(*this) ^ network_.state_layout());
    }
    template <class Archive>
    void archive(Archive& ar) {
        ar(done_, best_);
    }

    void store(RunResult const& result, TensorFile& out) {
        out.set("train.epochs", std::int64_t{result.epochs});
        out.set("train.best_epoch", std::int64_t{result.best_epoch});
        out.set_real("train.tune_auc", result.tune_auc);
        out.set_real("train.tune_logloss", result.tune_logloss);
        out.set_real("train.loss", result.train_loss);
        out.set("train.samples", static_cast<std::int64_t>(samples_.train.size()));
        network_.store(out);
        store_reference(out);
    }

  private:
    /// What was done before the next step.
    struct Done {
        std::uint32_t epoch = 1;    ///< of the next step
        std::uint64_t samples = 0;  ///< of that epoch
        double loss_sum = 0;        ///< over those
        std::uint64_t steps = 0;    ///< of all epochs
        RunResult result;
    };

    void next_epoch() {
        ++done_.epoch;
        done_.samples = 0;
        done_.loss_sum = 0;
    }

    double run_epoch(StateFile& state, StepCallback const& on_step) {
        auto const order = epoch_order(samples_.train.size(), run_.seed, done_.epoch);
        std::size_t const begin = done_.samples;
        for_each_batch(
            order.size() - begin, samples_.schedule.batch, [&](std::size_t i, std::size_t n) {
                builder_.build_part(samples_.train, std::span(order).subspan(begin + i, n),
                                    team_.slice_of(n), batch_);
                auto const losses = network_.train_step(batch_);
                ++done_.steps;
                require_finite(losses);
                done_.loss_sum += losses.click * static_cast<double>(n);
                done_.samples += n;
                if (team_.is_root() && state.is_due())
                    state.keep([this](ByteSink& sink) { save_state(sink); });
                if (on_step) on_step(done_.steps, steps_of(samples_));
            });
        return done_.loss_sum / static_cast<double>(order.size());
    }

    /// Equal updates of equal weights, until a processor rounds otherwise.
    void require_equal_weights() {
        if (team_.size() == 1) return;
        HashSink sink;
        network_.save_state(sink);
        team_.require_equal(sink.digest(), ExitCode::backend,
                            "training of " + run_.variant.stem + ", seed " +
                                std::to_string(run_.seed) + ": weights after epoch " +
                                std::to_string(done_.epoch),
                            "Their processors round differently: start all ranks on machines of "
                            "one kind, with the same libraries");
    }

    void require_finite(StepLosses const& losses) const {
        if (std::isfinite(losses.click + losses.search + losses.peak + losses.balance)) return;
        throw DataError(origin_, 0,
                        "training of " + run_.variant.stem + ", seed " + std::to_string(run_.seed) +
                            " diverged: the loss of step " + std::to_string(done_.steps) +
                            " is not finite. Lower training.learning_rate in the spec and prepare "
                            "again");
    }

    /// Scores of this rank's batches of the split.
    std::vector<float> predict_own(Split const& split) {
        std::vector<std::uint32_t> rows(split.size());
        std::iota(rows.begin(), rows.end(), 0U);
        // Whole batches, the same for any number of ranks: so are the scores of equal weights.
        auto const batches =
            team_.slice_of((rows.size() + kEvaluationBatch - 1) / kEvaluationBatch);
        auto const begin = batches.begin * kEvaluationBatch;
        auto const end = std::min(rows.size(), begin + batches.size * kEvaluationBatch);
        std::vector<float> logits;
        logits.reserve(end - begin);
        for_each_batch(end - begin, kEvaluationBatch, [&](std::size_t at, std::size_t n) {
            builder_.build(split, std::span(rows).subspan(begin + at, n), batch_);
            auto const part = network_.predict(batch_);
            logits.insert(logits.end(), part.begin(), part.end());
        });
        return logits;
    }

    /// Of the split in its order, on every rank.
    std::vector<float> predict_all(Split const& split) {
        auto const own = predict_own(split);
        std::vector<float> logits(split.size());
        auto* place = reinterpret_cast<std::byte*>(logits.data());
        for (auto const& part : team_.all_gather(std::as_bytes(std::span(own))))
            place = std::copy(part.begin(), part.end(), place);
        if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
            throw DataError(origin_, 0,
                            "training of " + run_.variant.stem + ", seed " +
                                std::to_string(run_.seed) +
                                " diverged: a score of the tune split is not finite after step " +
                                std::to_string(done_.steps) +
                                ". Lower training.learning_rate in the spec and prepare again");
        }
        return logits;
    }

    /// Evaluation-mode scores of the reference samples with everything that is needed to repeat
    /// them.
    void store_reference(TensorFile& out) {
        Split const& split = samples_.reference;
        std::vector<std::uint32_t> rows(split.size());
        std::iota(rows.begin(), rows.end(), 0U);
        builder_.build(split, rows, batch_);
        Ragged chosen;
        auto const logits = network_.predict(batch_, &chosen);
        auto const& tokens = batch_.long_tokens;
        std::vector<std::uint64_t> const offsets(tokens.offsets.begin(), tokens.offsets.end());
        std::vector<std::uint32_t> items;
        for (auto const row : tokens.rows) items.push_back(batch_.items[row]);
        std::size_t const k = samples_.shape.top_k;
        std::vector<std::uint32_t> top_k(rows.size() * k, kNoToken);
        for (std::size_t b = 0; b < rows.size(); ++b) {
            auto const list = chosen.list(b);
            std::copy(list.begin(), list.end(), top_k.begin() + static_cast<std::ptrdiff_t>(b * k));
        }
        auto const count = static_cast<std::int64_t>(rows.size());
        out.tensors["ref.offsets"] = Tensor::from<std::uint64_t>(offsets, {count + 1});
        out.tensors["ref.tokens"] =
            Tensor::from<std::uint32_t>(items, {static_cast<std::int64_t>(items.size())});
        out.tensors["ref.candidate"] = Tensor::from<std::uint32_t>(split.item, {count});
        out.tensors["ref.context"] = Tensor::from<std::uint32_t>(split.context, {count});
        out.tensors["ref.logit"] = Tensor::from<float>(logits, {count});
        if (k == 0) return;  // SDIM and HSTU choose nothing
        out.tensors["ref.topk"] =
            Tensor::from<std::uint32_t>(top_k, {count, static_cast<std::int64_t>(k)});
    }

    Samples const& samples_;
    std::string const& origin_;
    TrainingRun const& run_;
    Team& team_;
    BatchBuilder builder_;
    SimNetwork network_;
    Batch batch_;
    Done done_;
    std::vector<std::vector<float>> best_;  ///< weights of result.best_epoch
};

/// Digest of what decides every step: the file's identity and the library that computes.
std::uint64_t state_key(TensorFile const& identity, std::uint64_t layout) {
    std::string text = to_hex(layout) + "\n" + operations_version() + "\n";
    for (auto const& [key, value] : identity.attributes) text += key + "=" + value + "\n";
    return hash_bytes(text.data(), text.size());
}

void require_samples_for_all(Samples const& samples, Team const& team) {
    auto const ranks = static_cast<std::uint32_t>(team.size());
    if (samples.schedule.batch >= ranks) return;
    throw Error(ExitCode::usage,
                "training.batch = " + std::to_string(samples.schedule.batch) +
                    " is less than the number of ranks, " + std::to_string(ranks) +
                    ": some would never have a sample. Start fewer ranks, or raise training.batch "
                    "in the spec and prepare again");
}

/// Makes `training` what it was at the last state, if rank 0 finds one.
bool go_on(std::optional<Training>& training, StateFile& state, Team& team,
           std::function<void()> const& begin) {
    bool resumed = false;
    if (team.is_root()) {
        bool fresh = true;
        resumed = state.restore([&](ByteSource& source) {
            if (!fresh) begin();  // another state failed half-way
            fresh = false;
            training->load_state(source);
        });
        if (!resumed && !fresh) begin();
    }
    team.broadcast_value(resumed);
    if (!resumed || team.size() == 1) return resumed;
    ByteBuffer buffer;
    if (team.is_root()) training->save_state(buffer);
    team.broadcast(buffer.bytes);
    if (!team.is_root()) {
        ByteView source(buffer.bytes);
        training->load_state(source);
    }
    return true;
}

RunResult train_together(Samples const& samples, std::string const& origin, TrainingRun const& run,
                         RunOptions const& options, StepCallback const& on_step, Team& team) {
    auto const begin = std::chrono::steady_clock::now();
    RunResult result;
    TensorFile file = identity_of(samples, run, options, team.size());
    if (!options.force) {
        if (team.is_root()) up_to_date(run.path, file, result);
        team.broadcast_value(result);
        if (result.skipped) return result;
    }
    set_operation_threads(options.threads_per_run);
    std::optional<Training> training;
    auto const start = [&] { training.emplace(samples, origin, run, team); };
    start();
    StateFile state(run.path, state_key(file, training->state_layout()), options.state_interval_s);
    if (options.force && team.is_root()) state.forget();
    bool const resumed = go_on(training, state, team, start);
    result = training->fit(state, on_step);
    result.resumed = resumed;
    if (team.is_root()) {
        training->store(result, file);
        file.write(run.path);
        state.forget();
    }
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return result;
}

}  // namespace

std::uint64_t steps_of(Samples const& samples) {
    std::uint64_t const batch = samples.schedule.batch;
    return samples.schedule.epochs * ((samples.train.size() + batch - 1) / batch);
}

RunResult train_run(Samples const& samples, std::string const& origin, TrainingRun const& run,
                    RunOptions const& options, StepCallback const& on_step) {
    Team alone;
    Team& team = options.team != nullptr ? *options.team : alone;
    RunResult result;
    team.guard("training of " + run.variant.stem + ", seed " + std::to_string(run.seed), [&] {
        require_samples_for_all(samples, team);
        result = train_together(samples, origin, run, options, on_step, team);
    });
    return result;
}

void train_runs(Samples const& samples, std::string const& origin,
                std::vector<TrainingRun> const& runs, std::uint32_t concurrent,
                RunOptions const& options,
                std::function<void(std::size_t, std::uint64_t, std::uint64_t)> const& on_step,
                std::function<void(std::size_t, RunResult const&)> const& on_done) {
    if (options.team != nullptr && options.team->size() > 1) {
        for (std::size_t i = 0; i < runs.size(); ++i) {
            auto const step = [&](std::uint64_t done, std::uint64_t all) { on_step(i, done, all); };
            on_done(i, train_run(samples, origin, runs[i], options, step));
        }
        return;
    }
    std::vector<std::exception_ptr> failures(runs.size());
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex reporting;
    auto const work = [&] {
        for (;;) {
            std::size_t const i = next.fetch_add(1);
            if (i >= runs.size() || failed) return;
            try {
                auto const result = train_run(
                    samples, origin, runs[i], options,
                    [&](std::uint64_t done, std::uint64_t all) { on_step(i, done, all); });
                std::lock_guard const lock(reporting);
                on_done(i, result);
            } catch (...) {
                failures[i] = std::current_exception();
                failed = true;
            }
        }
    };
    std::vector<std::thread> threads;
    auto const workers = std::min<std::size_t>(std::max<std::uint32_t>(concurrent, 1), runs.size());
    for (std::size_t t = 0; t < workers; ++t) threads.emplace_back(work);
    for (auto& thread : threads) thread.join();
    for (auto const& failure : failures) {
        if (failure) std::rethrow_exception(failure);
    }
}

}  // namespace ckvsim::train
