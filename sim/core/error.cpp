#include "core/error.hpp"

namespace ckvsim {

namespace {

std::string join_problems(std::string const& file, std::vector<ConfigProblem> const& problems) {
    std::string text = file + ": " + std::to_string(problems.size()) +
                       (problems.size() == 1 ? " problem" : " problems") + ", nothing was run";
    for (auto const& problem : problems) {
        text += "\n  " + (problem.pointer.empty() ? std::string("/") : problem.pointer) + ": " +
                problem.message;
        if (!problem.suggestion.empty()) text += "; " + problem.suggestion;
    }
    return text;
}

}  // namespace

ConfigError::ConfigError(std::string const& file, std::vector<ConfigProblem> problems)
    : Error(ExitCode::config, join_problems(file, problems)), problems_(std::move(problems)) {}

DataError::DataError(std::string const& file, std::uint64_t line, std::string const& reason)
    : Error(ExitCode::data,
            line == 0 ? file + ": " + reason : file + ":" + std::to_string(line) + ": " + reason) {}

}  // namespace ckvsim
