#include "app/amounts.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "core/error.hpp"

namespace ckvsim::app {

namespace {

constexpr std::size_t kMostCapacities = 10'000;

[[noreturn]] void refuse(std::string const& option, std::string const& text,
                         std::string const& why) {
    throw Error(ExitCode::usage, option + " " + text + ": " + why);
}

/// Factor of a unit; 0 = unknown.
double factor_of(std::string_view unit) {
    if (unit.ends_with('B')) unit.remove_suffix(1);
    static constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{
        {"", 1.0},
        {"k", 1e3},
        {"K", 1e3},
        {"M", 1e6},
        {"G", 1e9},
        {"T", 1e12},
        {"Ki", 0x1p10},
        {"Mi", 0x1p20},
        {"Gi", 0x1p30},
        {"Ti", 0x1p40},
    }};
    for (auto const& [name, factor] : kUnits)
        if (name == unit) return factor;
    return 0.0;
}

std::vector<std::string> split(std::string const& text, char separator) {
    std::vector<std::string> parts(1);
    for (char const c : text) {
        if (c == separator) {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

std::vector<std::uint64_t> geometric(std::string const& option, std::string const& text,
                                     std::vector<std::string> const& ends) {
    std::uint64_t const from = parse_amount(option, ends[0]);
    std::uint64_t const to = parse_amount(option, ends[1]);
    std::uint64_t const count = parse_amount(option, ends[2]);
    if (from < 1 || to <= from || count < 2 || count > kMostCapacities)
        refuse(option, text, "FROM:TO:COUNT needs 1 <= FROM < TO and 2 <= COUNT <= 10,000");
    std::vector<std::uint64_t> amounts;
    double const ratio = static_cast<double>(to) / static_cast<double>(from);
    for (std::uint64_t i = 0; i < count; ++i) {
        double const exponent = static_cast<double>(i) / static_cast<double>(count - 1);
        amounts.push_back(static_cast<std::uint64_t>(
            std::llround(static_cast<double>(from) * std::pow(ratio, exponent))));
    }
    amounts.back() = to;
    amounts.erase(std::unique(amounts.begin(), amounts.end()), amounts.end());
    return amounts;
}

}  // namespace

std::uint64_t parse_amount(std::string const& option, std::string const& text) {
    char* end = nullptr;
    double const number = std::strtod(text.c_str(), &end);
    if (end == text.c_str())
        refuse(option, text, "is not a number; give for example 1000, 1e6 or 64MiB");
    double const factor = factor_of(end);
    if (factor == 0.0)
        refuse(option, text,
               "unit '" + std::string(end) + "' is unknown; known are k, M, G, T, Ki, Mi, Gi, Ti");
    double const amount = std::round(number * factor);
    if (!(number >= 0.0 && amount <= 0x1p53))
        refuse(option, text, "must be from 0 to 9,007,199,254,740,992 (2^53)");
    if (factor == 1.0 && amount != number) refuse(option, text, "is not a whole number");
    return static_cast<std::uint64_t>(amount);
}

std::vector<std::uint64_t> parse_amounts(std::string const& option, std::string const& text) {
    std::vector<std::uint64_t> amounts;
    for (auto const& part : split(text, ',')) {
        auto const ends = split(part, ':');
        if (ends.size() == 3) {
            auto const sequence = geometric(option, part, ends);
            amounts.insert(amounts.end(), sequence.begin(), sequence.end());
        } else if (ends.size() == 1) {
            amounts.push_back(parse_amount(option, part));
        } else {
            refuse(option, part, "give one number, or FROM:TO:COUNT");
        }
    }
    return amounts;
}

}  // namespace ckvsim::app
