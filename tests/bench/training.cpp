// The trainer's step for CollectiveKV beside the textbook's, which computes the logits of every
// token of every sample (tests/support/textbook_network.hpp): same model, weights, batches, threads
// and optimiser. Both arms run in turn on the same batch, ratios are taken within a round. A cell
// (dataset, m, batch) is a process of its own, so that its peak memory is its own; so is, before it,
// the textbook in every size of micro-batches, whose peak decides whether that size counts. Before a
// cell is timed, both arms' losses and gradients are compared.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "train/torch_runtime.hpp"
#include "training_cell.hpp"

namespace {

using namespace ckvsim;
using bench::Cell;
using nlohmann::json;

struct Options {
    Cell cell;
    std::vector<std::uint32_t> batches = {256, 1024, 2048, 8192};
    std::vector<std::uint32_t> pools = {512, 2048, 10000};
    std::vector<std::string> samples;
    bool no_synthetic = false;
    bool twin = false;
    std::string json_path;
};

constexpr char const* kFooter =
    "A row's bound is tokens / distinct items of the batch's histories: what computing K, V\n"
    "and logits once per item can gain at most, if it gains nothing else. \"routed\" counts\n"
    "short windows, too, which share fewer items.\n"
    "A step is assembly of the batch, forward, backward and Adam, in both arms. The textbook\n"
    "cuts a batch into micro-batches of equal size and adds up gradients; its balance loss is\n"
    "then that of every micro-batch's own mean. Where a step of it would take longer than\n"
    "--limit-s, whole micro-batches of the batch are measured and the row says how many samples;\n"
    "the ratio takes that time times tokens of the batch / tokens of those samples, and is\n"
    "marked ~.\n"
    "A micro-batch counts when the textbook's own process, which trains nothing but it, has a peak\n"
    "(VmHWM, nothing subtracted) within --memory-gib. The row is that of the fastest that counts.\n"
    "\n"
    "Examples:\n"
    "  bench_training --json training.json\n"
    "  bench_training --batch 2048 --m 2048 --rounds 11\n"
    "  bench_training --no-synthetic --samples results/local/kuairand-pure.samples.ckvt\n"
    "  bench_training --batch 64 --m 64 --items 500 --tokens 20 --rounds 3        (does it run?)\n"
    "\n"
    "Exit codes: 0 done, 1 the arms do not compute the same, a cell failed or the BLAS is slow,\n"
    "2 command line, 4 broken sample file, 5 file not written.";

void declare(CLI::App& app, Options& options) {
    auto& cell = options.cell;
    app.add_option("--batch", options.batches, "Samples of a step")
        ->capture_default_str()
        ->check(CLI::Range(1U, 1000000U));
    app.add_option("--m", options.pools, "Pool rows of every K and V")
        ->capture_default_str()
        ->check(CLI::Range(2U, 1000000U));
    app.add_option("--samples", options.samples,
                   "Also measure files of `ckvsim prepare` (SIM or TWIN); their variants are not "
                   "used, only shapes and samples")
        ->check(CLI::ExistingFile);
    app.add_flag("--no-synthetic", options.no_synthetic, "Files alone");
    app.add_flag("--twin", options.twin, "TWIN instead of SIM on synthetic samples");
    app.add_option("--items", cell.zipf.items, "Synthetic: items of the catalogue")
        ->capture_default_str()
        ->check(CLI::Range(2U, 100000000U));
    app.add_option("--exponent", cell.zipf.exponent, "Synthetic: of the Zipf popularity")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 5.0));
    app.add_option("--tokens", cell.zipf.tokens, "Synthetic: of every history")
        ->capture_default_str()
        ->check(CLI::Range(1U, 100000U));
    app.add_option("--features", cell.zipf.features,
                   "Synthetic: of an item, 16 values wide each: d_e = 16 x features")
        ->capture_default_str()
        ->check(CLI::Range(1U, 64U));
    // Without own values TWIN's keys of one pool row are equal and the choice of tokens is open.
    app.add_option("--d-u", cell.d_u, "Own values of a token")
        ->capture_default_str()
        ->check(CLI::Range(1U, 64U));
    app.add_option("--threads", cell.threads, "Of both arms")
        ->capture_default_str()
        ->check(CLI::Range(1U, 4096U));
    app.add_option("--rounds", cell.rounds, "Rounds of a cell")
        ->capture_default_str()
        ->check(CLI::Range(1U, 10000U));
    app.add_option("--cell-s", cell.cell_s, "No round begins after these seconds but the first 3")
        ->capture_default_str();
    app.add_option("--limit-s", cell.limit_s, "Longest step of the textbook, see below")
        ->capture_default_str();
    app.add_option("--memory-gib", cell.memory_gib,
                   "Peak of the textbook's own process, measured")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 1e6));
    app.add_option("--micro-batches", cell.micro_batches,
                   "Of the textbook, in samples; 0: the largest that fits --memory-gib")
        ->delimiter(',')
        ->capture_default_str();
    app.add_option("--json", options.json_path, "Write all rows, rounds included, to this file");
    app.footer(kFooter);
}

/// Runs `work` in a child and returns its JSON. The parent never calls libtorch, so that it has no
/// threads that a fork would lose.
json in_child(std::function<json()> const& work) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        throw Error(ExitCode::backend, "bench_training: pipe");
    std::fflush(nullptr);
    pid_t const child = ::fork();
    if (child < 0) throw Error(ExitCode::backend, "bench_training: fork");
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // who stops the program stops the cell
        json result;
        try {
            result = work();
        } catch (DataError const& error) {
            result = {{"error", error.what()}, {"exit", 4}};
        } catch (std::exception const& error) {
            result = {{"error", error.what()}};
        }
        auto const text = result.dump();
        std::size_t sent = 0;
        while (sent < text.size()) {
            auto const n = ::write(ends[1], text.data() + sent, text.size() - sent);
            if (n <= 0) ::_exit(1);
            sent += static_cast<std::size_t>(n);
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    std::array<char, 65536> buffer{};
    for (ssize_t n = 0; (n = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<std::size_t>(n));
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        return {{"error", "the cell ended with signal " + std::to_string(WTERMSIG(status))}};
    return json::parse(text);
}

std::string spread(json const& value, int digits) {
    std::array<char, 96> text{};
    std::snprintf(text.data(), text.size(), "%.*f (%.*f-%.*f)", digits,
                  value["median"].get<double>(), digits, value["low"].get<double>(), digits,
                  value["high"].get<double>());
    return text.data();
}

std::string number(double value, int digits = 0) {
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%.*f", digits, value);
    return text.data();
}

constexpr std::array<char const*, 17> kHead = {
    "dataset",        "model",                 "m",            "batch",
    "tokens",         "unique items",          "bound",        "ours ms",
    "textbook ms",    "of samples",            "micro-batch",  "textbook / ours",
    "share of bound", "share of routed bound", "our peak MiB", "textbook peak MiB",
    "other micro-batches"};

/// The textbook's other sizes of micro-batches: ratio, or peak of one that does not fit.
std::string others_of(json const& row) {
    std::string text;
    for (auto const& entry : row["textbook"]) {
        if (entry["micro_batch"] == row["micro_batch"]) continue;
        text += (text.empty() ? "" : ", ") + std::to_string(entry["micro_batch"].get<int>());
        text += entry["fits"].get<bool>()
                    ? ": " + number(entry["ratio"]["median"], 2)
                    : ": does not fit, " + number(entry["textbook_peak_mib"]) + " MiB";
    }
    return text.empty() ? "none" : text;
}

void print_line(std::vector<std::string> const& cells) {
    for (auto const& cell : cells) std::printf("| %s ", cell.c_str());
    std::printf("|\n");
    std::fflush(stdout);
}

void print_row(json const& row) {
    auto const path = row["dataset"].get<std::string>();
    std::vector<std::string> cells = {path.substr(path.rfind('/') + 1), row["model"],
                                      std::to_string(row["m"].get<int>()),
                                      std::to_string(row["batch"].get<int>())};
    if (row.contains("skipped")) {
        cells.push_back("skipped: " + row["skipped"].get<std::string>());
        cells.resize(kHead.size());
        return print_line(cells);
    }
    bool const part = row["measured_samples"] < row["batch"];
    auto const measured = std::to_string(row["measured_samples"].get<int>());
    cells.insert(cells.end(),
                 {number(row["tokens"]), number(row["unique"]), spread(row["bound"], 1),
                  spread(row["ours_ms"], 0), spread(row["textbook_ms"], 0),
                  part ? measured : "all", std::to_string(row["micro_batch"].get<int>()),
                  (part ? "~" : "") + spread(row["ratio"], 2), spread(row["share"], 2),
                  spread(row["routed_share"], 2), number(row["peak_mib"]),
                  number(row["textbook_peak_mib"]), others_of(row)});
    print_line(cells);
}

/// Runs `work` as the trainer's program does, which sets the allocator: for both arms.
json in_trainers_child(std::function<json()> const& work) {
    return in_child([&] {
        train::tune_allocator();
        return work();
    });
}

/// The textbook's peaks, each from a process of its own, then the cell. A failure is the row's.
json row_of(Cell const& cell) {
    json failure;
    auto const peak_of = [&](std::uint32_t micro_batch) {
        auto const peak =
            in_trainers_child([&] { return bench::textbook_peak(cell, micro_batch); });
        if (peak.contains("error")) failure = peak;
        // Where the samples are too few there is no peak: the cell itself says so.
        auto const size = std::clamp(micro_batch, 1U, cell.batch);
        return test::MicroBatchPeak{peak.value("micro_batch", size), peak.value("peak_mib", 0.0),
                                    peak.value("fits", !peak.contains("error"))};
    };
    auto const peaks = test::micro_batch_peaks(cell.micro_batches, cell.batch, peak_of);
    auto row = failure;
    if (row.is_null()) row = in_trainers_child([&] { return bench::measure(cell, peaks); });
    if (!row.contains("m")) row.update({{"m", cell.m}, {"batch", cell.batch}});
    return row;
}

std::vector<Cell> cells_of(Options const& options) {
    std::vector<std::string> datasets;
    if (!options.no_synthetic) datasets.emplace_back();
    datasets.insert(datasets.end(), options.samples.begin(), options.samples.end());
    std::vector<Cell> cells;
    for (auto const& dataset : datasets) {
        for (auto const m : options.pools) {
            for (auto const batch : options.batches) {
                auto cell = options.cell;
                cell.samples = dataset;
                cell.zipf.model = options.twin ? train::Model::twin : train::Model::sim;
                cell.m = m;
                cell.batch = batch;
                cells.push_back(cell);
            }
        }
    }
    return cells;
}

int run(Options const& options) {
    json document = {{"format", "ckvsim-training-2"}, {"rows", json::array()}};
    auto const& one = options.cell;
    document["provenance"] = in_child([] { return bench::provenance(); });
    document["context"] = in_child([&] { return bench::context_of(one.threads); });
    auto& context = document["context"];
    if (context["blas_gflops_one_thread"] < train::kSlowGemm_gflops) {
        std::fprintf(stderr,
                     "bench_training: libtorch's BLAS reaches %.1f GFLOP/s, which says nothing "
                     "about either arm; install libopenblas0-openmp\n",
                     context["blas_gflops_one_thread"].get<double>());
        return 1;
    }
    context["textbook_memory_gib"] = one.memory_gib;
    context["limit_s"] = one.limit_s;
    context["zipf"] = {{"items", one.zipf.items},
                       {"exponent", one.zipf.exponent},
                       {"tokens", one.zipf.tokens}};
    for (auto const* part : {"provenance", "context"})
        for (auto const& [key, value] : document[part].items())
            std::printf("- %s: %s\n", key.c_str(), value.dump().c_str());
    std::printf("\n");
    print_line({kHead.begin(), kHead.end()});
    print_line(std::vector<std::string>(kHead.size(), "---"));
    int status = 0;
    for (auto const& cell : cells_of(options)) {
        auto row = row_of(cell);
        if (row.contains("error")) {
            std::fprintf(stderr, "bench_training: %s, m = %u, batch = %u: %s\n",
                         cell.samples.empty() ? "zipf" : cell.samples.c_str(), cell.m, cell.batch,
                         row["error"].get<std::string>().c_str());
            status = row.value("exit", 1);
            if (status == 4) return status;
        } else {
            print_row(row);
        }
        document["rows"].push_back(std::move(row));
    }
    if (options.json_path.empty()) return status;
    std::ofstream file(options.json_path);
    file << document.dump(1) << "\n";
    file.close();
    if (file) return status;
    std::fprintf(stderr, "bench_training: cannot write %s\n", options.json_path.c_str());
    return 5;
}

}  // namespace

int main(int argc, char** argv) {
#ifndef NDEBUG
    std::fprintf(stderr, "bench_training: built with assertions; build the bench preset\n");
    return 1;
#endif
    Options options;
    options.cell.threads = std::max(1U, std::thread::hardware_concurrency());
    CLI::App app("Training step of CollectiveKV beside the textbook's, per token");
    declare(app, options);
    try {
        app.parse(argc, argv);
    } catch (CLI::ParseError const& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        return run(options);
    } catch (std::exception const& error) {
        std::fprintf(stderr, "bench_training: %s\n", error.what());
        return 1;
    }
}
