#include "workload/dataset_builder.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.hpp"

namespace ckvsim::workload {

namespace {

/// Rank of every id among all of them, ascending, plus `first`.
std::vector<std::uint32_t> dense_numbers(std::vector<std::int64_t> const& ids,
                                         std::uint32_t first) {
    std::vector<std::uint32_t> by_id(ids.size());
    std::iota(by_id.begin(), by_id.end(), 0U);
    std::sort(by_id.begin(), by_id.end(),
              [&](std::uint32_t a, std::uint32_t b) { return ids[a] < ids[b]; });
    std::vector<std::uint32_t> numbers(ids.size());
    for (std::size_t rank = 0; rank < by_id.size(); ++rank)
        numbers[by_id[rank]] = first + static_cast<std::uint32_t>(rank);
    return numbers;
}

std::vector<std::int64_t> sorted(std::vector<std::int64_t> ids) {
    std::sort(ids.begin(), ids.end());
    return ids;
}

void add_feature_column(Catalogue& catalogue, ItemFeature const& feature,
                        std::vector<std::int64_t> const& original_items) {
    std::vector<std::int64_t> values;
    for (std::int64_t const item : original_items) {
        auto const at = feature.values.find(item);
        if (at != feature.values.end()) values.push_back(at->second);
    }
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    std::vector<std::uint32_t> column(original_items.size(), 0);
    for (std::size_t i = 1; i < column.size(); ++i) {
        auto const at = feature.values.find(original_items[i]);
        if (at == feature.values.end()) continue;
        auto const place = std::lower_bound(values.begin(), values.end(), at->second);
        column[i] = 1 + static_cast<std::uint32_t>(place - values.begin());
    }
    catalogue.feature_names.push_back(feature.name);
    catalogue.feature_vocabularies.push_back(static_cast<std::uint32_t>(values.size()) + 1);
    catalogue.features.push_back(std::move(column));
}

}  // namespace

bool DatasetBuilder::begin_history(std::int64_t user) {
    std::uint32_t const number = users_.intern(user);
    if (number >= has_history_.size()) has_history_.resize(number + std::size_t{1}, 0);
    if (has_history_[number] != 0) return false;
    has_history_[number] = 1;
    histories_.push_back({number, history_items_.size()});
    return true;
}

std::uint32_t DatasetBuilder::add_row(LogRow const& row) {
    std::uint32_t const item = items_.intern(row.item);
    if (rows_ % kBlockRows == 0) blocks_.emplace_back().reserve(kBlockRows);
    blocks_.back().push_back({users_.intern(row.user), item, row.time_ms, row.context, row.label});
    ++rows_;
    return item;
}

void DatasetBuilder::map_contexts(std::vector<std::uint32_t> const& numbers) {
    for (auto& block : blocks_)
        for (Row& row : block) row.context = numbers[row.context];
}

std::vector<std::int64_t> DatasetBuilder::time_quantiles_ms(
    std::vector<double> const& shares) const {
    validate(rows_ > 0 && std::is_sorted(shares.begin(), shares.end()) &&
                 (shares.empty() || (shares.front() >= 0.0 && shares.back() <= 1.0)),
             "time_quantiles_ms: needs rows and ascending shares in [0, 1]");
    std::vector<std::int64_t> times;
    times.reserve(rows_);
    for (auto const& block : blocks_)
        for (Row const& row : block) times.push_back(row.time_ms);
    std::vector<std::int64_t> instants;
    auto sorted_to = times.begin();  // everything before it is not later than anything behind it
    for (double const share : shares) {
        auto const before =
            static_cast<std::ptrdiff_t>(std::ceil(share * static_cast<double>(rows_)));
        if (before == 0) {
            instants.push_back(*std::min_element(times.begin(), times.end()));
            continue;
        }
        auto const last = times.begin() + (before - 1);
        if (last >= sorted_to) {
            std::nth_element(sorted_to, last, times.end());
            sorted_to = last + 1;
        }
        instants.push_back(*last + 1);
    }
    return instants;
}

/// Row indices grouped by dense user (offsets [U+1]), by time within a user, in file order within
/// an instant.
std::vector<std::uint64_t> DatasetBuilder::rows_by_user(
    std::vector<std::uint32_t> const& dense_users, std::vector<std::uint64_t>& offsets) const {
    offsets.assign(dense_users.size() + 1, 0);
    for (auto const& block : blocks_)
        for (Row const& row : block) ++offsets[dense_users[row.user] + 1];
    std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
    std::vector<std::uint64_t> order(rows_);
    std::vector<std::uint64_t> next(offsets.begin(), offsets.end() - 1);
    for (std::uint64_t index = 0; index < rows_; ++index)
        order[next[dense_users[row(index).user]]++] = index;
    for (std::size_t user = 0; user + 1 < offsets.size(); ++user) {
        auto const begin = order.begin() + static_cast<std::ptrdiff_t>(offsets[user]);
        auto const end = order.begin() + static_cast<std::ptrdiff_t>(offsets[user + 1]);
        auto const earlier = [&](std::uint64_t a, std::uint64_t b) {
            return row(a).time_ms < row(b).time_ms;
        };
        if (!std::is_sorted(begin, end, earlier)) std::stable_sort(begin, end, earlier);
    }
    return order;
}

void DatasetBuilder::fill_catalogue(Dataset& out) const {
    out.original_item_ids = sorted(items_.ids());
    out.original_item_ids.insert(out.original_item_ids.begin(), -1);
    Catalogue& catalogue = out.catalogue;
    catalogue.items = static_cast<std::uint32_t>(items_.size());
    catalogue.feature_names = {"item"};
    catalogue.feature_vocabularies = {catalogue.items + 1};
    catalogue.features.assign(1, std::vector<std::uint32_t>(out.original_item_ids.size()));
    std::iota(catalogue.features[0].begin(), catalogue.features[0].end(), 0U);
    for (auto const& feature : features_)
        add_feature_column(catalogue, feature, out.original_item_ids);
}

/// Appends one user's rows: the stored part to the history, the rest as impressions. Items still
/// carry the numbers of first sight.
void DatasetBuilder::fill_user(Dataset& out, std::vector<std::uint64_t> const& order,
                               std::uint64_t begin, std::uint64_t end,
                               SplitInstants const& instants) const {
    for (std::uint64_t place = begin; place < end; ++place) {
        Row const& now = row(order[place]);
        if (now.time_ms < instants.history_until_ms) {
            if (now.label == 1 || out.history_growth != HistoryGrowth::positives)
                out.history_items.push_back(now.item);
            continue;
        }
        Split const split = now.time_ms < instants.tune_from_ms   ? Split::train
                            : now.time_ms < instants.test_from_ms ? Split::tune
                                                                  : Split::test;
        out.impression_items.push_back(now.item);
        out.impression_times_ms.push_back(now.time_ms);
        out.impression_contexts.push_back(now.context);
        out.impression_labels.push_back(now.label);
        out.impression_splits.push_back(static_cast<std::uint8_t>(split));
    }
}

Dataset DatasetBuilder::build(Dataset shell, SplitInstants const& instants,
                              std::uint32_t max_history) {
    Dataset out = std::move(shell);
    fill_catalogue(out);
    out.original_user_ids = sorted(users_.ids());
    auto const dense_users = dense_numbers(users_.ids(), 0);
    auto const dense_items = dense_numbers(items_.ids(), 1);
    std::vector<std::uint64_t> row_offsets;
    auto const order = rows_by_user(dense_users, row_offsets);

    std::size_t const users = dense_users.size();
    std::vector<std::size_t> history_of(users, histories_.size());
    for (std::size_t h = 0; h < histories_.size(); ++h)
        history_of[dense_users[histories_[h].user]] = h;
    histories_.push_back({0, history_items_.size()});  // end of the last one
    out.history_offsets.assign(1, 0);
    out.impression_offsets.assign(1, 0);
    for (std::size_t user = 0; user < users; ++user) {
        std::size_t const first = out.history_items.size();
        if (history_of[user] + 1 < histories_.size()) {
            auto const at = history_items_.begin();
            out.history_items.insert(
                out.history_items.end(),
                at + static_cast<std::ptrdiff_t>(histories_[history_of[user]].begin),
                at + static_cast<std::ptrdiff_t>(histories_[history_of[user] + 1].begin));
        }
        fill_user(out, order, row_offsets[user], row_offsets[user + 1], instants);
        std::size_t const length = out.history_items.size() - first;
        if (length > max_history) {
            auto const begin = out.history_items.begin() + static_cast<std::ptrdiff_t>(first);
            out.history_items.erase(begin,
                                    begin + static_cast<std::ptrdiff_t>(length - max_history));
        }
        out.history_offsets.push_back(out.history_items.size());
        out.impression_offsets.push_back(out.impression_items.size());
    }
    for (ItemId& item : out.history_items) item = dense_items[item];
    for (ItemId& item : out.impression_items) item = dense_items[item];
    *this = DatasetBuilder();
    return out;
}

}  // namespace ckvsim::workload
