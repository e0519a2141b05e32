// Reads a JSON file of bounded size.
#pragma once

#include <string>

#include "config/json_value.hpp"

namespace ckvsim::config {

/// ConfigError when the file is larger than the limit (before it is read), DataError when it cannot
/// be read.
std::string read_input(std::string const& path, JsonLimits const& limits);

}  // namespace ckvsim::config
