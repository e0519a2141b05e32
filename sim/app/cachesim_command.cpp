#include "app/cachesim_command.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/amounts.hpp"
#include "app/progress.hpp"
#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "engine/cache_simulation.hpp"

namespace ckvsim::app {

namespace {

double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

[[noreturn]] void refuse(std::string const& why) {
    throw Error(ExitCode::usage, "cachesim: " + why);
}

std::function<std::unique_ptr<workload::CacheTrace>()> source_of(CachesimOptions const& options) {
    if (options.trace.empty() == options.synthetic.empty())
        refuse("give either a trace file or --synthetic");
    if (!options.synthetic.empty()) {
        auto const made = workload::parse_zipf_trace(options.synthetic);
        return [made] { return workload::make_zipf_trace(made); };
    }
    auto const format = options.format == "csv"   ? workload::TraceFormat::csv
                        : options.format == "bin" ? workload::TraceFormat::binary
                                                  : workload::trace_format_of(options.trace);
    return [format, path = options.trace, ignore = options.ignore_size] {
        return workload::open_trace(path, format, ignore);
    };
}

void set_admission(engine::CacheSimulationOptions& to, std::string const& text) {
    using node::policies::AdmissionRule;
    if (text == "all") return;
    if (text == "second-hit") {
        to.admission = AdmissionRule::second_hit;
    } else if (text == "tinylfu") {
        to.admission = AdmissionRule::frequency;
    } else if (text.starts_with("size:")) {
        to.admission = AdmissionRule::size;
        to.size_limit = parse_amount("--admission", text.substr(5));
    } else {
        refuse("--admission " + text +
               " is unknown; known are all, size:BYTES, second-hit, tinylfu");
    }
}

engine::CacheSimulationOptions simulation_options(CachesimOptions const& options) {
    engine::CacheSimulationOptions made;
    made.policies = options.policies;
    for (auto const& text : options.capacities) {
        auto const amounts = parse_amounts("--capacity", text);
        made.capacities.insert(made.capacities.end(), amounts.begin(), amounts.end());
    }
    // A made-up trace of one-byte objects counts objects whether told so or not.
    made.objects =
        options.ignore_size ||
        (!options.synthetic.empty() && workload::parse_zipf_trace(options.synthetic).bytes == 1);
    std::uint64_t const life = parse_amount("--ttl", options.time_to_live);
    if (life > UINT32_MAX) refuse("--ttl is above 4,294,967,295");
    made.time_to_live = static_cast<std::uint32_t>(life);
    made.warmup = parse_amount("--warmup", options.warmup);
    made.sample = options.sample;
    set_admission(made, options.admission);
    made.lru_method = options.lru_method == "stack"      ? engine::LruMethod::stack
                      : options.lru_method == "simulate" ? engine::LruMethod::simulate
                                                         : engine::LruMethod::automatic;
    made.threads = options.threads > 0 ? options.threads : omp_get_max_threads();
    return made;
}

double rate(engine::CacheResult const& result) {
    return result.seconds > 0.0 ? static_cast<double>(result.processed) / result.seconds : 0.0;
}

void print_table(std::vector<engine::CacheResult> const& results, bool sampled) {
    std::printf("%-9s %15s %15s %15s %10s %10s %s%12s  %s\n", "policy", "capacity", "requests",
                "misses", "miss", "byte miss", sampled ? "+- miss    " : "", "requests/s",
                "method");
    for (auto const& r : results) {
        char error[32] = "";
        if (sampled) std::snprintf(error, sizeof error, "%-11.6f", r.standard_error);
        std::printf("%-9s %15llu %15llu %15llu %10.6f %10.6f %s%12.4g  %s%s\n", r.policy.c_str(),
                    static_cast<unsigned long long>(r.capacity),
                    static_cast<unsigned long long>(r.simulated),
                    static_cast<unsigned long long>(r.misses), r.miss_ratio, r.byte_miss_ratio,
                    error, rate(r), r.method.c_str(), r.inexact > 0 ? " (inexact)" : "");
    }
}

std::string json_text(std::vector<engine::CacheResult> const& results,
                      CachesimOptions const& options, double seconds) {
    nlohmann::ordered_json out;
    out["trace"] = options.trace.empty() ? options.synthetic : options.trace;
    out["ignore_size"] = options.ignore_size;
    out["time_to_live"] = options.time_to_live;
    out["warmup"] = options.warmup;
    out["admission"] = options.admission;
    out["sample"] = options.sample;
    out["wall_seconds"] = seconds;
    out["results"] = nlohmann::ordered_json::array();
    for (auto const& r : results) {
        out["results"].push_back({{"policy", r.policy},
                                  {"capacity", r.capacity},
                                  {"method", r.method},
                                  {"requests", r.requests},
                                  {"simulated_requests", r.simulated},
                                  {"misses", r.misses},
                                  {"miss_ratio", r.miss_ratio},
                                  {"miss_ratio_standard_error", r.standard_error},
                                  {"bytes", r.bytes},
                                  {"missed_bytes", r.missed_bytes},
                                  {"byte_miss_ratio", r.byte_miss_ratio},
                                  {"policy_seconds", r.seconds},
                                  {"requests_per_second", rate(r)},
                                  {"inexact_requests", r.inexact}});
    }
    return out.dump(2) + "\n";
}

void add_output_options(CLI::App& command, CachesimOptions& options) {
    command.add_option("--json", options.json,
                       "Write results as JSON to this file, - = standard output");
    command
        .add_option("-t,--threads", options.threads,
                    "Threads, one cache each (default: OMP_NUM_THREADS, else all cores)")
        ->check(CLI::Range(1, 4096));
    command.add_flag("-q,--quiet", options.quiet, "No progress on standard error");
}

}  // namespace

CLI::App* declare_cachesim(CLI::App& parent, CachesimOptions& options) {
    auto* command = parent.add_subcommand(
        "cachesim", "Simulate caches on a trace: miss ratios per policy and capacity (rank 0)");
    command->footer(
        "Examples: ckvsim cachesim trace.csv.gz --policy lru,sieve,belady --capacity 64MiB,1GiB\n"
        "          ckvsim cachesim trace.bin --ignore-size --capacity 1e3:1e7:50 --json "
        "curve.json\n"
        "          ckvsim cachesim --synthetic zipf:alpha=1.0,objects=1e7,requests=2e7 --policy "
        "lru,s3fifo --capacity 1e6\n"
        "Formats, policies and methods: sim/docs/cachesim.md");
    command->add_option("trace", options.trace,
                        "Trace file: .csv, .bin, .oracleGeneral, each also .gz");
    command->add_option("--synthetic", options.synthetic,
                        "Made-up trace instead: zipf:alpha=A,objects=N,requests=N,bytes=B,seed=S");
    command->add_option("--format", options.format, "csv or bin, where the name does not tell")
        ->check(CLI::IsMember({"csv", "bin"}));
    command
        ->add_option("-p,--policy", options.policies,
                     "lru, fifo, clock, sieve, s3fifo, wtinylfu, belady; several by comma")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->capture_default_str();
    command
        ->add_option("-c,--capacity", options.capacities,
                     "Bytes (units k M G T, Ki Mi Gi Ti), or objects; several by comma; "
                     "FROM:TO:COUNT is a geometric sequence")
        ->allow_extra_args(false)
        ->required();
    command->add_flag("--ignore-size", options.ignore_size, "Every object counts 1");
    command
        ->add_option("--ttl", options.time_to_live,
                     "Objects expire so long after their admission, in the trace's time unit")
        ->capture_default_str();
    command->add_option("--warmup", options.warmup, "First requests that are not counted")
        ->capture_default_str();
    command->add_option("--admission", options.admission, "all, size:BYTES, second-hit or tinylfu")
        ->capture_default_str();
    command
        ->add_option("--sample", options.sample,
                     "Share of the keys to simulate, capacities scaled alike (SHARDS)")
        ->capture_default_str();
    command
        ->add_option("--lru-method", options.lru_method,
                     "auto, simulate, or stack (all capacities in one pass)")
        ->check(CLI::IsMember({"auto", "simulate", "stack"}))
        ->capture_default_str();
    add_output_options(*command, options);
    return command;
}

int cachesim_command(CachesimOptions const& options) {
    auto const source = source_of(options);
    auto const simulation = simulation_options(options);
    Progress progress(options.quiet);
    progress.begin("cachesim", options.synthetic.empty() ? "bytes" : "requests");
    double const begin = now_s();
    engine::CacheSimulationHooks const hooks{
        now_s, [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); }};
    auto const results = engine::simulate_caches(source, simulation, hooks);
    double const seconds = now_s() - begin;
    progress.end();
    auto const text = json_text(results, options, seconds);
    if (options.json == "-") {
        std::printf("%s", text.c_str());
        return 0;
    }
    if (!options.json.empty()) write_file_atomically(options.json, text);
    print_table(results, options.sample < 1.0);
    std::printf(
        "%llu requests in %.3g s, reading included (%.4g/s); requests/s above: the policy "
        "alone, one thread\n",
        static_cast<unsigned long long>(results.front().requests), seconds,
        static_cast<double>(results.front().requests) / seconds);
    if (results.front().requests == 0)
        std::fprintf(stderr,
                     "cachesim: no request was counted: the trace is empty or the warm-up "
                     "covers it\n");
    return 0;
}

}  // namespace ckvsim::app
