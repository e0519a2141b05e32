#include "training_cell.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <span>
#include <vector>

#include "core/error.hpp"
#include "textbook_network.hpp"
#include "train/batch.hpp"
#include "train/sim_network.hpp"
#include "train/torch_runtime.hpp"

namespace ckvsim::bench {

namespace {

using namespace train;
using Clock = std::chrono::steady_clock;
using nlohmann::json;
using test::TextbookNetwork;

constexpr std::uint64_t kSeed = 1;
constexpr std::size_t kCheckedSamples = 32;
/// Rounds make a range from here on.
constexpr std::size_t kFewestRounds = 3;
/// Steps of ours in a round: as many as fill this, a few at most.
constexpr double kOurShare_s = 0.5;
constexpr double kMostSteps = 5;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// VmHWM of this process.
double peak_mib() {
    std::ifstream status("/proc/self/status");
    for (std::string key; status >> key;) {
        double kib = 0;
        if (key == "VmHWM:" && status >> kib) return kib / 1024.0;
    }
    throw Error(ExitCode::internal, "bench_training: /proc/self/status has no VmHWM");
}

/// What a batch asks of the routers; of histories and of all branches.
struct Work {
    double tokens = 0;
    double unique = 0;
    double routed_tokens = 0;
    double routed_unique = 0;
    explicit Work(Batch const& batch)
        : tokens(static_cast<double>(batch.whole.long_tokens)),
          unique(static_cast<double>(batch.long_items)),
          routed_tokens(tokens + static_cast<double>(batch.whole.short_tokens)),
          routed_unique(unique + static_cast<double>(batch.short_items)) {}
};

/// Batches of the first epoch, over and over.
class Batches {
  public:
    Batches(Samples const& samples, std::size_t batch)
        : order_(epoch_order(samples.train.size(), kSeed, 1)), batch_(batch) {}
    [[nodiscard]] std::span<std::uint32_t const> rows(std::size_t number) const {
        auto const there = order_.size() / batch_;
        return std::span(order_).subspan(number % there * batch_, batch_);
    }

  private:
    std::vector<std::uint32_t> order_;
    std::size_t batch_;
};

/// The trainer: assembly of the batch and step, as its epochs have them.
class Ours {
  public:
    Ours(Samples const& samples, VariantSpec const& variant)
        : samples_(samples), builder_(samples), network_(samples, variant, kSeed) {}
    double step(std::span<std::uint32_t const> rows) {
        auto const begin = Clock::now();
        builder_.build(samples_.train, rows, batch_);
        auto const losses = network_.train_step(batch_);
        if (!std::isfinite(losses.click + losses.peak + losses.balance))
            throw Error(ExitCode::internal, "bench_training: the loss is not finite");
        return seconds_since(begin);
    }
    [[nodiscard]] Work work() const { return Work(batch_); }
    [[nodiscard]] SimNetwork const& network() const { return network_; }

  private:
    Samples const& samples_;
    BatchBuilder builder_;
    SimNetwork network_;
    Batch batch_;
};

/// The textbook, on the whole batch or on as much of it as the limit allows.
class Theirs {
  public:
    Theirs(Samples const& samples, VariantSpec const& variant,
           std::vector<std::vector<float>> const& weights)
        : samples_(samples), network_(samples, variant) {
        network_.restore(weights);
    }

    /// Chooses the micro-batch and, after a step on one of them, the part of the batch.
    void plan(Cell const& cell, Work const& work, std::span<std::uint32_t const> rows,
              VariantSpec const& variant) {
        micro_batch_ = cell.micro_batch;
        double const batch = cell.batch;
        if (micro_batch_ == 0) {
            double const sample = TextbookNetwork::peak_bytes(
                variant, work.tokens / batch, (work.routed_tokens - work.tokens) / batch);
            auto const fits = std::floor(cell.memory_gib * 0x1p30 / sample);
            micro_batch_ = static_cast<std::size_t>(std::clamp(fits, 1.0, batch));
        }
        // Of equal size: the last one would be small.
        std::size_t const count = (rows.size() + micro_batch_ - 1) / micro_batch_;
        if (cell.micro_batch == 0) micro_batch_ = (rows.size() + count - 1) / count;
        auto const one = rows.first(std::min(rows.size(), micro_batch_));
        auto step = network_.train_step(samples_.train, one, micro_batch_);
        // The first one pays for the pages.
        if (step.passes_s < cell.limit_s)
            step = network_.train_step(samples_.train, one, micro_batch_);
        double const affordable = (cell.limit_s - step.update_s) / step.passes_s;
        bool const all = affordable >= static_cast<double>(count);
        measured_ = all ? rows.size()
                        : std::min(rows.size(), micro_batch_ * static_cast<std::size_t>(
                                                                   std::max(1.0, affordable)));
    }

    struct Time {
        double measured_s = 0;  ///< of the part
        double whole_s = 0;     ///< of the batch: passes of the part by its share of the tokens
    };
    Time step(std::span<std::uint32_t const> rows) {
        auto const part = rows.first(measured_);
        auto const step = network_.train_step(samples_.train, part, micro_batch_);
        double const measured = step.passes_s + step.update_s;
        if (part.size() == rows.size()) return {measured, measured};
        return {measured, step.passes_s * routed(rows) / routed(part) + step.update_s};
    }

    [[nodiscard]] std::size_t micro_batch() const { return micro_batch_; }
    [[nodiscard]] std::size_t measured_samples() const { return measured_; }

  private:
    [[nodiscard]] double routed(std::span<std::uint32_t const> rows) const {
        double tokens = 0;
        for (auto const row : rows) {
            auto const end = samples_.train.history_end[row];
            auto const length = std::min(end, samples_.shape.max_tokens);
            tokens += length + std::min(length, samples_.shape.short_tokens);
        }
        return std::max(tokens, 1.0);
    }

    Samples const& samples_;
    TextbookNetwork network_;
    std::size_t micro_batch_ = 1;
    std::size_t measured_ = 0;
};

/// Losses and gradients of both arms on a small batch, one micro-batch, dropout off (their masks
/// come from different generators).
json check(Samples const& samples, VariantSpec const& variant,
           std::vector<std::vector<float>> const& weights, std::span<std::uint32_t const> rows) {
    Samples plain = samples;
    plain.schedule.dropout = 0;
    auto const few = rows.first(std::min(rows.size(), kCheckedSamples));
    SimNetwork ours(plain, variant, kSeed);
    ours.restore(weights);
    TextbookNetwork theirs(plain, variant);
    theirs.restore(weights);
    Batch batch;
    BatchBuilder(plain).build(plain.train, few, batch);
    std::map<std::string, std::vector<float>> expected;
    std::map<std::string, std::vector<float>> got;
    auto const a = ours.gradients(batch, expected);
    auto const b = theirs.gradients(plain.train, few, few.size(), got);
    auto worst = test::difference(expected, got);
    for (auto const& [name, x, y] :
         {std::tuple{"click loss", a.click, b.click}, {"search loss", a.search, b.search},
          {"peak loss", a.peak, b.peak}, {"balance loss", a.balance, b.balance}}) {
        double const apart = x == y ? 0 : std::abs(x - y) / std::max(std::abs(x), 1e-3);
        if (!(apart <= worst.relative)) worst = {apart, name};
    }
    return {{"relative", worst.relative}, {"where", worst.tensor}, {"samples", few.size()}};
}

Samples samples_of(Cell const& cell) {
    // As many batches as differ from round to round.
    auto samples = cell.samples.empty() ? make_samples(cell.zipf, 4 * cell.batch)
                                        : read_samples(cell.samples);
    samples.schedule.batch = cell.batch;
    return samples;
}

struct Rounds {
    std::vector<double> ours_ms, textbook_ms, whole_ms, ratio, bound, share, routed_share;
    double tokens = 0, unique = 0, routed_bound = 0;
    void add(double ours_s, Theirs::Time const& theirs, Work const& work) {
        ours_ms.push_back(1e3 * ours_s);
        textbook_ms.push_back(1e3 * theirs.measured_s);
        whole_ms.push_back(1e3 * theirs.whole_s);
        ratio.push_back(theirs.whole_s / ours_s);
        bound.push_back(work.tokens / work.unique);
        share.push_back(ratio.back() / bound.back());
        double const routed = work.routed_tokens / work.routed_unique;
        routed_share.push_back(ratio.back() / routed);
        auto const n = static_cast<double>(ratio.size());
        tokens += (work.tokens - tokens) / n;
        unique += (work.unique - unique) / n;
        routed_bound += (routed - routed_bound) / n;
    }
};

Rounds alternate(Cell const& cell, Batches const& batches, Ours& ours, Theirs& theirs,
                 double our_step_s) {
    auto const steps = static_cast<int>(std::clamp(kOurShare_s / our_step_s, 1.0, kMostSteps));
    Rounds out;
    auto const begin = Clock::now();
    for (std::size_t r = 0; r < cell.rounds; ++r) {
        if (r >= kFewestRounds && seconds_since(begin) > cell.cell_s) break;
        auto const rows = batches.rows(r + 2);
        double our_s = 0;
        Theirs::Time their_time;
        auto const run_ours = [&] {
            for (int i = 0; i < steps; ++i) our_s += ours.step(rows) / steps;
        };
        // Who comes second finds the batch in the caches.
        if (r % 2 == 0) run_ours();
        their_time = theirs.step(rows);
        if (r % 2 == 1) run_ours();
        out.add(our_s, their_time, ours.work());
    }
    return out;
}

json row_of(Cell const& cell, Samples const& samples) {
    return {{"dataset", cell.samples.empty() ? "zipf" : cell.samples},
            {"model", to_string(samples.shape.model)},
            {"batch", cell.batch},
            {"m", cell.m},
            {"d_u", cell.d_u},
            {"d_e", samples.shape.d_e()},
            {"attention_dim", samples.shape.attention_dim},
            {"threads", cell.threads}};
}

}  // namespace

json spread_of(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    auto const at = [&](double part) {
        double const place = part * static_cast<double>(values.size() - 1);
        auto const low = static_cast<std::size_t>(place);
        auto const high = std::min(low + 1, values.size() - 1);
        return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
    };
    return {{"low", at(0.25)}, {"median", at(0.5)}, {"high", at(0.75)}};
}

json context_of(std::uint32_t threads) {
    using Config = char* (*)();
    set_operation_threads(1);
    auto* config = reinterpret_cast<Config>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
    return {{"torch", operations_version()},
            {"blas", config == nullptr ? "not OpenBLAS" : config()},
            {"blas_gflops_one_thread", gemm_gflops()},
            {"threads", threads}};
}

json measure(Cell const& cell) {
    set_operation_threads(cell.threads);
    auto const samples = samples_of(cell);
    auto row = row_of(cell, samples);
    if (samples.train.size() < cell.batch) {
        row["skipped"] = "the file has " + std::to_string(samples.train.size()) + " samples";
        return row;
    }
    VariantSpec const variant{Kind::collective, Scope::all, cell.d_u, cell.m, "bench"};
    Batches const batches(samples, cell.batch);
    Ours ours(samples, variant);
    ours.step(batches.rows(0));
    double const our_step_s = ours.step(batches.rows(1));
    row["peak_mib"] = peak_mib();  // nothing of the textbook's is there yet
    auto const weights = ours.network().snapshot();
    row["check"] = check(samples, variant, weights, batches.rows(0));
    if (!(row["check"]["relative"] <= kTolerance)) {
        row["error"] = "the arms do not compute the same: " +
                       row["check"]["where"].get<std::string>() + " differs by " +
                       row["check"]["relative"].dump() + " of its size";
        return row;
    }
    Theirs theirs(samples, variant, weights);
    theirs.plan(cell, ours.work(), batches.rows(1), variant);
    auto const rounds = alternate(cell, batches, ours, theirs, our_step_s);
    row["micro_batch"] = theirs.micro_batch();
    row["measured_samples"] = theirs.measured_samples();
    row["tokens"] = rounds.tokens;
    row["unique"] = rounds.unique;
    row["routed_bound"] = rounds.routed_bound;
    row["rounds"] = rounds.ratio.size();
    for (auto const& [key, values] : {std::pair{"ours_ms", &rounds.ours_ms},
                                      {"textbook_ms", &rounds.textbook_ms},
                                      {"textbook_whole_ms", &rounds.whole_ms},
                                      {"ratio", &rounds.ratio},
                                      {"bound", &rounds.bound},
                                      {"share", &rounds.share},
                                      {"routed_share", &rounds.routed_share}}) {
        row[key] = spread_of(*values);
        row[key]["rounds"] = *values;
    }
    row["peak_both_mib"] = peak_mib();
    return row;
}

}  // namespace ckvsim::bench
