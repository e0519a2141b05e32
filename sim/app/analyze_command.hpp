// `ckvsim analyze`: what trained keys, values, pools and routers look like. Declares its own
// options.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "app/commands.hpp"

namespace ckvsim::app {

struct AnalyzeOptions : SpecOptions {
    std::string output;          ///< empty: results/local/<name>-analysis.h5
    std::uint64_t users = 2000;  ///< sampled for the comparison of users
    double energy_share = 0.9;   ///< of the leading part
};

/// The subcommand, its callback left to the caller.
CLI::App* declare_analyze(CLI::App& parent, AnalyzeOptions& options);
/// Collective: every rank scans its users; the root analyses. Throws ckvsim::Error.
int analyze_command(comm::Communicator& comm, AnalyzeOptions const& options);

}  // namespace ckvsim::app
