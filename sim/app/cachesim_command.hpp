// `ckvsim cachesim`: plain cache simulation of a trace. Declares its own options.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace ckvsim::app {

/// As given on the command line; numbers as text because they may read 1e6 or 64MiB.
struct CachesimOptions {
    std::string trace;
    std::string synthetic;
    std::string format;
    std::vector<std::string> policies{"lru"};
    std::vector<std::string> capacities;
    bool ignore_size = false;
    std::string time_to_live = "0";
    std::string warmup = "0";
    std::string admission = "all";
    std::string lru_method = "auto";
    double sample = 1.0;
    int threads = 0;
    std::string json;
    bool quiet = false;
};

/// The subcommand, its callback left to the caller.
CLI::App* declare_cachesim(CLI::App& parent, CachesimOptions& options);
/// Runs it; results go to standard output. Throws ckvsim::Error.
int cachesim_command(CachesimOptions const& options);

}  // namespace ckvsim::app
