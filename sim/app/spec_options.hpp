// Options that every command on a spec has.
#pragma once

#include <CLI/CLI.hpp>

#include "app/commands.hpp"

namespace ckvsim::app {

/// The spec's path, --set, --quiet and --threads.
void add_spec_options(CLI::App& command, SpecOptions& options);

}  // namespace ckvsim::app
