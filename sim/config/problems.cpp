#include "config/problems.hpp"

#include <algorithm>
#include <numeric>

namespace ckvsim::config {

namespace {

/// A broken file can hold a problem per byte; nobody reads more than this.
constexpr std::size_t kMostProblems = 100;
/// Names longer than any key cannot be misspelt keys.
constexpr std::size_t kLongestName = 64;

bool is_prefix(std::string const& above, std::string const& below) {
    return below.starts_with(above) && (below.size() == above.size() || below[above.size()] == '/');
}

/// Levenshtein distance, two rows.
std::size_t edit_distance(std::string const& a, std::string const& b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            std::size_t const replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

}  // namespace

std::string join_pointer(std::string const& pointer, std::string const& token) {
    std::string joined = pointer + "/";
    for (char const c : token) {
        if (c == '~') {
            joined += "~0";
        } else if (c == '/') {
            joined += "~1";
        } else {
            joined += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
        }
    }
    return joined;
}

std::string nearest(std::string const& name, std::vector<std::string> const& known) {
    if (name.empty() || name.size() > kLongestName) return "";
    std::string best;
    std::size_t least = std::max<std::size_t>(2, name.size() / 2);  // further away is another word
    for (auto const& candidate : known) {
        std::size_t const distance = edit_distance(name, candidate);
        if (distance < least || (distance == least && best.empty())) {
            best = candidate;
            least = distance;
        }
    }
    return best;
}

void Problems::add(std::string const& pointer, std::string message, std::string suggestion) {
    add(std::vector<std::string>{pointer}, std::move(message), std::move(suggestion));
}

void Problems::add(std::vector<std::string> const& pointers, std::string message,
                   std::string suggestion) {
    if (problems_.size() == kMostProblems) {
        ++dropped_;
        return;
    }
    auto const set_by = std::find_if(overrides_.rbegin(), overrides_.rend(), [&](auto const& o) {
        return std::any_of(pointers.begin(), pointers.end(), [&](auto const& pointer) {
            // Above it: an unknown object that the override made.
            return is_prefix(o.pointer, pointer) ||
                   (!pointer.empty() && is_prefix(pointer, o.pointer));
        });
    });
    if (set_by != overrides_.rend()) message += " (from --set '" + set_by->text + "')";
    pointers_.insert(pointers.front());
    problems_.push_back({pointers.front(), std::move(message), std::move(suggestion)});
}

bool Problems::touches(std::string const& pointer) const {
    return std::any_of(pointers_.begin(), pointers_.end(), [&](auto const& reported) {
        bool const whole_file = reported.empty();  // no value in particular is broken
        return !whole_file && (is_prefix(reported, pointer) || is_prefix(pointer, reported));
    });
}

void Problems::throw_if_any(std::string const& origin) const {
    if (problems_.empty()) return;
    auto all = problems_;
    if (dropped_ > 0) {
        all.push_back(
            {"", std::to_string(dropped_) + " more problems", "correct the ones above first"});
    }
    throw ConfigError(origin, std::move(all));
}

}  // namespace ckvsim::config
