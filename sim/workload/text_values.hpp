// Categorical values written as text -> numbers that do not depend on the order of the rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ckvsim::workload {

/// Numbers texts in order of first sight; ranks() then orders them bytewise, shorter whole numbers
/// before longer ones ("9" before "10").
class TextValues {
  public:
    std::uint32_t intern(std::string_view text) {
        if (!names_.empty() && text == names_[last_]) return last_;
        key_.assign(text);
        auto const [at, added] = numbers_.emplace(key_, static_cast<std::uint32_t>(names_.size()));
        if (added) names_.push_back(key_);
        last_ = at->second;
        return last_;
    }
    /// Texts in order of their ranks.
    [[nodiscard]] std::vector<std::string> ranked() const {
        std::vector<std::string> texts(names_.size());
        auto const rank = ranks();
        for (std::size_t i = 0; i < rank.size(); ++i) texts[rank[i]] = names_[i];
        return texts;
    }
    [[nodiscard]] std::size_t size() const { return names_.size(); }
    /// Rank of every number, from 0.
    [[nodiscard]] std::vector<std::uint32_t> ranks() const {
        std::vector<std::uint32_t> order(names_.size());
        std::iota(order.begin(), order.end(), 0U);
        std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
            bool const numbers = is_number(names_[a]) && is_number(names_[b]);
            if (numbers && names_[a].size() != names_[b].size())
                return names_[a].size() < names_[b].size();
            if (is_number(names_[a]) != is_number(names_[b])) return is_number(names_[a]);
            return names_[a] < names_[b];
        });
        std::vector<std::uint32_t> ranks(order.size());
        for (std::size_t rank = 0; rank < order.size(); ++rank)
            ranks[order[rank]] = static_cast<std::uint32_t>(rank);
        return ranks;
    }

  private:
    static bool is_number(std::string const& text) {
        return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    }
    std::unordered_map<std::string, std::uint32_t> numbers_;
    std::vector<std::string> names_;
    std::string key_;
    std::uint32_t last_ = 0;
};

}  // namespace ckvsim::workload
