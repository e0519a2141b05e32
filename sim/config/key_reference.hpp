// Documents generated from a description of keys.
#pragma once

#include <functional>
#include <string>

#include "config/key_visitor.hpp"

namespace ckvsim::config {

/// `describe` visits a struct with defaults; lists of objects hold one default element.
using Description = std::function<void(KeyVisitor&)>;

/// JSON Schema, draft 2020-12.
std::string json_schema(std::string const& title, Description const& describe);
/// One table per section: key, type, default, allowed values, unit, meaning.
std::string markdown_tables(Description const& describe);

}  // namespace ckvsim::config
