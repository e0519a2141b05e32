// Numbers with units on a command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckvsim::app {

/// "1000", "1e6", "64k" (10^3), "64KiB" (2^10), up to T and TiB; at most 2^53. A fraction of a unit
/// is rounded to the nearest whole number. Throws Error (usage), naming `option`.
std::uint64_t parse_amount(std::string const& option, std::string const& text);

/// Amounts separated by commas, each a number or "FROM:TO:COUNT", a geometric sequence that
/// includes both ends, equal neighbours once. Throws Error (usage), naming `option`.
std::vector<std::uint64_t> parse_amounts(std::string const& option, std::string const& text);

}  // namespace ckvsim::app
