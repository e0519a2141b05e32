// `ckvsim plan`: its command line, and the study and questions that follow from it.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "app/fleet_cases.hpp"
#include "fleet/plan_sample.hpp"

namespace ckvsim::app {

/// As given on the command line; numbers as text because they may read 1e7 or 30ms.
struct PlanOptions {
    std::string spec;
    std::vector<std::string> overrides;
    std::string slo;
    std::string users;
    std::string rps;
    std::string rps_per_user;
    std::string nodes;
    std::string output;
    std::uint32_t replicates = 5;
    std::string requests = "1e5";
    std::string sample_users = "65536";
    std::uint32_t check = 0;
    bool finalists = true;
    bool resume = false;
    bool quiet = false;
    int threads = 0;
};

/// The subcommand, its callback left to the caller.
CLI::App* declare_plan(CLI::App& parent, PlanOptions& options);

/// "p99=30ms" in milliseconds. Throws Error (usage).
double parse_slo(std::string const& text);

/// One question to answer: the fewest nodes for a load, or the highest load of given nodes.
struct PlanJob {
    std::size_t number = 0;
    std::size_t case_number = 0;    ///< in Plan::cases
    std::uint32_t given_nodes = 0;  ///< 0 = find the nodes
};

/// Everything that determines the answers.
struct Plan {
    config::FleetStudy study;  ///< with the command line's SLO and users
    node::Platform platform;
    std::vector<double> noise = {1.0};
    std::vector<FleetCase> cases;  ///< every one with its load
    std::vector<PlanJob> jobs;
    /// Jobs that begin where the one before ended, in order: one configuration, users ascending.
    std::vector<std::vector<std::size_t>> chains;
    fleet::PlanSampling sampling;
    std::uint32_t replicates = 5;
    std::uint32_t check = 0;
    bool finalists = true;
    std::string load_words;  ///< how the load follows from the users
    std::string output;
    std::string digest;  ///< of all of it
};

/// Reads spec and platform. Throws Error (usage) and ConfigError.
Plan make_plan(PlanOptions const& options);

}  // namespace ckvsim::app
