#include "workload/dataset.hpp"

#include <algorithm>
#include <functional>
#include <span>

#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::workload {

namespace {

class Checker {
  public:
    Checker(Dataset const& dataset, std::string const& origin) : data_(dataset), origin_(origin) {}

    void run() const {
        check_catalogue();
        std::size_t const users = data_.original_user_ids.size();
        require(users > 0, "there are no users");
        require(strictly_ascending(data_.original_user_ids),
                "user ids are not in strictly ascending order");
        check_offsets(data_.history_offsets, data_.history_items.size(), "history");
        check_offsets(data_.impression_offsets, data_.impression_items.size(), "impression");
        check_items(data_.history_items, "history");
        check_items(data_.impression_items, "impression");
        check_columns();
        check_times(users);
    }

  private:
    void require(bool condition, std::string const& reason) const {
        if (!condition) throw DataError(origin_, 0, reason);
    }
    static bool strictly_ascending(std::span<std::int64_t const> ids) {
        return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
    }
    void check_catalogue() const {
        Catalogue const& c = data_.catalogue;
        std::size_t const rows = c.items + std::size_t{1};
        require(c.items > 0, "the catalogue is empty");
        require(!c.feature_names.empty() && c.feature_names.size() == c.features.size() &&
                    c.feature_names.size() == c.feature_vocabularies.size(),
                "feature names, vocabularies and columns differ in number");
        for (std::size_t f = 0; f < c.features.size(); ++f) {
            require(c.features[f].size() == rows, "feature " + c.feature_names[f] + " lacks rows");
            std::uint32_t const largest =
                *std::max_element(c.features[f].begin(), c.features[f].end());
            require(largest < c.feature_vocabularies[f],
                    "feature " + c.feature_names[f] + " has a value outside its vocabulary");
        }
        for (std::size_t i = 0; i < rows; ++i) {
            require(c.features[0][i] == i,
                    "feature 0 of item " + std::to_string(i) + " is not the item id");
        }
        require(data_.original_item_ids.size() == rows && data_.original_item_ids[0] == -1,
                "original item ids need one row per item and -1 for padding");
        require(strictly_ascending(data_.original_item_ids), "original item ids are not ascending");
    }
    void check_offsets(std::vector<std::uint64_t> const& offsets, std::size_t rows,
                       std::string const& what) const {
        require(offsets.size() == data_.original_user_ids.size() + 1,
                what + " offsets need users + 1 entries");
        require(offsets.front() == 0 && offsets.back() == rows &&
                    std::is_sorted(offsets.begin(), offsets.end()),
                what + " offsets do not cover the rows in order");
    }
    void check_items(std::vector<ItemId> const& items, std::string const& what) const {
        for (ItemId const item : items) {
            require(item >= 1 && item <= data_.catalogue.items,
                    what + " holds item " + std::to_string(item) + ", outside 1 .. " +
                        std::to_string(data_.catalogue.items));
        }
    }
    void check_columns() const {
        std::size_t const rows = data_.impression_items.size();
        require(
            data_.impression_times_ms.size() == rows && data_.impression_contexts.size() == rows &&
                data_.impression_labels.size() == rows && data_.impression_splits.size() == rows,
            "impression columns differ in length");
        require(data_.context_vocabulary >= 1, "the context vocabulary is empty");
        require(data_.history_growth <= HistoryGrowth::none, "the history growth rule is unknown");
        for (std::size_t i = 0; i < rows; ++i) {
            require(data_.impression_contexts[i] < data_.context_vocabulary,
                    "impression " + std::to_string(i) + " has a context outside the vocabulary");
            require(data_.impression_labels[i] <= 1,
                    "impression " + std::to_string(i) + " has a label above 1");
            require(data_.impression_splits[i] <= static_cast<std::uint8_t>(Split::test),
                    "impression " + std::to_string(i) + " has an unknown split");
        }
    }
    void check_times(std::size_t users) const {
        auto const times = data_.impression_times_ms.begin();
        for (std::size_t u = 0; u < users; ++u) {
            auto const begin = times + static_cast<std::ptrdiff_t>(data_.impression_offsets[u]);
            auto const end = times + static_cast<std::ptrdiff_t>(data_.impression_offsets[u + 1]);
            require(std::is_sorted(begin, end),
                    "impressions of user " + std::to_string(u) + " are not in time order");
        }
    }

    Dataset const& data_;
    std::string const& origin_;
};

class DatasetPopulation final : public Population {
  public:
    explicit DatasetPopulation(Dataset dataset)
        : data_(std::move(dataset)), digest_(digest_dataset(data_)) {
        check_dataset(data_, data_.name);
    }
    std::uint64_t users() const override { return data_.original_user_ids.size(); }
    Catalogue const& catalogue() const override { return data_.catalogue; }
    std::uint32_t context_vocabulary() const override { return data_.context_vocabulary; }
    bool has_true_logits() const override { return false; }
    std::uint64_t digest() const override { return digest_; }

    std::uint32_t history_length(UserId user) const override {
        return static_cast<std::uint32_t>(data_.history_offsets[user + 1] -
                                          data_.history_offsets[user]);
    }
    void load_history(UserId user, std::vector<ItemId>& out) const override {
        auto const first = data_.history_items.begin();
        out.assign(first + static_cast<std::ptrdiff_t>(data_.history_offsets[user]),
                   first + static_cast<std::ptrdiff_t>(data_.history_offsets[user + 1]));
    }
    void load(UserId user, UserRecord& out) const override {
        load_history(user, out.timeline);
        out.base_length = static_cast<std::uint32_t>(out.timeline.size());
        out.impressions.clear();
        out.true_logits.clear();
        for (auto row = data_.impression_offsets[user]; row < data_.impression_offsets[user + 1];
             ++row) {
            out.impressions.push_back({data_.impression_items[row], data_.impression_contexts[row],
                                       0, data_.impression_labels[row],
                                       static_cast<Split>(data_.impression_splits[row]),
                                       data_.impression_times_ms[row]});
        }
        place_in_history(data_.history_growth, out);
    }
    std::string describe() const override {
        return "dataset " + data_.name + ": " + std::to_string(users()) + " users, " +
               std::to_string(data_.catalogue.items) + " items, history = " + data_.history_kind;
    }

  private:
    Dataset data_;
    std::uint64_t digest_;
};

template <class T>
std::uint64_t chain(std::uint64_t seed, std::vector<T> const& values) {
    return hash_span(std::span<T const>(values), seed ^ values.size());
}
std::uint64_t chain(std::uint64_t seed, std::string const& text) {
    return hash_bytes(text.data(), text.size(), seed ^ text.size());
}

}  // namespace

void place_in_history(HistoryGrowth growth, UserRecord& record) {
    record.timeline.resize(record.base_length);
    auto& impressions = record.impressions;
    for (std::size_t i = 0; i < impressions.size(); ++i) {
        bool const same_second =
            i > 0 && second_of(impressions[i - 1].time_ms) == second_of(impressions[i].time_ms);
        impressions[i].history_end = same_second
                                         ? impressions[i - 1].history_end
                                         : static_cast<std::uint32_t>(record.timeline.size());
        bool const extends = growth == HistoryGrowth::exposures ||
                             (growth == HistoryGrowth::positives && impressions[i].label == 1);
        if (extends) record.timeline.push_back(impressions[i].item);
    }
}

void check_dataset(Dataset const& dataset, std::string const& origin) {
    Checker(dataset, origin).run();
}

std::uint64_t digest_dataset(Dataset const& dataset) {
    std::uint64_t digest =
        chain(0, std::vector<std::uint32_t>{dataset.catalogue.items, dataset.context_vocabulary,
                                            static_cast<std::uint32_t>(dataset.history_growth)});
    for (auto const& name : dataset.catalogue.feature_names) digest = chain(digest, name);
    digest = chain(digest, dataset.catalogue.feature_vocabularies);
    for (auto const& column : dataset.catalogue.features) digest = chain(digest, column);
    digest = chain(digest, dataset.original_user_ids);
    digest = chain(digest, dataset.original_item_ids);
    digest = chain(digest, dataset.history_offsets);
    digest = chain(digest, dataset.history_items);
    digest = chain(digest, dataset.impression_offsets);
    digest = chain(digest, dataset.impression_items);
    digest = chain(digest, dataset.impression_times_ms);
    digest = chain(digest, dataset.impression_contexts);
    digest = chain(digest, dataset.impression_labels);
    return chain(digest, dataset.impression_splits);
}

std::unique_ptr<Population> make_dataset_population(Dataset dataset) {
    return std::make_unique<DatasetPopulation>(std::move(dataset));
}

}  // namespace ckvsim::workload
