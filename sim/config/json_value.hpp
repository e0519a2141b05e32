// A parsed JSON document, strict: what a reader may accept silently elsewhere (duplicate keys,
// comments, a byte order mark, endless nesting) is refused here. The JSON library stays in
// json_value.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/problems.hpp"

namespace ckvsim::config {

/// A parsed JSON value that remembers how its numbers were written.
struct JsonValue {
    enum class Kind : std::uint8_t { null, boolean, number, text, array, object };
    Kind kind = Kind::null;
    bool boolean = false;
    double real = 0.0;                     ///< number
    std::optional<std::uint64_t> integer;  ///< number written as a non-negative 64-bit integer
    std::string text;                      ///< text: its content; number: its literal
    std::vector<JsonValue> children;       ///< array: elements; object: values in document order
    std::map<std::string, std::size_t> members;  ///< object: name -> position in children

    [[nodiscard]] JsonValue const* find(std::string const& name) const;
    /// Member of an object, made (null) when it is missing.
    JsonValue& member(std::string const& name);
};

/// The value as messages show it: short, printable, strings quoted, containers by size.
std::string show(JsonValue const& value);

/// Byte limit and nesting limit of an input.
struct JsonLimits {
    std::size_t bytes = std::size_t{1} << 20;
    std::size_t depth = 32;
};

/// Parses a whole text. Duplicate keys become problems (the first value is kept); anything that is
/// not JSON at all becomes one problem with line and column and nullopt is returned.
std::optional<JsonValue> parse_json(std::string_view text, JsonLimits const& limits,
                                    Problems& problems);

}  // namespace ckvsim::config
