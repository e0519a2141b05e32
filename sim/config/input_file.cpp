#include "config/input_file.hpp"

#include <filesystem>

#include "core/atomic_file.hpp"

namespace ckvsim::config {

std::string read_input(std::string const& path, JsonLimits const& limits) {
    std::error_code unreadable;  // reported by read_file
    auto const bytes = std::filesystem::file_size(path, unreadable);
    if (!unreadable && bytes > limits.bytes) {
        throw ConfigError(path, {{"",
                                  std::to_string(bytes) + " bytes; the largest file accepted has " +
                                      std::to_string(limits.bytes),
                                  "is this the right file?"}});
    }
    return read_file(path);
}

}  // namespace ckvsim::config
