#include "engine/training_samples.hpp"

#include <omp.h>

#include <algorithm>
#include <array>
#include <span>
#include <tuple>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "engine/parallel_failure.hpp"

namespace ckvsim::engine {

namespace {

using workload::Population;
using workload::Split;
using workload::UserRecord;

/// Position of one impression and the hash that decides whether it is kept.
struct SampleKey {
    std::uint64_t order = 0;
    UserId user = 0;
    std::uint32_t impression = 0;
};
bool by_hash(SampleKey const& a, SampleKey const& b) {
    return std::tie(a.order, a.user, a.impression) < std::tie(b.order, b.user, b.impression);
}
bool by_position(SampleKey const& a, SampleKey const& b) {
    return std::tie(a.user, a.impression) < std::tie(b.user, b.impression);
}

struct SplitKeys {
    std::vector<SampleKey> train;
    std::vector<SampleKey> tune;
};

SplitKeys find_keys(Population const& population, std::uint64_t seed,
                    std::function<void(std::uint64_t, std::uint64_t)> const& progress) {
    SplitKeys keys;
    ParallelFailure failure;
    auto const users = static_cast<std::int64_t>(population.users());
    std::uint64_t done = 0;
#pragma omp parallel
    {
        SplitKeys mine;
        UserRecord record;
#pragma omp for schedule(dynamic, 256)
        for (std::int64_t user = 0; user < users; ++user) {
            failure.guard([&] {
                population.load(static_cast<UserId>(user), record);
                CounterRng rng(seed, Purpose::sample_selection, static_cast<UserId>(user), 1);
                for (std::uint32_t i = 0; i < record.impressions.size(); ++i) {
                    SampleKey const key{rng.next_u64(), static_cast<UserId>(user), i};
                    auto const split = record.impressions[i].split;
                    if (split == Split::train) mine.train.push_back(key);
                    if (split == Split::tune) mine.tune.push_back(key);
                }
            });
#pragma omp atomic
            ++done;
            if (progress && omp_get_thread_num() == 0 && user % 1024 == 0)
                progress(done, population.users());
        }
#pragma omp critical(merge_sample_keys)
        {
            keys.train.insert(keys.train.end(), mine.train.begin(), mine.train.end());
            keys.tune.insert(keys.tune.end(), mine.tune.begin(), mine.tune.end());
        }
    }
    failure.rethrow();
    return keys;
}

/// The `limit` keys with the smallest hashes (0 = all), sorted by position.
std::vector<SampleKey> select(std::vector<SampleKey> keys, std::uint64_t limit) {
    if (limit > 0 && limit < keys.size()) {
        std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(limit),
                         keys.end(), by_hash);
        keys.resize(limit);
    }
    std::sort(keys.begin(), keys.end(), by_position);
    return keys;
}

/// Columns of one split.
struct Columns {
    std::vector<std::uint32_t> user, history_end, item, context;
    std::vector<std::uint8_t> label;
    void add(std::uint32_t row, workload::Impression const& impression) {
        user.push_back(row);
        history_end.push_back(impression.history_end);
        item.push_back(impression.item);
        context.push_back(impression.context);
        label.push_back(impression.label);
    }
    void store(TensorFile& out, std::string const& split) const {
        auto const n = static_cast<std::int64_t>(label.size());
        out.tensors[split + ".user"] = Tensor::from<std::uint32_t>(user, {n});
        out.tensors[split + ".history_end"] = Tensor::from<std::uint32_t>(history_end, {n});
        out.tensors[split + ".item"] = Tensor::from<std::uint32_t>(item, {n});
        out.tensors[split + ".context"] = Tensor::from<std::uint32_t>(context, {n});
        out.tensors[split + ".label"] = Tensor::from<std::uint8_t>(label, {n});
    }
};

void store_catalogue(workload::Catalogue const& catalogue, TensorFile& out) {
    std::vector<std::uint32_t> flat;
    for (auto const& feature : catalogue.features)
        flat.insert(flat.end(), feature.begin(), feature.end());
    auto const features = static_cast<std::int64_t>(catalogue.features.size());
    out.tensors["item_features"] = Tensor::from<std::uint32_t>(
        flat, {features, static_cast<std::int64_t>(catalogue.items) + 1});
    out.tensors["feature_vocabularies"] =
        Tensor::from<std::uint32_t>(catalogue.feature_vocabularies, {features});
}

/// Timelines of the users that have a sample, cut behind the last event that any of their samples
/// sees.
void store_rows(Population const& population, std::array<std::vector<SampleKey>, 3> const& chosen,
                TensorFile& out) {
    std::vector<UserId> users;
    for (auto const& keys : chosen) {
        for (auto const& key : keys) users.push_back(key.user);
    }
    std::sort(users.begin(), users.end());
    users.erase(std::unique(users.begin(), users.end()), users.end());
    std::array<Columns, 3> columns;
    std::array<std::size_t, 3> at{};
    std::vector<std::uint64_t> offsets = {0};
    std::vector<ItemId> items;
    UserRecord record;
    for (std::uint32_t row = 0; row < users.size(); ++row) {
        population.load(users[row], record);
        std::uint32_t seen = 0;
        for (std::size_t split = 0; split < 3; ++split) {
            auto const& keys = chosen[split];
            for (; at[split] < keys.size() && keys[at[split]].user == users[row]; ++at[split]) {
                auto const& impression = record.impressions[keys[at[split]].impression];
                columns[split].add(row, impression);
                seen = std::max(seen, impression.history_end);
            }
        }
        items.insert(items.end(), record.timeline.begin(), record.timeline.begin() + seen);
        offsets.push_back(items.size());
    }
    out.tensors["timeline.offsets"] =
        Tensor::from<std::uint64_t>(offsets, {static_cast<std::int64_t>(offsets.size())});
    out.tensors["timeline.items"] =
        Tensor::from<std::uint32_t>(items, {static_cast<std::int64_t>(items.size())});
    columns[0].store(out, "train");
    columns[1].store(out, "tune");
    columns[2].store(out, "reference");
}

void require_both_labels(TensorFile const& out, std::string const& origin) {
    auto const labels = out.tensor("train.label").as<std::uint8_t>();
    auto const clicks = static_cast<std::size_t>(std::count(labels.begin(), labels.end(), 1));
    if (clicks == 0 || clicks == labels.size()) {
        throw DataError(origin, 0,
                        "all " + std::to_string(labels.size()) +
                            " training labels are equal; nothing can be learnt");
    }
}

}  // namespace

void collect_samples(Population const& population, SampleLimits const& limits, std::uint64_t seed,
                     std::string const& origin, TensorFile& out,
                     std::function<void(std::uint64_t, std::uint64_t)> const& progress) {
    SplitKeys keys = find_keys(population, seed, progress);
    if (keys.train.empty()) throw DataError(origin, 0, "the train split has no impressions");
    if (keys.tune.empty()) throw DataError(origin, 0, "the tune split has no impressions");
    std::array<std::vector<SampleKey>, 3> chosen = {
        select(std::move(keys.train), limits.train), select(keys.tune, limits.tune),
        select(keys.tune, std::max<std::uint64_t>(limits.reference, 1))};
    store_catalogue(population.catalogue(), out);
    store_rows(population, chosen, out);
    require_both_labels(out, origin);
}

}  // namespace ckvsim::engine
