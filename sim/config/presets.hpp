// Benchmark configurations by name: shapes and training settings that a spec takes over.
#pragma once

#include <string>

#include "config/json_value.hpp"

namespace ckvsim::config {

/// Names that /preset may have, "<model>-<dataset>", sorted: "eta-ebnerd, eta-kuaivideo, ...".
std::string preset_names();

/// Gives /model and /training of a spec the values of the preset that its key /preset names, where
/// the spec has none of its own; nothing without that key. A name that is none and a /model/kind
/// other than the preset's become problems.
void apply_preset(JsonValue& root, Problems& problems);

}  // namespace ckvsim::config
