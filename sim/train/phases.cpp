#include "train/phases.hpp"

#include <utility>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "train/warm_start.hpp"

namespace ckvsim::train {

namespace {

void store_first(FirstResult const& result, std::string const& first, TensorFile& out) {
    std::string const prefix = "train." + first + "_";
    out.set(prefix + "epochs", std::int64_t{result.epochs});
    out.set(prefix + "best_epoch", std::int64_t{result.best_epoch});
    out.set_real(prefix + "tune_auc", result.tune_auc);
    // A word before it, so that nobody takes digits for a number.
    out.set(prefix + "weights", "digest " + to_hex(result.weights));
}

}  // namespace

VariantSpec teacher_of(VariantSpec const& variant) {
    VariantSpec teacher;
    teacher.kind = variant.teacher == Teacher::full_silu ? Kind::full_silu : Kind::full;
    teacher.stem =
        variant.stem +
        (variant.starts_from_teacher() ? " (its teacher and start, " : " (its teacher, ") +
        to_string(teacher.kind) + ")";
    return teacher;
}

Phases::Phases(Samples const& samples, std::string const& origin, TrainingRun const& run,
               Team& team, Compute const& compute)
    : samples_(samples), origin_(origin), run_(run), team_(team), compute_(compute) {
    training_ = begin(current());
}

/// True while the training is one that the pools start from.
bool Phases::is_started_from() const {
    if (!run_.variant.starts_warm() || start_.ended != 0) return false;
    return !teaches() || run_.variant.starts_from_teacher();
}

/// What is trained now.
VariantSpec Phases::current() const {
    if (teaches()) return teacher_of(run_.variant);
    return is_started_from() ? start_of(run_.variant) : run_.variant;
}

std::unique_ptr<Training> Phases::begin(VariantSpec const& variant) const {
    auto training =
        std::make_unique<Training>(samples_, origin_, variant, run_.seed, team_, compute_);
    if (variant.has_teacher()) training->learn_from(scores_);
    return training;
}

/// Over the trainings that have ended.
std::uint64_t Phases::before(std::uint64_t FirstResult::*amount) const {
    auto const start = start_.result.*amount;
    return run_.variant.starts_from_teacher() ? start : start + teacher_.result.*amount;
}

RunResult Phases::fit(StateFile& state, StepCallback const& on_step) {
    auto const after_step = [&] {
        if (team_.is_root() && state.is_due())
            state.keep([this](ByteSink& sink) { save_state(sink); });
        if (on_step) {
            on_step(before(&FirstResult::steps) + training_->steps(),
                    steps_of(samples_, run_.variant));
        }
    };
    while (teaches() || is_started_from()) {
        auto const first = training_->fit(after_step);
        go_on_from({first.epochs, first.best_epoch, first.tune_auc, training_->steps(),
                    first.samples, digest_of(training_->network())});
    }
    auto result = training_->fit(after_step);
    result.samples += before(&FirstResult::samples);
    result.start = start_.result;
    result.teacher = teacher_.result;
    return result;
}

/// The next training has what it needs of the one that ended.
void Phases::go_on_from(FirstResult const& ended) {
    bool const started_from = is_started_from();
    if (teaches()) {
        scores_ = training_->scores(samples_.train);
        teacher_ = {1, ended};
    }
    if (started_from) start_ = {1, ended};
    auto next = begin(current());
    if (started_from)
        start_warm(training_->network(), samples_, run_.variant, run_.seed, next->network());
    training_ = std::move(next);
    if (started_from) training_->require_equal_weights("of its warm start");
}

void Phases::save_state(ByteSink& sink) {
    if (run_.variant.starts_warm()) save(sink, start_);
    if (run_.variant.has_teacher()) {
        save(sink, teacher_);
        save(sink, scores_);
    }
    training_->save_state(sink);
}

void Phases::load_state(ByteSource& source) {
    if (run_.variant.starts_warm()) load(source, start_);
    if (run_.variant.has_teacher()) {
        load(source, teacher_);
        load(source, scores_);
    }
    if (start_.ended > 1 || teacher_.ended > 1)
        source.refuse("a training that ended more than once");
    if (scores_.size() != (teacher_.ended == 1 ? samples_.train.size() : 0))
        source.refuse("a teacher's scores of other samples");
    if (start_.ended + teacher_.ended > 0) training_ = begin(current());
    training_->load_state(source);
}

std::uint64_t Phases::state_layout() {
    auto layout = training_->state_layout();
    if (run_.variant.starts_warm()) layout = mix64(layout ^ layout_of(start_));
    if (run_.variant.has_teacher()) {
        layout = mix64(layout ^ layout_of(teacher_));
        layout = mix64(layout ^ layout_of(scores_));
    }
    return layout;
}

void Phases::store(RunResult const& result, TensorFile& out) {
    if (run_.variant.starts_warm()) store_first(result.start, "start", out);
    if (run_.variant.has_teacher()) store_first(result.teacher, "teacher", out);
    training_->store(result, out);
}

FirstResult read_first(TensorFile const& file, std::string const& first) {
    std::string const prefix = "train." + first + "_";
    FirstResult result;
    result.epochs = static_cast<std::uint32_t>(file.integer(prefix + "epochs"));
    result.best_epoch = static_cast<std::uint32_t>(file.integer(prefix + "best_epoch"));
    result.tune_auc = file.real(prefix + "tune_auc");
    return result;
}

}  // namespace ckvsim::train
