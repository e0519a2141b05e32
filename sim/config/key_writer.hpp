// A struct as JSON text.
#pragma once

#include <functional>
#include <string>

#include "config/key_visitor.hpp"

namespace ckvsim::config {

/// Runs `describe` with a visitor that collects the values; keys without effect are left out.
/// Pretty-printed, keys in the order of the description, a final newline.
std::string write_json(std::function<void(KeyVisitor&)> const& describe);

}  // namespace ckvsim::config
