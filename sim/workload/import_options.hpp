// Parsing of import options, shared by the readers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "workload/dataset_builder.hpp"

namespace ckvsim::workload {

/// Throws Error(ExitCode::usage): "--option value: reason".
[[noreturn]] void refuse_option(std::string const& option, std::string const& value,
                                std::string const& reason);

/// "2022-05-01", "2022-05-01T12:30:00", either with "Z", "+08:00" or "-05:00" (default UTC), in ms
/// since 1970. False when the text is no such instant.
bool parse_instant(std::string_view text, std::int64_t& out_ms);

/// Boundaries between consecutive parts of a log: shares of its rows in time order (all within
/// [0, 1]) or instants.
class SplitRule {
  public:
    /// Parses `count` comma-separated boundaries, not descending. Throws Error(ExitCode::usage).
    SplitRule(std::string const& option, std::string const& text, std::size_t count);
    /// The boundaries in ms since 1970: first instants of the parts behind them. A share becomes
    /// the instant behind that share of the builder's rows: no instant is ever divided between
    /// parts.
    [[nodiscard]] std::vector<std::int64_t> instants_ms(DatasetBuilder const& builder) const;

  private:
    bool shares_ = false;
    std::vector<double> share_;
    std::vector<std::int64_t> instant_ms_;
};

/// Whole number within [low, high]. Throws Error(ExitCode::usage).
std::uint64_t parse_count(std::string const& option, std::string const& text, std::uint64_t low,
                          std::uint64_t high);

/// "all" -> exposures, "positive" -> positives. Throws Error(ExitCode::usage).
HistoryGrowth parse_history(std::string const& option, std::string const& text);

/// Checks a dataset just built, fills its statistics and adds the cautions that hold for any
/// source. `context_values` names the contexts; empty = by their numbers. Throws DataError(origin)
/// when there are no impressions or all labels are equal.
void finish_import(Dataset& dataset, std::string const& origin, std::string const& context_name,
                   std::vector<std::string> const& context_values = {});

}  // namespace ckvsim::workload
