#include "train/trainer.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/tensor_file.hpp"
#include "train/phases.hpp"
#include "train/state_file.hpp"
#include "train/torch_runtime.hpp"

namespace ckvsim::train {

namespace {

constexpr char const* kFormat = "ckvsim-sim-1";
// Part of a weight file's identity: raise it when the same input would give other weights.
constexpr std::int64_t kTrainerVersion = 2;
constexpr char const* kRanks = "train.ranks";
constexpr char const* kStart = "start";
constexpr char const* kTeacher = "teacher";
constexpr char const* kOperations = "train.operations";
constexpr char const* kDevice = "train.device";
constexpr char const* kPrecision = "train.precision";

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
    // Likewise those of random starts and without a teacher.
    if (run.variant.starts_warm()) file.set(kStart, to_string(run.variant.start));
    if (run.variant.has_teacher()) file.set(kTeacher, to_string(run.variant.teacher));
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
    if (run.variant.has_teacher()) {
        file.set_real("train.distil_weight", schedule.distil_weight);
        file.set_real("train.distil_temperature", schedule.distil_temperature);
    }
    file.set("train.threads", std::int64_t{options.threads_per_run});
    // Files of one process stay as they were before there could be more.
    if (ranks > 1) file.set(kRanks, std::int64_t{ranks});
    // Likewise those of the kernels, on the CPU, in fp32.
    auto const& compute = options.compute;
    if (compute.portable()) file.set(kOperations, to_string(OperationKind::portable));
    if (!compute.on_cpu()) file.set(kDevice, compute.device.substr(0, compute.device.find(':')));
    if (compute.precision != Precision::fp32) file.set(kPrecision, to_string(compute.precision));
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
        for (char const* const key : {kRanks, kStart, kTeacher, kOperations, kDevice, kPrecision}) {
            if (file.attributes.contains(key) != identity.attributes.contains(key)) return false;
        }
        result.epochs = static_cast<std::uint32_t>(file.integer("train.epochs"));
        result.best_epoch = static_cast<std::uint32_t>(file.integer("train.best_epoch"));
        result.tune_auc = file.real("train.tune_auc");
        result.tune_logloss = file.real("train.tune_logloss");
        result.train_loss = file.real("train.loss");
        if (file.attributes.contains(kStart)) result.start = read_first(file, kStart);
        if (file.attributes.contains(kTeacher)) result.teacher = read_first(file, kTeacher);
        result.skipped = true;
        return true;
    } catch (Error const&) {
        return false;
    }
}

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

/// Makes `phases` what they were at the last state, if rank 0 finds one.
bool go_on(std::optional<Phases>& phases, StateFile& state, Team& team,
           std::function<void()> const& begin) {
    bool resumed = false;
    if (team.is_root()) {
        bool fresh = true;
        resumed = state.restore([&](ByteSource& source) {
            if (!fresh) begin();  // another state failed half-way
            fresh = false;
            phases->load_state(source);
        });
        if (!resumed && !fresh) begin();
    }
    team.broadcast_value(resumed);
    if (!resumed || team.size() == 1) return resumed;
    ByteBuffer buffer;
    if (team.is_root()) phases->save_state(buffer);
    team.broadcast(buffer.bytes);
    if (!team.is_root()) {
        ByteView source(buffer.bytes);
        phases->load_state(source);
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
    std::optional<Phases> phases;
    auto const start = [&] { phases.emplace(samples, origin, run, team, options.compute); };
    start();
    StateFile state(run.path, state_key(file, phases->state_layout()), options.state_interval_s);
    if (options.force && team.is_root()) state.forget();
    bool const resumed = go_on(phases, state, team, start);
    result = phases->fit(state, on_step);
    result.resumed = resumed;
    if (team.is_root()) {
        phases->store(result, file);
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

std::uint64_t steps_of(Samples const& samples, VariantSpec const& variant) {
    return variant.trainings() * steps_of(samples);
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
