// `ckvsim validate-sim`: the simulated twin against executed runs on this machine, on points that
// calibration has not seen. Declares its own options.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "app/commands.hpp"

namespace ckvsim::app {

struct ValidateSimOptions : SpecOptions {
    std::string output;  ///< empty: results/local/<name>-fidelity.h5
    /// Request rates over the highest that an arm can serve at the point, by the simulated twin.
    std::vector<double> loads{0.3, 0.6, 0.9, 2.0};
    std::vector<std::uint32_t> candidates{16, 64};   ///< not on the grid of calibration
    std::vector<std::uint32_t> lengths;              ///< empty: a third of max_tokens, and all
    std::vector<double> oversubscription{0.8, 4.0};  ///< entries' bytes over the tiers' capacity
    std::uint32_t requests = 3000;                   ///< a pass, warm-up included, at most
    double seconds_per_pass = 2.0;      ///< a pass gets fewer requests rather than more time
    std::uint32_t repeats = 3;          ///< executed passes of a point
    double calibration_seconds = 60.0;  ///< in slices between the passes
};

/// The subcommand, its callback left to the caller.
CLI::App* declare_validate_sim(CLI::App& parent, ValidateSimOptions& options);
/// One process alone. Throws ckvsim::Error.
int validate_sim_command(comm::Communicator& comm, ValidateSimOptions const& options);

}  // namespace ckvsim::app
