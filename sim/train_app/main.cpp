// ckvsim-train: command line, progress on standard error, one result line per weight file on
// standard output; under mpirun rank 0 speaks for all.
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "train/compute.hpp"
#include "train/team.hpp"
#include "train/torch_runtime.hpp"
#include "train/trainer.hpp"
#include "train_app/comm_exchange.hpp"

namespace {

using namespace ckvsim;

struct Options {
    std::string samples;
    std::string only;
    std::vector<std::uint64_t> seeds;
    std::uint32_t threads = 0;
    std::uint32_t threads_per_run = 1;
    bool force = false;
    double state_interval_s = 0.0;
    std::string device = "cpu";
    std::string operations = "auto";
    std::string precision = "fp32";
    bool quiet = false;
};

/// Cores this process may run on.
std::uint32_t available_cores() {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return static_cast<std::uint32_t>(CPU_COUNT(&set));
}

void declare(CLI::App& app, Options& options) {
    app.add_option("samples", options.samples, "Sample file written by ckvsim prepare")->required();
    app.add_option("--only", options.only,
                   "Train only the variant with this stem, for example full or "
                   "collective_all_du1_m512 (default: every variant of the sample file)");
    app.add_option("--seed", options.seeds,
                   "Train only these seeds; may be repeated (default: the sample file's)");
    app.add_option("--threads", options.threads,
                   "Threads in use at once (default: the cores this process may run on); not under "
                   "mpirun, where one variant and seed trains at a time")
        ->check(CLI::Range(1U, 4096U));
    app.add_option("--threads-per-run", options.threads_per_run,
                   "Threads that work on one variant and seed, of each rank; threads / "
                   "threads-per-run of them train at once. OMP_NUM_THREADS is not read. Part of a "
                   "weight file's identity: sums depend on it")
        ->capture_default_str()
        ->check(CLI::Range(1U, 4096U));
    app.add_flag("--force", options.force,
                 "Train again, from the start, although a weight file is up to date");
    app.add_option("--checkpoint-interval", options.state_interval_s,
                   "Seconds between two states of a run in progress, from which the same command "
                   "goes on after a kill (default: the longer of 300 and 50 times the last write)")
        ->check(CLI::Range(0.001, 1e9));
    app.add_option(
           "--device", options.device,
           "Where networks compute: cpu, cuda or cuda:N. Under mpirun, cuda gives rank r the "
           "device r modulo their number")
        ->capture_default_str();
    app.add_option("--ops", options.operations,
                   "Operations: kernels (this program's own, for the CPU), portable (libtorch's "
                   "tensor operations, for any device) or auto: kernels on the CPU, portable "
                   "elsewhere")
        ->capture_default_str();
    app.add_option("--precision", options.precision,
                   "Operands of matrix products: fp32, or bf16 with portable operations; sums, "
                   "weights and losses are fp32 always")
        ->capture_default_str();
    app.add_flag("-q,--quiet", options.quiet, "No progress on standard error");
    app.footer(
        "Weight files go to <weights_dir>/<stem>_seed<seed>.ckvt as named in the sample file, "
        "whole "
        "or not\nat all. A file made from the same samples, shapes and schedule is kept, so that "
        "an "
        "interrupted command\ncan be repeated; the runs that it was in go on from their last "
        "state. Same samples, seed, ranks and threads per run: same "
        "bytes.\n"
        "\n"
        "Under mpirun -n N the ranks share every batch: the objective, early stop and tune AUC are "
        "those of whole\nbatches and splits, so loss curves agree with one process up to the "
        "order of sums. training.batch\nmust be at least N. Rank 0 alone writes; the sample file "
        "must be the same on all ranks.\n"
        "\n"
        "Examples:\n"
        "  ckvsim prepare workloads/specs/quickstart.json && ckvsim-train "
        "results/local/quickstart.samples.ckvt\n"
        "  ckvsim-train results/local/quickstart.samples.ckvt --only full --seed 1 "
        "--threads-per-run 2\n"
        "  mpirun --bind-to none -n 2 ckvsim-train results/local/quickstart.samples.ckvt\n"
        "  ckvsim-train results/local/quickstart.samples.ckvt --device cuda --precision bf16\n"
        "\n"
        "Exit codes: 0 done, 1 internal error, 2 command line, 4 broken sample file or diverged "
        "training,\n5 file system, memory, MPI, libtorch or a device that is not there.");
}

std::vector<train::TrainingRun> choose_runs(train::Samples const& samples, Options const& options) {
    std::vector<train::TrainingRun> runs;
    auto const& seeds = options.seeds.empty() ? samples.seeds : options.seeds;
    // Seeds outermost: an interrupted campaign has whole seeds.
    for (auto const seed : seeds) {
        for (auto const& variant : samples.variants) {
            if (!options.only.empty() && variant.stem != options.only) continue;
            runs.push_back({variant, seed, train::weights_path(samples, variant, seed)});
        }
    }
    if (runs.empty()) {
        std::string known;
        for (auto const& variant : samples.variants) known += " " + variant.stem;
        throw Error(ExitCode::usage, "--only " + options.only +
                                         ": the sample file has no such variant (it has:" + known +
                                         ")");
    }
    return runs;
}

/// Steps of all runs: one line that rewrites itself on a terminal, a plain line every few seconds
/// otherwise.
class Progress {
  public:
    /// `steps`: of every run, at most.
    Progress(std::vector<std::uint64_t> steps, bool quiet)
        : done_(steps.size(), 0),
          ended_(steps.size(), false),
          steps_(std::move(steps)),
          quiet_(quiet),
          terminal_(::isatty(STDERR_FILENO) == 1) {}

    void step(std::size_t run, std::uint64_t done) {
        std::lock_guard const lock(mutex_);
        ++worked_;
        done_[run] = done;
        auto const now = Clock::now();
        if (quiet_ || now - printed_ < (terminal_ ? kTerminalPeriod : kPlainPeriod)) return;
        printed_ = now;
        print(std::chrono::duration<double>(now - begin_).count());
    }
    /// Clears the line for a result.
    void end_run(std::size_t run) {
        std::lock_guard const lock(mutex_);
        ended_[run] = true;
        clear();
    }
    void clear() {
        if (terminal_ && !quiet_) std::fprintf(stderr, "\r\033[K");
    }

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds kTerminalPeriod{200};
    static constexpr std::chrono::milliseconds kPlainPeriod{5000};

    void print(double elapsed_s) {
        std::size_t ended = 0;
        std::uint64_t left = 0;
        for (std::size_t i = 0; i < done_.size(); ++i) {
            ended += ended_[i] ? 1 : 0;
            left += ended_[i] ? 0 : steps_[i] - done_[i];
        }
        double const rate = static_cast<double>(worked_) / elapsed_s;
        std::fprintf(stderr, "%straining: %zu of %zu runs, %.3g steps/s, at most %.0f s left%s",
                     terminal_ ? "\r\033[K" : "", ended, done_.size(), rate,
                     static_cast<double>(left) / rate, terminal_ ? "" : "\n");
    }

    std::mutex mutex_;
    std::vector<std::uint64_t> done_;
    std::vector<bool> ended_;
    std::vector<std::uint64_t> steps_;
    std::uint64_t worked_ = 0;
    bool quiet_;
    bool terminal_;
    Clock::time_point begin_ = Clock::now();
    Clock::time_point printed_ = begin_;
};

void warn_about_slow_blas() {
    train::set_operation_threads(1);
    double const gflops = train::gemm_gflops();
    if (gflops >= train::kSlowGemm_gflops) return;
    std::fprintf(stderr,
                 "ckvsim-train: warning: the BLAS library behind libtorch is slow here (%.1f "
                 "GFLOP/s per core, tens are usual): training takes many times longer. Install "
                 "libopenblas0-openmp and see that it provides libblas.so.3 "
                 "(update-alternatives --config libblas.so.3-x86_64-linux-gnu)\n",
                 gflops);
}

void print_result(train::TrainingRun const& run, train::RunResult const& result) {
    if (result.skipped) {
        std::printf("%-30s seed %-6llu tune AUC %.4f  up to date                     %s\n",
                    run.variant.stem.c_str(), static_cast<unsigned long long>(run.seed),
                    result.tune_auc, run.path.c_str());
    } else {
        // A rate over the samples of this process alone would need those of the one before.
        std::string const rate = result.resumed
                                     ? "resumed"
                                     : std::to_string(static_cast<std::uint64_t>(
                                           static_cast<double>(result.samples) / result.seconds)) +
                                           "/s";
        auto const epoch = [](train::FirstResult const& first) {
            return std::to_string(first.best_epoch) + " of " + std::to_string(first.epochs);
        };
        std::string firsts;
        if (run.variant.starts_warm()) firsts += " from " + epoch(result.start);
        if (run.variant.has_teacher()) firsts += " taught by " + epoch(result.teacher);
        std::printf("%-30s seed %-6llu tune AUC %.4f  epoch %u of %u%s  %6.2f s %9s  %s\n",
                    run.variant.stem.c_str(), static_cast<unsigned long long>(run.seed),
                    result.tune_auc, result.best_epoch, result.epochs, firsts.c_str(),
                    result.seconds, rate.c_str(), run.path.c_str());
    }
    std::fflush(stdout);
}

/// What a rank was told must be what the others were told.
void require_same_job(Options const& options, train::Samples const& samples, train::Team& team) {
    team.require_equal(samples.file_digest, ExitCode::data, options.samples,
                       "Give every rank the same sample file, made from one spec");
    std::string told = options.only + (options.force ? " force " : " ");
    for (auto const seed : options.seeds) told += std::to_string(seed) + ",";
    told += " " + std::to_string(options.threads_per_run);
    told += " " + options.device + " " + options.operations + " " + options.precision;
    team.require_equal(hash_bytes(told.data(), told.size()), ExitCode::usage, "the command line",
                       "Start every rank with the same options");
    std::string const versions = CKVSIM_VERSION " " + train::operations_version();
    team.require_equal(hash_bytes(versions.data(), versions.size()), ExitCode::backend,
                       "the versions of ckvsim-train and libtorch",
                       "Install the same programs for every rank");
}

/// `--threads` for one process; under mpirun the ranks share one run at a time.
void decide_threads(Options& options, train::Team const& team) {
    if (team.size() == 1) {
        // One run fills a GPU, and what several need of its memory nobody has counted.
        bool const on_cpu = options.device == "cpu";
        if (options.threads == 0)
            options.threads = on_cpu ? available_cores() : options.threads_per_run;
        return;
    }
    if (options.threads != 0) {
        throw Error(ExitCode::usage,
                    "--threads: " + std::to_string(team.size()) +
                        " ranks train one variant and seed at a time. Leave it out and give each "
                        "rank its threads by --threads-per-run");
    }
    options.threads = options.threads_per_run;
    if (available_cores() >= options.threads_per_run || !team.is_root()) return;
    std::fprintf(stderr,
                 "ckvsim-train: warning: this rank may run on %u cores and has %u threads. Start "
                 "with mpirun --bind-to none, or --map-by slot:PE=%u\n",
                 available_cores(), options.threads_per_run, options.threads_per_run);
}

train::Compute compute_of(Options const& options) {
    train::Compute compute;
    compute.device = options.device;
    compute.operations = train::operation_kind_of(options.operations);
    compute.precision = train::precision_of(options.precision);
    train::require_consistent(compute);
    return compute;
}

/// This rank's.
void choose_device(train::Compute& compute, train::Team const& team) {
    if (compute.on_cpu()) return;
    compute.device =
        train::device_of_rank(compute.device, team.rank(), team.size(), train::cuda_devices());
    train::require_device(compute.device);
}

int run(Options options, train::Team& team) {
    train::Samples samples;
    std::vector<train::TrainingRun> runs;
    train::Compute compute;
    team.guard("ckvsim-train", [&] {
        compute = compute_of(options);
        decide_threads(options, team);
        choose_device(compute, team);
        samples = train::read_samples(options.samples);
        require_same_job(options, samples, team);
        runs = choose_runs(samples, options);
    });
    if (team.is_root() && compute.on_cpu()) warn_about_slow_blas();
    auto const begin = std::chrono::steady_clock::now();
    std::vector<std::uint64_t> steps;
    for (auto const& one : runs) steps.push_back(train::steps_of(samples, one.variant));
    Progress progress(std::move(steps), options.quiet || !team.is_root());
    std::size_t trained = 0;
    train::train_runs(
        samples, options.samples, runs, std::max(1U, options.threads / options.threads_per_run),
        {options.threads_per_run, options.force, options.state_interval_s, &team, compute},
        [&](std::size_t i, std::uint64_t done, std::uint64_t) { progress.step(i, done); },
        [&](std::size_t i, train::RunResult const& result) {
            progress.end_run(i);
            trained += result.skipped ? 0 : 1;
            if (team.is_root()) print_result(runs[i], result);
        });
    progress.clear();
    if (!team.is_root()) return static_cast<int>(ExitCode::ok);
    std::printf("%zu weight files: %zu trained, %zu up to date, %.1f s, in %s\n", runs.size(),
                trained, runs.size() - trained,
                std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
                samples.weights_dir.c_str());
    return static_cast<int>(ExitCode::ok);
}

int report(char const* what, ExitCode code) {
    std::fprintf(stderr, "ckvsim-train: %s\n", what);
    return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
    train::tune_allocator();
    comm::Runtime runtime(argc, argv);
    auto& comm = runtime.world();
    CLI::App app(
        "Trains the SIM, TWIN, ETA or HSTU variants of a sample file: full KV, full KV + SiLU, "
        "CollectiveKV and the controls.");
    Options options;
    declare(app, options);
    app.set_version_flag("--version", "ckvsim-train " CKVSIM_VERSION, "Print the version");
    try {
        app.parse(argc, argv);
    } catch (CLI::ParseError const& error) {
        int const code = comm.is_root() ? app.exit(error) : error.get_exit_code();
        return code == 0 ? 0 : static_cast<int>(ExitCode::usage);
    }
    train::CommExchange exchange(comm);
    train::Team team(exchange);
    // Not agreed on, so that other ranks may wait for this one for ever.
    auto const end_job = [&](std::string const& what, ExitCode code) {
        if (comm.size() == 1) return report(what.c_str(), code);
        comm.end_job(code, "rank " + std::to_string(comm.rank()) + ": " + what);
        return static_cast<int>(
            code);  // not reached: GCC forgets [[noreturn]] of virtual functions
    };
    try {
        comm::require_launched(comm);
        return run(options, team);
    } catch (train::TeamError const& error) {
        if (comm.is_root()) report(error.what(), error.exit_code());
        return static_cast<int>(error.exit_code());
    } catch (Error const& error) {
        return end_job(error.what(), error.exit_code());
    } catch (std::bad_alloc const&) {
        return end_job(
            "out of memory. Lower training.batch or train fewer runs at once (--threads)",
            ExitCode::backend);
    } catch (std::exception const& error) {
        return end_job(error.what(), ExitCode::backend);
    }
}
