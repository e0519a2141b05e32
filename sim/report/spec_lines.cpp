#include "report/spec_lines.hpp"

#include <string_view>
#include <vector>

namespace ckvsim::report {

namespace {

/// One open object or array: its pointer, and the next index if it is an array.
struct Level {
    std::string pointer;
    bool array = false;
    std::size_t next = 0;
};

/// Length of the leading "key" with its quotes; 0 when the line does not start with one.
std::size_t quoted_length(std::string_view line) {
    if (line.empty() || line[0] != '"') return 0;
    for (std::size_t i = 1; i < line.size(); ++i) {
        if (line[i] == '\\') {
            ++i;
        } else if (line[i] == '"') {
            return i + 1;
        }
    }
    return 0;
}

std::string_view trimmed(std::string_view line) {
    auto const first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    if (line.ends_with(',')) line.remove_suffix(1);
    return line;
}

class Flattener {
  public:
    void add(std::string_view line) {
        if (line.empty()) return;
        if (line == "}" || line == "]") {
            if (!open_.empty()) open_.pop_back();
            return;
        }
        std::string const pointer = take_pointer(line);
        if (line == "{" || line == "[") {
            open_.push_back({pointer, line == "[", 0});
        } else {
            values_[pointer] = line;
        }
    }
    std::map<std::string, std::string> take() { return std::move(values_); }

  private:
    /// Pointer of the value on this line; leaves the value in `line`.
    std::string take_pointer(std::string_view& line) {
        if (open_.empty()) return "";
        Level& level = open_.back();
        if (level.array) return level.pointer + "/" + std::to_string(level.next++);
        std::size_t const length = quoted_length(line);
        if (length == 0 || line.substr(length, 1) != ":") return level.pointer;
        std::string pointer = level.pointer + "/" + std::string(line.substr(1, length - 2));
        line = trimmed(line.substr(length + 1));
        return pointer;
    }

    std::vector<Level> open_;
    std::map<std::string, std::string> values_;
};

}  // namespace

std::map<std::string, std::string> flatten_spec(std::string const& pretty_json) {
    Flattener flattener;
    std::string_view rest = pretty_json;
    while (!rest.empty()) {
        auto const end = rest.find('\n');
        flattener.add(trimmed(rest.substr(0, end)));
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    return flattener.take();
}

}  // namespace ckvsim::report
