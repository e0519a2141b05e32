// ckvsim-gpu-bench: one command for a GPU node. Checks the kernels against double precision, then
// measures limits, decode, fetch and residency, and writes one JSON file with the raw times.
// Exit codes as of ckvsim: 0 done, 1 a wrong result, 2 command line, 5 no GPU, CUDA or file system.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <map>

#include "bench_parts.hpp"
#include "core/atomic_file.hpp"
#include "core/error.hpp"
#ifdef CKVSIM_BENCH_BUILD_INFO
#include "ckvsim_build_info.hpp"
#else
#define CKVSIM_COMMIT "unknown"  // the lite build records none
#endif

namespace ckvsim::gpubench {
namespace {

struct Command {
    BenchOptions options;
    std::string output = "gpu-bench.json";
    std::vector<std::string> parts = {"decode", "plans", "small", "fetch", "residency"};
};

Command parse(CLI::App& app, int argc, char** argv) {
    Command command;
    BenchOptions& options = command.options;
    app.add_option("-o,--output", command.output, "JSON file to write")->capture_default_str();
    app.add_option("--parts", command.parts, "what to measure besides the limits")
        ->delimiter(',')
        ->check(CLI::IsMember({"decode", "plans", "small", "fetch", "residency"}));
    app.add_option("--batch", options.batch)->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--tokens", options.tokens)->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--heads", options.heads)->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--head-dim", options.head_dim, "a multiple of 8")->capture_default_str();
    app.add_option("--items", options.items, "catalogue of the item tables")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--candidates", options.candidates)->delimiter(',')->check(CLI::PositiveNumber);
    app.add_option("--repetitions", options.repetitions)
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--copy-bytes", options.copy_bytes, "of a copy measurement")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--memory-share", options.memory_share, "of free memory, for resident users")
        ->check(CLI::Range(0.0, 0.95))
        ->capture_default_str();
    app.parse(argc, argv);
    if (options.head_dim == 0 || options.head_dim % 8 != 0)
        throw CLI::ValidationError("--head-dim", "must be a multiple of 8");
    return command;
}

Json describe(device::cuda::GpuInfo const& gpu) {
    return {{"name", gpu.name},
            {"bus", gpu.bus_id},
            {"driver", gpu.driver},
            {"runtime", gpu.runtime},
            {"compute_capability", std::to_string(gpu.major) + "." + std::to_string(gpu.minor)},
            {"multiprocessors", gpu.limits.multiprocessors},
            {"memory_bytes", gpu.memory_bytes},
            {"l2_bytes", gpu.l2_bytes},
            {"persisting_l2_bytes", gpu.persisting_l2_bytes},
            {"shared_bytes_per_block", gpu.limits.shared_bytes_per_block},
            {"copy_engines", gpu.copy_engines},
            {"error_correction", gpu.error_correction}};
}

Json describe(BenchOptions const& options) {
    return {{"batch", options.batch},           {"tokens", options.tokens},
            {"heads", options.heads},           {"head_dim", options.head_dim},
            {"items", options.items},           {"repetitions", options.repetitions},
            {"copy_bytes", options.copy_bytes}, {"memory_share", options.memory_share}};
}

void write(std::string const& path, Json const& result) {
    write_file_atomically(path, result.dump(1) + "\n");
}

int run(Command const& command) {
    auto const search = device::cuda::find_gpu();
    if (!search.gpu) throw BackendError("ckvsim-gpu-bench: no GPU (" + search.reason + ")");
    Bench bench{command.options, *search.gpu, {}};
    std::time_t const now = std::time(nullptr);
    char date[32];
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
    Json result = {{"program", "ckvsim-gpu-bench"}, {"version", CKVSIM_BENCH_VERSION},
                   {"commit", CKVSIM_COMMIT},       {"date_utc", date},
                   {"device", describe(bench.gpu)}, {"options", describe(bench.options)}};
    std::printf("%s: correctness\n", bench.gpu.name.c_str());
    result["correctness"] = check_correctness(bench);
    auto const wrong = std::count_if(result["correctness"].begin(), result["correctness"].end(),
                                     [](Json const& row) { return row.at("result") != "right"; });
    if (wrong > 0) {
        write(command.output, result);
        throw InternalError("ckvsim-gpu-bench: " + std::to_string(wrong) +
                            " cases are wrong, nothing was measured; see " + command.output);
    }
    std::printf("limits\n");
    result["limits"] = measure_limits(bench);
    std::map<std::string, Json (*)(Bench const&)> const parts = {{"decode", measure_decode},
                                                                 {"plans", measure_plans},
                                                                 {"small", measure_small_batches},
                                                                 {"fetch", measure_fetch},
                                                                 {"residency", measure_residency}};
    for (std::string const& part : command.parts) {
        std::printf("%s\n", part.c_str());
        std::fflush(stdout);
        result[part] = parts.at(part)(bench);
        write(command.output, result);  // what is there if a later part fails
    }
    write(command.output, result);
    std::printf("wrote %s\n", command.output.c_str());
    return 0;
}

}  // namespace

std::vector<double> time_work(device::cuda::Stream const& stream, std::uint32_t repetitions,
                              std::function<void(std::uint32_t)> const& work) {
    std::vector<double> ms;
    for (std::uint32_t r = 0; r <= repetitions; ++r) {
        device::cuda::Event start;
        device::cuda::Event end;
        start.record(stream);
        work(r);
        end.record(stream);
        double const one = end.ms_since(start);
        if (r > 0) ms.push_back(one);
    }
    stream.synchronize();
    return ms;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

Json times(std::vector<double> const& ms) { return {{"median_ms", median(ms)}, {"ms", ms}}; }

Json plan_row(device::cuda::AttentionPlan const& plan) {
    bool const tile = plan.kernel == device::cuda::AttentionKernel::tile;
    Json row = {{"kernel", tile ? "tile" : "split"}, {"splits", plan.splits}};
    if (tile) {
        row["dims"] = plan.dims;
    } else {
        row["queries"] = plan.queries;
        row["wide_loads"] = plan.wide;
        row["lanes"] = plan.lanes;
        row["loads_of_a_lane"] = plan.chunks;
    }
    row["blocks"] = plan.blocks;
    row["threads"] = plan.threads;
    row["shared_bytes"] = plan.shared_bytes;
    return row;
}

void expect_right(double error, std::string const& what) {
    // Outputs are weighted means of values between -1 and 1; scores are of the order 1.
    constexpr double kTolerance = 1e-4;
    if (!(error <= kTolerance))
        throw InternalError("ckvsim-gpu-bench: " + what + " is wrong by " + std::to_string(error) +
                            "; its time means nothing");
}

}  // namespace ckvsim::gpubench

int main(int argc, char** argv) {
    CLI::App app("Checks and measures ckvsim's kernels on the first GPU of this machine.");
    try {
        return ckvsim::gpubench::run(ckvsim::gpubench::parse(app, argc, argv));
    } catch (CLI::ParseError const& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (ckvsim::Error const& error) {
        std::fflush(stdout);
        std::cerr << error.what() << '\n';
        return static_cast<int>(error.exit_code());
    } catch (std::exception const& error) {
        std::fflush(stdout);
        std::cerr << "ckvsim-gpu-bench: " << error.what() << '\n';
        return 1;
    }
}
