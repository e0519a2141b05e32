#include "training_cell.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <span>
#include <vector>

#include "app/machine.hpp"
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
using test::kLargest;
using test::MicroBatchPeak;
using test::TextbookNetwork;

constexpr std::uint64_t kSeed = 1;
constexpr std::size_t kCheckedSamples = 32;
/// Rounds make a range from here on.
constexpr std::size_t kFewestRounds = 3;
/// Steps of ours in a round: as many as fill this, a few at most.
constexpr double kOurShare_s = 0.5;
constexpr double kMostSteps = 5;
/// Of the textbook before its peak is read: what the first leaves free is in pieces, the second
/// takes more.
constexpr std::size_t kPeakSteps = 2;

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

std::uint32_t history_length(Samples const& samples, std::uint32_t row) {
    return std::min(samples.train.history_end[row], samples.shape.max_tokens);
}

VariantSpec variant_of(Cell const& cell) {
    return {Kind::collective, Scope::all, cell.d_u, cell.m, "bench"};
}

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

/// Micro-batches of equal size, none larger than `most`: the last one would be small.
std::size_t equal_parts(std::size_t batch, std::size_t most) {
    std::size_t const count = (batch + most - 1) / most;
    return (batch + count - 1) / count;
}

/// The textbook in one size of micro-batches, on the whole batch or on as much of it as the limit
/// allows.
class Theirs {
  public:
    Theirs(Samples const& samples, TextbookNetwork& network, std::size_t micro_batch)
        : samples_(samples), network_(network), micro_batch_(micro_batch) {}

    /// Trains on one micro-batch.
    TextbookNetwork::Step one(std::span<std::uint32_t const> rows) {
        return network_.train_step(samples_.train, rows.first(micro_batch_), micro_batch_);
    }

    /// Chooses the part of the batch, `step` being one micro-batch's.
    void plan(double limit_s, TextbookNetwork::Step const& step, std::size_t batch) {
        auto const count = (batch + micro_batch_ - 1) / micro_batch_;
        double const affordable = (limit_s - step.update_s) / step.passes_s;
        bool const all = affordable >= static_cast<double>(count);
        auto const part = micro_batch_ * static_cast<std::size_t>(std::max(1.0, affordable));
        measured_ = all ? batch : std::min(batch, part);
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
            auto const length = history_length(samples_, row);
            tokens += length + std::min(length, samples_.shape.short_tokens);
        }
        return std::max(tokens, 1.0);
    }

    Samples const& samples_;
    TextbookNetwork& network_;
    std::size_t micro_batch_ = 1;
    std::size_t measured_ = 0;
};

/// The largest micro-batch of which `peak_bytes` expects that it fits.
std::size_t expected_to_fit(Cell const& cell, Samples const& samples, VariantSpec const& variant,
                            std::span<std::uint32_t const> rows) {
    double tokens = 0;
    double short_tokens = 0;
    for (auto const row : rows) {
        auto const length = history_length(samples, row);
        tokens += length;
        short_tokens += std::min(length, samples.shape.short_tokens);
    }
    auto const batch = static_cast<double>(rows.size());
    double const sample =
        TextbookNetwork::peak_bytes(variant, tokens / batch, short_tokens / batch);
    auto const fits = std::clamp(std::floor(cell.memory_gib * 0x1p30 / sample), 1.0, batch);
    return equal_parts(rows.size(), static_cast<std::size_t>(fits));
}

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

/// Of one size of micro-batches.
struct TextbookRounds {
    std::vector<double> ms, whole_ms, ratio, share, routed_share;
};

struct Rounds {
    explicit Rounds(std::size_t micro_batches) : textbook(micro_batches) {}
    std::vector<double> ours_ms, bound;
    std::vector<TextbookRounds> textbook;
    double tokens = 0, unique = 0, routed_bound = 0;
    void add(double ours_s, std::vector<Theirs::Time> const& theirs, Work const& work) {
        double const routed = work.routed_tokens / work.routed_unique;
        ours_ms.push_back(1e3 * ours_s);
        bound.push_back(work.tokens / work.unique);
        for (std::size_t i = 0; i < theirs.size(); ++i) {
            auto& out = textbook[i];
            out.ms.push_back(1e3 * theirs[i].measured_s);
            out.whole_ms.push_back(1e3 * theirs[i].whole_s);
            out.ratio.push_back(theirs[i].whole_s / ours_s);
            out.share.push_back(out.ratio.back() / bound.back());
            out.routed_share.push_back(out.ratio.back() / routed);
        }
        auto const n = static_cast<double>(bound.size());
        tokens += (work.tokens - tokens) / n;
        unique += (work.unique - unique) / n;
        routed_bound += (routed - routed_bound) / n;
    }
};

Rounds alternate(Cell const& cell, Batches const& batches, Ours& ours, std::vector<Theirs>& theirs,
                 double our_step_s) {
    auto const steps = static_cast<int>(std::clamp(kOurShare_s / our_step_s, 1.0, kMostSteps));
    Rounds out(theirs.size());
    auto const begin = Clock::now();
    for (std::size_t r = 0; r < cell.rounds; ++r) {
        if (r >= kFewestRounds && seconds_since(begin) > cell.cell_s) break;
        auto const rows = batches.rows(r + 2);
        double our_s = 0;
        std::vector<Theirs::Time> times(theirs.size());
        auto const run_ours = [&] {
            for (int i = 0; i < steps; ++i) our_s += ours.step(rows) / steps;
        };
        // Who comes second finds the batch in the caches.
        if (r % 2 == 0) run_ours();
        for (std::size_t i = 0; i < theirs.size(); ++i) {
            auto const at = (i + r / 2) % theirs.size();
            times[at] = theirs[at].step(rows);
        }
        if (r % 2 == 1) run_ours();
        out.add(our_s, times, ours.work());
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
            {"threads", cell.threads},
            {"textbook_memory_mib", 1024 * cell.memory_gib}};
}

json skipped(Samples const& samples) {
    return {{"skipped", "the file has " + std::to_string(samples.train.size()) + " samples"}};
}

json with_rounds(std::vector<double> const& values) {
    auto out = spread_of(values);
    out["rounds"] = values;
    return out;
}

/// One entry of the row's "textbook" for every micro-batch, whether it was timed or not.
json textbook_entries(std::vector<MicroBatchPeak> const& peaks, std::vector<Theirs> const& theirs,
                      Rounds const& rounds) {
    auto entries = json::array();
    std::size_t timed = 0;
    for (auto const& peak : peaks) {
        json entry = {{"micro_batch", peak.micro_batch},
                      {"textbook_peak_mib", peak.peak_mib},
                      {"fits", peak.fits}};
        if (peak.fits) {
            auto const& values = rounds.textbook[timed];
            entry["measured_samples"] = theirs[timed++].measured_samples();
            entry["textbook_ms"] = with_rounds(values.ms);
            entry["textbook_whole_ms"] = with_rounds(values.whole_ms);
            entry["ratio"] = with_rounds(values.ratio);
            entry["share"] = with_rounds(values.share);
            entry["routed_share"] = with_rounds(values.routed_share);
        }
        entries.push_back(std::move(entry));
    }
    return entries;
}

/// The row's own figures are those of the textbook's fastest micro-batch.
void add_fastest(json& row) {
    json const* fastest = nullptr;
    for (auto const& entry : row["textbook"]) {
        if (!entry["fits"].get<bool>()) continue;
        if (fastest == nullptr || entry["ratio"]["median"] < (*fastest)["ratio"]["median"])
            fastest = &entry;
    }
    json const copy = *fastest;
    row.update(copy);
    row.erase("fits");
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

json provenance() {
    auto facts = app::machine_provenance();
    json out;
    for (auto const* key : {"version", "commit", "dirty", "build_type", "compiler", "cpu",
                            "cores_online", "cores_in_affinity_mask", "memory_bytes", "date_utc"})
        out[key] = facts.at(key);
    return out;
}

json textbook_peak(Cell const& cell, std::uint32_t micro_batch) {
    set_operation_threads(cell.threads);
    auto const samples = samples_of(cell);
    if (samples.train.size() < cell.batch) return skipped(samples);
    auto const variant = variant_of(cell);
    Batches const batches(samples, cell.batch);
    std::size_t const size =
        micro_batch == kLargest ? expected_to_fit(cell, samples, variant, batches.rows(0))
                                : std::min(micro_batch, cell.batch);
    // Weights stay zero: no size depends on them, and the trainer's would need its memory.
    TextbookNetwork network(samples, variant);
    Theirs theirs(samples, network, size);
    double const most = 1024 * cell.memory_gib;
    auto const step = theirs.one(batches.rows(0));
    theirs.plan(cell.limit_s, step, cell.batch);
    for (std::size_t i = 1; i <= kPeakSteps && peak_mib() <= most; ++i)
        theirs.step(batches.rows(i));
    double const peak = peak_mib();
    return {{"micro_batch", size}, {"peak_mib", peak}, {"fits", peak <= most}};
}

json measure(Cell const& cell, std::vector<MicroBatchPeak> const& peaks) {
    set_operation_threads(cell.threads);
    auto const samples = samples_of(cell);
    auto row = row_of(cell, samples);
    if (samples.train.size() < cell.batch) {
        row.update(skipped(samples));
        return row;
    }
    if (std::none_of(peaks.begin(), peaks.end(), [](auto const& peak) { return peak.fits; })) {
        row["textbook"] = textbook_entries(peaks, {}, Rounds(0));
        row["error"] = "no micro-batch of the textbook fits " + json(cell.memory_gib).dump() +
                       " GiB: see its measured peaks";
        return row;
    }
    auto const variant = variant_of(cell);
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
    TextbookNetwork network(samples, variant);
    network.restore(weights);
    std::vector<Theirs> theirs;
    for (auto const& peak : peaks) {
        if (!peak.fits) continue;
        theirs.emplace_back(samples, network, peak.micro_batch);
        auto step = theirs.back().one(batches.rows(1));
        // The first one pays for the pages.
        if (step.passes_s < cell.limit_s) step = theirs.back().one(batches.rows(1));
        theirs.back().plan(cell.limit_s, step, cell.batch);
    }
    auto const rounds = alternate(cell, batches, ours, theirs, our_step_s);
    row["tokens"] = rounds.tokens;
    row["unique"] = rounds.unique;
    row["routed_bound"] = rounds.routed_bound;
    row["rounds"] = rounds.bound.size();
    row["ours_ms"] = with_rounds(rounds.ours_ms);
    row["bound"] = with_rounds(rounds.bound);
    row["textbook"] = textbook_entries(peaks, theirs, rounds);
    add_fastest(row);
    row["peak_both_mib"] = peak_mib();
    return row;
}

}  // namespace ckvsim::bench
