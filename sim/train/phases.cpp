#include "train/phases.hpp"

#include <utility>

#include "core/hash.hpp"
#include "train/warm_start.hpp"

namespace ckvsim::train {

Phases::Phases(Samples const& samples, std::string const& origin, TrainingRun const& run,
               Team& team, Compute const& compute)
    : samples_(samples), origin_(origin), run_(run), team_(team), compute_(compute) {
    training_ = begin(run.variant.starts_warm() ? start_of(run.variant) : run.variant);
}

std::unique_ptr<Training> Phases::begin(VariantSpec const& variant) const {
    return std::make_unique<Training>(samples_, origin_, variant, run_.seed, team_, compute_);
}

RunResult Phases::fit(StateFile& state, StepCallback const& on_step) {
    auto const after_step = [&] {
        if (team_.is_root() && state.is_due())
            state.keep([this](ByteSink& sink) { save_state(sink); });
        if (on_step)
            on_step(start_.result.steps + training_->steps(), steps_of(samples_, run_.variant));
    };
    if (run_.variant.starts_warm() && start_.ended == 0) {
        auto const first = training_->fit(after_step);
        start_.result = {first.epochs,       first.best_epoch, first.tune_auc,
                         training_->steps(), first.samples,    digest_of(training_->network())};
        start_from_first();
    }
    auto result = training_->fit(after_step);
    result.samples += start_.result.samples;
    result.start = start_.result;
    return result;
}

void Phases::start_from_first() {
    auto pools = begin(run_.variant);
    start_warm(training_->network(), samples_, run_.variant, run_.seed, pools->network());
    training_ = std::move(pools);
    start_.ended = 1;
    training_->require_equal_weights("of its warm start");
}

void Phases::save_state(ByteSink& sink) {
    if (run_.variant.starts_warm()) save(sink, start_);
    training_->save_state(sink);
}

void Phases::load_state(ByteSource& source) {
    if (run_.variant.starts_warm()) {
        load(source, start_);
        if (start_.ended > 1) source.refuse("a warm start that ended more than once");
        if (start_.ended == 1) training_ = begin(run_.variant);
    }
    training_->load_state(source);
}

std::uint64_t Phases::state_layout() {
    auto const layout = training_->state_layout();
    return run_.variant.starts_warm() ? mix64(layout ^ layout_of(start_)) : layout;
}

void Phases::store(RunResult const& result, TensorFile& out) {
    if (run_.variant.starts_warm()) {
        out.set("train.start_epochs", std::int64_t{result.start.epochs});
        out.set("train.start_best_epoch", std::int64_t{result.start.best_epoch});
        out.set_real("train.start_tune_auc", result.start.tune_auc);
        // A word before it, so that nobody takes digits for a number.
        out.set("train.start_weights", "digest " + to_hex(result.start.weights));
    }
    training_->store(result, out);
}

void read_start(TensorFile const& file, StartResult& result) {
    result.epochs = static_cast<std::uint32_t>(file.integer("train.start_epochs"));
    result.best_epoch = static_cast<std::uint32_t>(file.integer("train.start_best_epoch"));
    result.tune_auc = file.real("train.start_tune_auc");
}

}  // namespace ckvsim::train
