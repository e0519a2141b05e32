#include "workload/import_options.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>

#include "core/error.hpp"
#include "workload/dataset_statistics.hpp"

namespace ckvsim::workload {

namespace {

constexpr double kFewTestUsers = 100;  ///< below, any per-user metric is noise
constexpr std::int64_t kYear1980Ms = 315532800000;

/// Takes `digits` decimal digits from the front of `text`.
bool take_number(std::string_view& text, std::size_t digits, int& out) {
    if (text.size() < digits) return false;
    auto const [stop, error] = std::from_chars(text.data(), text.data() + digits, out);
    if (error != std::errc() || stop != text.data() + digits || text[0] == '-') return false;
    text.remove_prefix(digits);
    return true;
}
bool take(std::string_view& text, char expected) {
    if (text.empty() || text[0] != expected) return false;
    text.remove_prefix(1);
    return true;
}

/// "Z", "+hh:mm", "-hh:mm" or nothing, in minutes east of UTC.
bool take_zone(std::string_view& text, int& minutes) {
    minutes = 0;
    if (text.empty() || take(text, 'Z')) return text.empty();
    int const sign = text[0] == '-' ? -1 : 1;
    if (!take(text, '-') && !take(text, '+')) return false;
    int hour = 0;
    int minute = 0;
    if (!take_number(text, 2, hour) || !take(text, ':') || !take_number(text, 2, minute))
        return false;
    minutes = sign * (60 * hour + minute);
    return text.empty() && hour <= 14 && minute < 60;
}

bool is_leap(int year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

/// Days from 1970-01-01 to a date of the Gregorian calendar; false when there is no such date.
bool count_days(int year, int month, int day, std::int64_t& out) {
    std::array<int, 12> const lengths = {
        31, is_leap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || month < 1 || month > 12 || day < 1 ||
        day > lengths[static_cast<std::size_t>(month - 1)])
        return false;
    auto const leap_years_to = [](int y) { return y / 4 - y / 100 + y / 400; };
    out = 365LL * (year - 1970) + leap_years_to(year - 1) - leap_years_to(1969) + day - 1;
    for (int m = 1; m < month; ++m) out += lengths[static_cast<std::size_t>(m - 1)];
    return true;
}

std::vector<std::string> split_list(std::string const& text) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0;;) {
        std::size_t const comma = text.find(',', begin);
        parts.push_back(text.substr(begin, comma - begin));
        if (comma == std::string::npos) return parts;
        begin = comma + 1;
    }
}

bool parse_share(std::string const& text, double& out) {
    auto const [stop, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && stop == text.data() + text.size() && out >= 0.0 && out <= 1.0;
}

void require_two_labels(Dataset const& dataset, std::string const& origin) {
    auto const& labels = dataset.impression_labels;
    if (labels.empty()) {
        throw DataError(origin, 0,
                        "no impressions are left behind the stored histories; let the first "
                        "boundary of --split come earlier");
    }
    if (std::adjacent_find(labels.begin(), labels.end(), std::not_equal_to<>()) == labels.end()) {
        throw DataError(origin, 0,
                        "all " + std::to_string(labels.size()) + " labels are " +
                            std::to_string(labels[0]) +
                            "; nothing can be learnt or measured (is the label's column the right "
                            "one?)");
    }
}

void add_common_notes(Dataset& dataset) {
    for (auto const& [name, value] : dataset.statistics) {
        if (name == "users with both labels in test" && value < kFewTestUsers) {
            dataset.notes.push_back("only " + std::to_string(static_cast<int>(value)) +
                                    " users have both labels in test: AUC and gAUC are noise here");
        }
        bool const impressions =
            name == "train impressions" || name == "tune impressions" || name == "test impressions";
        if (impressions && value == 0.0) {
            dataset.notes.push_back("there are no " + name +
                                    ": this dataset cannot be used for training and accuracy as it "
                                    "is split");
        }
    }
    auto const& times = dataset.impression_times_ms;
    if (*std::max_element(times.begin(), times.end()) < kYear1980Ms) {
        dataset.notes.emplace_back(
            "every impression lies before 1980: is the unit of the times right?");
    }
}

}  // namespace

void refuse_option(std::string const& option, std::string const& value, std::string const& reason) {
    throw Error(ExitCode::usage, "--" + option + " \"" + value + "\": " + reason);
}

bool parse_instant(std::string_view text, std::int64_t& out_ms) {
    std::array<int, 6> part{};  // year, month, day, hour, minute, second
    if (!take_number(text, 4, part[0]) || !take(text, '-') || !take_number(text, 2, part[1]) ||
        !take(text, '-') || !take_number(text, 2, part[2]))
        return false;
    if (take(text, 'T') &&
        (!take_number(text, 2, part[3]) || !take(text, ':') || !take_number(text, 2, part[4]) ||
         !take(text, ':') || !take_number(text, 2, part[5])))
        return false;
    int zone_minutes = 0;
    if (!take_zone(text, zone_minutes)) return false;
    std::int64_t days = 0;
    if (!count_days(part[0], part[1], part[2], days) || part[3] > 23 || part[4] > 59 ||
        part[5] > 59)
        return false;
    std::int64_t const minutes = days * 1440 + part[3] * 60 + part[4] - zone_minutes;
    out_ms = (minutes * 60 + part[5]) * 1000;
    return true;
}

SplitRule::SplitRule(std::string const& option, std::string const& text, std::size_t count) {
    auto const parts = split_list(text);
    if (parts.size() != count) {
        refuse_option(option, text,
                      "needs " + std::to_string(count) + " boundaries separated by commas, has " +
                          std::to_string(parts.size()));
    }
    double share = 0.0;
    shares_ = parse_share(parts[0], share);
    for (auto const& part : parts) {
        std::int64_t instant = 0;
        if (shares_ ? !parse_share(part, share) : !parse_instant(part, instant)) {
            refuse_option(option, text,
                          "\"" + part +
                              "\" is neither a share within 0 .. 1 nor an instant like "
                              "2022-05-01 or 2022-05-01T08:00:00+08:00, or the two are mixed");
        }
        if (shares_) share_.push_back(share);
        if (!shares_) instant_ms_.push_back(instant);
    }
    if (!std::is_sorted(share_.begin(), share_.end()) ||
        !std::is_sorted(instant_ms_.begin(), instant_ms_.end()))
        refuse_option(option, text, "the boundaries must not descend");
}

std::vector<std::int64_t> SplitRule::instants_ms(DatasetBuilder const& builder) const {
    return shares_ ? builder.time_quantiles_ms(share_) : instant_ms_;
}

std::uint64_t parse_count(std::string const& option, std::string const& text, std::uint64_t low,
                          std::uint64_t high) {
    std::uint64_t value = 0;
    auto const [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || stop != text.data() + text.size() || value < low || value > high) {
        refuse_option(
            option, text,
            "must be a whole number within " + std::to_string(low) + " .. " + std::to_string(high));
    }
    return value;
}

HistoryGrowth parse_history(std::string const& option, std::string const& text) {
    if (text == "all") return HistoryGrowth::exposures;
    if (text == "positive") return HistoryGrowth::positives;
    refuse_option(option, text, "must be all or positive");
}

void finish_import(Dataset& dataset, std::string const& origin, std::string const& context_name,
                   std::vector<std::string> const& context_values) {
    check_dataset(dataset, origin);
    require_two_labels(dataset, origin);
    dataset.statistics = compute_statistics(dataset);
    add_common_notes(dataset);
    std::string const spread = describe_context_spread(dataset, context_name, context_values);
    if (!spread.empty()) dataset.notes.push_back(spread);
}

}  // namespace ckvsim::workload
