#include "engine/population_scan.hpp"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <span>

#include "core/error.hpp"
#include "engine/parallel_failure.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::int64_t kUsersPerTask = 512;

PopulationScan empty_scan(std::uint32_t items, bool with_train_counts) {
    PopulationScan scan;
    scan.users_by_length.assign(PopulationScan::kLengthBuckets, 0);
    scan.item_events.assign(items + 1ULL, 0);
    if (with_train_counts) {
        scan.train_views.assign(items + 1ULL, 0);
        scan.train_clicks.assign(items + 1ULL, 0);
    }
    return scan;
}

void add_history(PopulationScan& scan, UserId user, std::span<ItemId const> history,
                 std::uint32_t max_tokens) {
    scan.token_hash.add(user, hash_span(history));
    ++scan.users;
    scan.tokens += history.size();
    scan.capped_tokens += std::min<std::size_t>(history.size(), max_tokens);
    ++scan.users_by_length[PopulationScan::length_bucket(
        static_cast<std::uint32_t>(history.size()))];
    for (ItemId const item : history) ++scan.item_events[item];
}

void add_training_impressions(PopulationScan& scan, workload::UserRecord const& record) {
    for (auto const& impression : record.impressions) {
        if (impression.split != workload::Split::train) continue;
        ++scan.train_views[impression.item];
        scan.train_clicks[impression.item] += impression.label;
    }
}

}  // namespace

std::size_t PopulationScan::length_bucket(std::uint32_t length) {
    return std::min<std::size_t>(std::bit_width(length), kLengthBuckets - 1);
}
std::uint32_t PopulationScan::bucket_low(std::size_t bucket) {
    return bucket == 0 ? 0 : 1U << (bucket - 1);
}
std::uint32_t PopulationScan::bucket_high(std::size_t bucket) { return (1U << bucket) - 1; }

std::vector<std::uint64_t> PopulationScan::parts() const {
    std::vector<std::uint64_t> flat = {token_hash.value(), users, tokens, capped_tokens};
    for (auto const* column : {&users_by_length, &item_events, &train_views, &train_clicks}) {
        flat.insert(flat.end(), column->begin(), column->end());
    }
    return flat;
}

void PopulationScan::assign_parts(std::vector<std::uint64_t> const& parts) {
    validate(parts.size() == this->parts().size(), "PopulationScan: parts of another shape");
    token_hash = {};
    token_hash.merge_raw(parts[0]);
    users = parts[1];
    tokens = parts[2];
    capped_tokens = parts[3];
    auto at = parts.begin() + 4;
    for (auto* column : {&users_by_length, &item_events, &train_views, &train_clicks}) {
        std::copy_n(at, column->size(), column->begin());
        at += static_cast<std::ptrdiff_t>(column->size());
    }
}

PopulationScan scan_population(workload::Population const& population,
                               std::vector<UserId> const& users, std::uint32_t max_tokens,
                               bool with_train_counts, ScanProgress const& progress) {
    auto const items = population.catalogue().items;
    PopulationScan total = empty_scan(items, with_train_counts);
    std::int64_t const count = static_cast<std::int64_t>(users.size());
    std::uint64_t done = 0;
    ParallelFailure failure;
#pragma omp parallel
    {
        PopulationScan mine = empty_scan(items, with_train_counts);
        std::vector<ItemId> history;
        workload::UserRecord record;
#pragma omp for schedule(dynamic)
        for (std::int64_t begin = 0; begin < count; begin += kUsersPerTask) {
            std::int64_t const end = std::min(count, begin + kUsersPerTask);
            failure.guard([&] {
                for (std::int64_t i = begin; i < end; ++i) {
                    UserId const user = users[static_cast<std::size_t>(i)];
                    if (with_train_counts) {
                        population.load(user, record);
                        add_training_impressions(mine, record);
                        add_history(mine, user,
                                    std::span(record.timeline).first(record.base_length),
                                    max_tokens);
                    } else {
                        population.load_history(user, history);
                        add_history(mine, user, history, max_tokens);
                    }
                }
            });
#pragma omp atomic
            done += static_cast<std::uint64_t>(end - begin);
            if (progress && omp_get_thread_num() == 0) progress(done, users.size());
        }
#pragma omp critical(merge_population_scan)
        {
            auto sum = total.parts();
            auto const add = mine.parts();
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += add[i];
            total.assign_parts(sum);
        }
    }
    failure.rethrow();
    return total;
}

}  // namespace ckvsim::engine
