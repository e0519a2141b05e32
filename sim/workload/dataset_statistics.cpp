#include "workload/dataset_statistics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace ckvsim::workload {

namespace {

constexpr std::array<char const*, 3> kSplitNames = {"train", "tune", "test"};
constexpr double kMsPerDay = 86400e3;

class Statistics {
  public:
    explicit Statistics(Dataset const& dataset) : data_(dataset) {}

    std::vector<std::pair<std::string, double>> run() {
        std::size_t const users = data_.original_user_ids.size();
        std::vector<std::uint64_t> histories(users);
        std::vector<std::uint64_t> timelines(users);
        std::vector<std::uint64_t> impressions(users);
        for (std::size_t u = 0; u < users; ++u) {
            histories[u] = data_.history_offsets[u + 1] - data_.history_offsets[u];
            impressions[u] = data_.impression_offsets[u + 1] - data_.impression_offsets[u];
            timelines[u] = histories[u] + growth(u);
        }
        add("users", count(users));
        add("users with stored history", non_zero(histories));
        add("users with impressions", non_zero(impressions));
        add("items", data_.catalogue.items);
        for (std::size_t f = 1; f < data_.catalogue.feature_names.size(); ++f) {
            add("item feature " + data_.catalogue.feature_names[f] + " values",
                data_.catalogue.feature_vocabularies[f] - 1.0);
        }
        add_lengths("stored history", "events", histories);
        add_lengths("timeline", "events", timelines);
        add_lengths("impressions", "", impressions);
        add_splits();
        add_times();
        add_test_users();
        add_item_coverage();
        add_repeats();
        return std::move(out_);
    }

  private:
    static double count(std::size_t n) { return static_cast<double>(n); }
    static double non_zero(std::vector<std::uint64_t> const& values) {
        return count(values.size()) -
               static_cast<double>(std::count(values.begin(), values.end(), 0U));
    }
    void add(std::string name, double value) { out_.emplace_back(std::move(name), value); }

    bool extends(std::uint64_t row) const {
        return data_.history_growth == HistoryGrowth::exposures ||
               (data_.history_growth == HistoryGrowth::positives &&
                data_.impression_labels[row] == 1);
    }
    std::uint64_t growth(std::size_t user) const {
        std::uint64_t events = 0;
        for (auto row = data_.impression_offsets[user]; row < data_.impression_offsets[user + 1];
             ++row) {
            if (extends(row)) ++events;
        }
        return events;
    }
    /// Total, then mean and quantiles per user.
    void add_lengths(std::string const& what, std::string const& unit,
                     std::vector<std::uint64_t> lengths) {
        double const total =
            static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0}));
        std::sort(lengths.begin(), lengths.end());
        add(unit.empty() ? what : what + " " + unit, total);
        std::string const per_user = what + " per user, ";
        add(per_user + "mean", total / count(lengths.size()));
        for (auto const& [name, share] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}}) {
            auto const rank = static_cast<std::size_t>(std::ceil(share * count(lengths.size())));
            add(per_user + name, static_cast<double>(lengths[rank - 1]));
        }
        add(per_user + "max", static_cast<double>(lengths.back()));
    }
    void add_splits() {
        std::array<std::uint64_t, 3> rows{};
        std::array<std::uint64_t, 3> positives{};
        for (std::size_t i = 0; i < data_.impression_labels.size(); ++i) {
            ++rows[data_.impression_splits[i]];
            positives[data_.impression_splits[i]] += data_.impression_labels[i];
        }
        for (std::size_t s = 0; s < rows.size(); ++s) {
            add(std::string(kSplitNames[s]) + " impressions", static_cast<double>(rows[s]));
            if (rows[s] == 0) continue;
            add(std::string(kSplitNames[s]) + " label rate",
                static_cast<double>(positives[s]) / static_cast<double>(rows[s]));
        }
    }
    void add_times() {
        auto const& times = data_.impression_times_ms;
        if (times.empty()) return;
        auto const [first, last] = std::minmax_element(times.begin(), times.end());
        add("first impression, s since 1970", std::floor(static_cast<double>(*first) / 1e3));
        add("last impression, s since 1970", std::floor(static_cast<double>(*last) / 1e3));
        add("impressions' time span, days", static_cast<double>(*last - *first) / kMsPerDay);
    }
    /// gAUC is defined over users with both labels.
    void add_test_users() {
        std::uint64_t users = 0;
        std::uint64_t both = 0;
        std::uint64_t impressions_of_both = 0;
        for (std::size_t u = 0; u + 1 < data_.impression_offsets.size(); ++u) {
            std::array<std::uint64_t, 2> labels{};
            for (auto i = data_.impression_offsets[u]; i < data_.impression_offsets[u + 1]; ++i) {
                if (data_.impression_splits[i] == static_cast<std::uint8_t>(Split::test))
                    ++labels[data_.impression_labels[i]];
            }
            if (labels[0] + labels[1] > 0) ++users;
            if (labels[0] == 0 || labels[1] == 0) continue;
            ++both;
            impressions_of_both += labels[0] + labels[1];
        }
        add("users in test", static_cast<double>(users));
        add("users with both labels in test", static_cast<double>(both));
        add("test impressions of those users", static_cast<double>(impressions_of_both));
    }
    void add_item_coverage() {
        std::vector<std::uint8_t> known(data_.catalogue.items + std::size_t{1}, 0);
        std::vector<std::uint8_t> tested(known.size(), 0);
        for (ItemId const item : data_.history_items) known[item] = 1;
        for (std::size_t i = 0; i < data_.impression_items.size(); ++i) {
            auto const split = static_cast<Split>(data_.impression_splits[i]);
            if (split == Split::train) known[data_.impression_items[i]] = 1;
            if (split == Split::test) tested[data_.impression_items[i]] = 1;
        }
        std::uint64_t test_rows = 0;
        std::uint64_t unseen_rows = 0;
        for (std::size_t i = 0; i < data_.impression_items.size(); ++i) {
            if (data_.impression_splits[i] != static_cast<std::uint8_t>(Split::test)) continue;
            ++test_rows;
            if (known[data_.impression_items[i]] == 0) ++unseen_rows;
        }
        if (test_rows == 0) return;
        double items = 0.0;
        double unseen = 0.0;
        for (std::size_t i = 1; i < known.size(); ++i) {
            items += tested[i];
            unseen += tested[i] != 0 && known[i] == 0 ? 1.0 : 0.0;
        }
        add("items in test", items);
        add("share of them unseen before tune and test", unseen / items);
        add("share of test impressions with an unseen item",
            static_cast<double>(unseen_rows) / static_cast<double>(test_rows));
    }
    /// Repeats inside stored histories; rows that repeat a row of the same user, item and instant.
    void add_repeats() {
        std::uint64_t repeats = 0;
        std::vector<ItemId> seen;
        for (std::size_t u = 0; u + 1 < data_.history_offsets.size(); ++u) {
            auto const at = data_.history_items.begin();
            seen.assign(at + static_cast<std::ptrdiff_t>(data_.history_offsets[u]),
                        at + static_cast<std::ptrdiff_t>(data_.history_offsets[u + 1]));
            std::sort(seen.begin(), seen.end());
            repeats +=
                static_cast<std::uint64_t>(seen.end() - std::unique(seen.begin(), seen.end()));
        }
        if (!data_.history_items.empty()) {
            add("share of stored events that repeat an item",
                static_cast<double>(repeats) / count(data_.history_items.size()));
        }
        add("impressions that repeat user, item and instant", count_duplicates());
    }
    double count_duplicates() const {
        double duplicates = 0.0;
        std::vector<ItemId> items;
        for (std::size_t u = 0; u + 1 < data_.impression_offsets.size(); ++u) {
            std::uint64_t const end = data_.impression_offsets[u + 1];
            for (std::uint64_t begin = data_.impression_offsets[u]; begin < end;) {
                items.clear();
                std::uint64_t i = begin;
                for (; i < end && data_.impression_times_ms[i] == data_.impression_times_ms[begin];
                     ++i) {
                    items.push_back(data_.impression_items[i]);
                }
                std::sort(items.begin(), items.end());
                duplicates +=
                    static_cast<double>(items.end() - std::unique(items.begin(), items.end()));
                begin = i;
            }
        }
        return duplicates;
    }

    Dataset const& data_;
    std::vector<std::pair<std::string, double>> out_;
};

}  // namespace

std::vector<std::pair<std::string, double>> compute_statistics(Dataset const& dataset) {
    return Statistics(dataset).run();
}

std::string describe_context_spread(Dataset const& dataset, std::string const& context_name,
                                    std::vector<std::string> const& values) {
    struct Context {
        std::uint64_t rows = 0;
        std::uint64_t positives = 0;
        double rate() const { return static_cast<double>(positives) / static_cast<double>(rows); }
    };
    std::vector<Context> contexts(dataset.context_vocabulary);
    for (std::size_t i = 0; i < dataset.impression_contexts.size(); ++i) {
        ++contexts[dataset.impression_contexts[i]].rows;
        contexts[dataset.impression_contexts[i]].positives += dataset.impression_labels[i];
    }
    std::size_t low = contexts.size();
    std::size_t high = contexts.size();
    for (std::size_t c = 0; c < contexts.size(); ++c) {
        if (contexts[c].rows * 100 < dataset.impression_contexts.size() || contexts[c].rows == 0)
            continue;
        if (low == contexts.size() || contexts[c].rate() < contexts[low].rate()) low = c;
        if (high == contexts.size() || contexts[c].rate() > contexts[high].rate()) high = c;
    }
    if (low == high) return "";
    auto const describe = [&](std::size_t c) {
        char rate[16];
        std::snprintf(rate, sizeof rate, "%.2f", contexts[c].rate());
        return rate + (" (" + context_name + " ") +
               (values.empty() ? std::to_string(c) : values[c]) + ")";
    };
    return "AUC over all impressions mixes scenes: the label rate runs from " + describe(low) +
           " to " + describe(high) + " among the values of " + context_name +
           " with at least 1 % of the impressions";
}

}  // namespace ckvsim::workload
