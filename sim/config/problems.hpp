// Collects everything that is wrong with an input before anybody is told.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace ckvsim::config {

/// `pointer`/`token`, escaped as RFC 6901 asks; control characters become '?'.
std::string join_pointer(std::string const& pointer, std::string const& token);

/// The closest of `known` by edit distance, empty when none is close.
std::string nearest(std::string const& name, std::vector<std::string> const& known);

class Problems {
  public:
    /// A value that came from the command line; `text` is the override as given.
    struct Override {
        std::string pointer;
        std::string text;
    };

    void set_overrides(std::vector<Override> overrides) { overrides_ = std::move(overrides); }

    /// A problem of one value.
    void add(std::string const& pointer, std::string message, std::string suggestion = "");
    /// A problem between values: reported at the first pointer, names the override that set any of
    /// them.
    void add(std::vector<std::string> const& pointers, std::string message,
             std::string suggestion = "");

    /// True when a problem was reported at this pointer, above it or below it.
    [[nodiscard]] bool touches(std::string const& pointer) const;
    [[nodiscard]] bool empty() const { return problems_.empty(); }
    [[nodiscard]] std::size_t size() const { return problems_.size(); }

    /// Throws ConfigError with everything collected, in the order of discovery; returns when there
    /// is nothing.
    void throw_if_any(std::string const& origin) const;

  private:
    std::vector<ConfigProblem> problems_;
    std::set<std::string> pointers_;
    std::vector<Override> overrides_;
    std::size_t dropped_ = 0;
};

}  // namespace ckvsim::config
