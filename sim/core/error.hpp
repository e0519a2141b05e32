// Error taxonomy. Expected outcomes (a miss, a rejection) are values; failures are these
// exceptions. Message grammar: where: what (why). what to do.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ckvsim {

/// Process exit codes, documented in --help and README.
enum class ExitCode : int {
    ok = 0,
    internal = 1,
    usage = 2,      ///< command line
    config = 3,     ///< spec or platform file
    data = 4,       ///< dataset, weights, report or other input file
    backend = 5,    ///< MPI, HDF5, file system, memory
    difference = 6  ///< `ckvsim diff` found a difference beyond tolerance
};

/// Base of all failures; carries the exit code that the program ends with.
class Error : public std::runtime_error {
  public:
    Error(ExitCode code, std::string const& message) : std::runtime_error(message), code_(code) {}
    [[nodiscard]] ExitCode exit_code() const { return code_; }

  private:
    ExitCode code_;
};

/// One problem of a spec: JSON pointer, what is wrong, what to do.
struct ConfigProblem {
    std::string pointer;     ///< for example "/arms/2/d_u"
    std::string message;     ///< value, reason and allowed range
    std::string suggestion;  ///< may be empty
};

/// A spec that cannot be run; carries every problem found, not only the first.
class ConfigError : public Error {
  public:
    ConfigError(std::string const& file, std::vector<ConfigProblem> problems);
    [[nodiscard]] std::vector<ConfigProblem> const& problems() const { return problems_; }

  private:
    std::vector<ConfigProblem> problems_;
};

/// A broken input file. `line` counts from 1; 0 means "not a line-oriented file".
class DataError : public Error {
  public:
    DataError(std::string const& file, std::uint64_t line, std::string const& reason);
};

/// A third-party library or the operating system refused something.
class BackendError : public Error {
  public:
    explicit BackendError(std::string const& message) : Error(ExitCode::backend, message) {}
};

/// A violated precondition or an impossible state: a defect of ckvsim itself.
class InternalError : public Error {
  public:
    explicit InternalError(std::string const& message) : Error(ExitCode::internal, message) {}
};

/// Always-on contract check.
inline void validate(bool condition, char const* message) {
    if (!condition) throw InternalError(message);
}

}  // namespace ckvsim
