#include "train/training.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "train/ranking.hpp"

namespace ckvsim::train {

namespace {

// Epochs without a better tune AUC before a run ends (LongCTR's early stop, FACTS section 1).
constexpr std::uint32_t kPatience = 2;
constexpr std::uint32_t kNoToken = 0xFFFFFFFF;
// Evaluation has no activations to keep: larger batches share more unique items.
constexpr std::size_t kEvaluationBatch = 2048;

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

}  // namespace

Training::Training(Samples const& samples, std::string const& origin, VariantSpec const& variant,
                   std::uint64_t seed, Team& team, Compute const& compute)
    : samples_(samples),
      origin_(origin),
      variant_(variant),
      seed_(seed),
      team_(team),
      builder_(samples),
      network_(samples, variant, seed, team, compute) {}

RunResult Training::fit(std::function<void()> const& after_step) {
    auto& result = done_.result;
    for (; done_.epoch <= samples_.schedule.epochs; next_epoch()) {
        double const loss = run_epoch(after_step);
        require_equal_weights("after epoch " + std::to_string(done_.epoch));
        auto const logits = scores(samples_.tune);
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

void Training::save_state(ByteSink& sink) {
    save(sink, *this);
    network_.save_state(sink);
}

void Training::load_state(ByteSource& source) {
    load(source, *this);
    network_.load_state(source);
}

std::uint64_t Training::state_layout() { return mix64(layout_of(*this) ^ network_.state_layout()); }

void Training::store(RunResult const& result, TensorFile& out) {
    out.set("train.epochs", std::int64_t{result.epochs});
    out.set("train.best_epoch", std::int64_t{result.best_epoch});
    out.set_real("train.tune_auc", result.tune_auc);
    out.set_real("train.tune_logloss", result.tune_logloss);
    out.set_real("train.loss", result.train_loss);
    out.set("train.samples", static_cast<std::int64_t>(samples_.train.size()));
    network_.store(out);
    store_reference(out);
}

std::string Training::name() const {
    return "training of " + variant_.stem + ", seed " + std::to_string(seed_);
}

void Training::next_epoch() {
    ++done_.epoch;
    done_.samples = 0;
    done_.loss_sum = 0;
}

/// This rank's part of the batch of these training samples, with the teacher's logits of the same.
void Training::build_step(std::span<std::uint32_t const> rows) {
    auto const part = team_.slice_of(rows.size());
    builder_.build_part(samples_.train, rows, part, batch_);
    if (teacher_.empty()) return;
    for (auto const sample : rows.subspan(part.begin, part.size))
        batch_.teacher.push_back(teacher_[sample]);
}

double Training::run_epoch(std::function<void()> const& after_step) {
    auto const order = epoch_order(samples_.train.size(), seed_, done_.epoch);
    std::size_t const begin = done_.samples;
    for_each_batch(order.size() - begin, samples_.schedule.batch,
                   [&](std::size_t i, std::size_t n) {
                       build_step(std::span(order).subspan(begin + i, n));
                       auto const losses = network_.train_step(batch_);
                       ++done_.steps;
                       require_finite(losses);
                       done_.loss_sum += losses.click * static_cast<double>(n);
                       done_.samples += n;
                       after_step();
                   });
    return done_.loss_sum / static_cast<double>(order.size());
}

/// Equal updates of equal weights, until a processor rounds otherwise.
void Training::require_equal_weights(std::string const& when) {
    if (team_.size() == 1) return;
    HashSink sink;
    network_.save_state(sink);
    team_.require_equal(sink.digest(), ExitCode::backend, name() + ": weights " + when,
                        "Their processors round differently: start all ranks on machines of one "
                        "kind, with the same libraries");
}

void Training::require_finite(StepLosses const& losses) const {
    if (std::isfinite(losses.click + losses.distil + losses.search + losses.peak + losses.balance))
        return;
    throw DataError(origin_, 0,
                    name() + " diverged: the loss of step " + std::to_string(done_.steps) +
                        " is not finite. Lower training.learning_rate in the spec and prepare "
                        "again");
}

/// Scores of this rank's batches of the split.
std::vector<float> Training::predict_own(Split const& split) {
    std::vector<std::uint32_t> rows(split.size());
    std::iota(rows.begin(), rows.end(), 0U);
    // Whole batches, the same for any number of ranks: so are the scores of equal weights.
    auto const batches = team_.slice_of((rows.size() + kEvaluationBatch - 1) / kEvaluationBatch);
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

std::vector<float> Training::scores(Split const& split) {
    auto const own = predict_own(split);
    std::vector<float> logits(split.size());
    auto* place = reinterpret_cast<std::byte*>(logits.data());
    for (auto const& part : team_.all_gather(std::as_bytes(std::span(own))))
        place = std::copy(part.begin(), part.end(), place);
    if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
        throw DataError(origin_, 0,
                        name() + " diverged: a score of the " +
                            (&split == &samples_.tune ? "tune" : "train") +
                            " split is not finite after step " + std::to_string(done_.steps) +
                            ". Lower training.learning_rate in the spec and prepare again");
    }
    return logits;
}

/// Evaluation-mode scores of the reference samples with everything that is needed to repeat them.
void Training::store_reference(TensorFile& out) {
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

std::uint64_t digest_of(SimNetwork const& network) {
    std::uint64_t digest = 0;
    for (auto const& values : network.snapshot()) digest = hash_span<float>(values, digest);
    return digest;
}

}  // namespace ckvsim::train
