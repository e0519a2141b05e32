#include "config/key_text.hpp"

#include <charconv>
#include <cmath>

namespace ckvsim::config {

std::string number_text(double value) {
    constexpr double kAllDigits = 1e15;  // below 2^53: whole numbers are written out
    if (value == std::trunc(value) && std::abs(value) < kAllDigits)
        return std::to_string(static_cast<std::int64_t>(value));
    std::array<char, 32> buffer{};
    auto const [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return {buffer.data(), end};
}

std::string allowed(IntegerRange const& range) {
    std::string text;
    for (auto const value : range.only) text += (text.empty() ? "" : ", ") + std::to_string(value);
    if (!text.empty()) return text;
    if (range.high == std::numeric_limits<std::uint64_t>::max())
        return ">= " + std::to_string(range.low);
    return std::to_string(range.low) + " .. " + std::to_string(range.high);
}

std::string allowed(RealRange const& range) {
    std::string text;
    if (std::isfinite(range.low)) text = (range.above_low ? "> " : ">= ") + number_text(range.low);
    if (std::isfinite(range.high)) {
        text += (text.empty() ? "" : " and ") + std::string(range.below_high ? "< " : "<= ") +
                number_text(range.high);
    }
    return text.empty() ? "any finite number" : text;
}

std::string allowed(TextRule const& rule) {
    std::string const length =
        std::to_string(rule.shortest) + " .. " + std::to_string(rule.longest) + " bytes";
    return rule.name ? length + " of letters, digits, '_', '.', '-'" : length;
}

std::string allowed(ListRule const& rule) {
    return std::to_string(rule.fewest) + " .. " + std::to_string(rule.most) +
           (rule.unique ? " distinct elements" : " elements");
}

}  // namespace ckvsim::config
