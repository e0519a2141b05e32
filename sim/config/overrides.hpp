// Command-line overrides "/json/pointer=value".
#pragma once

#include <string>
#include <vector>

#include "config/json_value.hpp"

namespace ckvsim::config {

/// Puts each value where its pointer says, making missing objects on the way (unknown names are
/// found later, by validation). The value is JSON, or a plain string where it is no JSON. Tells
/// `problems` which values came from the command line.
void apply_overrides(JsonValue& root, std::vector<std::string> const& overrides,
                     Problems& problems);

}  // namespace ckvsim::config
