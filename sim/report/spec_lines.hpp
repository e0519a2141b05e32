// Flattens a pretty-printed JSON spec into pointers and values, without a JSON library: the spec in
// a report was printed by config::dump_spec, one value a line. Internal to this folder.
#pragma once

#include <map>
#include <string>

namespace ckvsim::report {

/// JSON pointer -> value as printed, for example "/arms/2/d_u" -> "3". Text that is not
/// pretty-printed JSON gives fewer or odd entries, never an error.
std::map<std::string, std::string> flatten_spec(std::string const& pretty_json);

}  // namespace ckvsim::report
