#include "engine/expansion_distance.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <span>

#include "core/rng.hpp"
#include "engine/parallel_failure.hpp"
#include "metrics/distribution_distance.hpp"

namespace ckvsim::engine {

namespace {

using workload::ExpandedPopulation;

constexpr std::size_t kRepeatBins = 101;  ///< percent of repeated events
constexpr std::size_t kPairBins = 33;     ///< 0, 1, 2-3, 4-7, ... occurrences of a pair

/// Histograms of one set of users; additive.
struct Shape {
    std::vector<std::uint64_t> lengths, popularity, repeats, pairs;
    Shape(std::uint32_t longest, std::uint32_t items)
        : lengths(longest + 1ULL),
          popularity(items + 1ULL),
          repeats(kRepeatBins),
          pairs(kPairBins) {}
    void merge(Shape const& other) {
        auto const add = [](std::vector<std::uint64_t>& to,
                            std::vector<std::uint64_t> const& from) {
            for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
        };
        add(lengths, other.lengths);
        add(popularity, other.popularity);
        add(repeats, other.repeats);
        add(pairs, other.pairs);
    }
};

std::uint64_t pair_key(ItemId a, ItemId b) {
    return (static_cast<std::uint64_t>(std::min(a, b)) << 32) | std::max(a, b);
}

/// Recorded users in three parts by hash, so that nobody is compared with himself.
enum class Part : std::uint32_t { counted = 0, target = 1, floor = 2 };
Part part_of(std::uint64_t seed, std::uint32_t row) {
    return static_cast<Part>(CounterRng(seed, Purpose::sample_selection, row, 3).below(3));
}

/// Sorted keys of all pairs of different items within `window` events, of the counted part.
class PairCounts {
  public:
    PairCounts(ExpandedPopulation const& population, std::uint64_t seed, std::uint32_t window) {
        for (std::uint32_t row = 0; row < population.source_users(); ++row) {
            if (part_of(seed, row) != Part::counted) continue;
            auto const history = population.source_history(row);
            for (std::size_t i = 0; i < history.size(); ++i) {
                auto const end = std::min(history.size(), i + 1 + window);
                for (std::size_t j = i + 1; j < end; ++j) {
                    if (history[i] != history[j]) keys_.push_back(pair_key(history[i], history[j]));
                }
            }
        }
        std::sort(keys_.begin(), keys_.end());
    }
    [[nodiscard]] std::uint64_t count(ItemId a, ItemId b) const {
        auto const [low, high] = std::equal_range(keys_.begin(), keys_.end(), pair_key(a, b));
        return static_cast<std::uint64_t>(high - low);
    }

  private:
    std::vector<std::uint64_t> keys_;
};

/// Adds one history, its items already source items.
void add_history(std::span<ItemId const> history, PairCounts const& counts,
                 std::vector<ItemId>& sorted, Shape& shape) {
    ++shape.lengths[std::min(history.size(), shape.lengths.size() - 1)];
    for (ItemId const item : history) ++shape.popularity[item];
    for (std::size_t i = 0; i + 1 < history.size(); ++i) {
        if (history[i] == history[i + 1]) continue;
        ++shape.pairs[std::bit_width(counts.count(history[i], history[i + 1]))];
    }
    if (history.empty()) return;
    sorted.assign(history.begin(), history.end());
    std::sort(sorted.begin(), sorted.end());
    auto const distinct =
        static_cast<std::size_t>(std::unique(sorted.begin(), sorted.end()) - sorted.begin());
    ++shape.repeats[(history.size() - distinct) * 100 / history.size()];
}

Shape recorded_shape(ExpandedPopulation const& population, PairCounts const& counts,
                     std::uint64_t seed, Part part, Shape const& empty) {
    Shape shape = empty;
    std::vector<ItemId> sorted;
    for (std::uint32_t row = 0; row < population.source_users(); ++row) {
        if (part_of(seed, row) == part) {
            add_history(population.source_history(row), counts, sorted, shape);
        }
    }
    return shape;
}

/// Users whose own source was not counted in `counts`.
Shape expanded_shape(ExpandedPopulation const& population, PairCounts const& counts,
                     std::uint64_t seed, std::uint64_t sample, Shape const& empty) {
    Shape total = empty;
    ParallelFailure failure;
    auto const users = static_cast<std::int64_t>(std::min(sample, population.users()));
#pragma omp parallel
    {
        Shape mine = empty;
        std::vector<ItemId> history;
        std::vector<ItemId> sorted;
#pragma omp for schedule(static)
        for (std::int64_t user = 0; user < users; ++user) {
            failure.guard([&] {
                auto const id = static_cast<UserId>(user);
                if (part_of(seed, population.source_user(id)) == Part::counted) return;
                population.load_history(id, history);
                for (ItemId& item : history) item = population.source_item(item);
                add_history(history, counts, sorted, mine);
            });
        }
#pragma omp critical(merge_expansion_shapes)
        total.merge(mine);
    }
    failure.rethrow();
    return total;
}

/// Bins by descending recorded popularity, so that the statistic compares whole head shares.
std::vector<std::uint64_t> reorder(std::vector<std::uint64_t> const& counts,
                                   std::vector<std::uint32_t> const& order) {
    std::vector<std::uint64_t> sorted(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) sorted[i] = counts[order[i]];
    return sorted;
}

}  // namespace

std::vector<ExpansionDistance> expansion_distances(ExpandedPopulation const& expanded,
                                                   ExpandedPopulation const& shuffled,
                                                   std::uint64_t sample, std::uint64_t seed,
                                                   std::uint32_t neighbourhood) {
    std::uint32_t longest = 0;
    for (std::uint32_t row = 0; row < expanded.source_users(); ++row) {
        longest =
            std::max(longest, static_cast<std::uint32_t>(expanded.source_history(row).size()));
    }
    PairCounts const counts(expanded, seed, neighbourhood);
    Shape const empty(longest, expanded.source_items());
    Shape const target = recorded_shape(expanded, counts, seed, Part::target, empty);
    Shape const other = recorded_shape(expanded, counts, seed, Part::floor, empty);
    Shape const made = expanded_shape(expanded, counts, seed, sample, empty);
    Shape const bad = expanded_shape(shuffled, counts, seed, sample, empty);

    std::vector<std::uint32_t> order(target.popularity.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return target.popularity[a] + other.popularity[a] >
               target.popularity[b] + other.popularity[b];
    });
    auto const distances = [&](std::string name, std::vector<std::uint64_t> Shape::*part,
                               bool by_popularity) {
        auto const bins = [&](Shape const& shape) {
            return by_popularity ? reorder(shape.*part, order) : shape.*part;
        };
        auto const against = bins(target);
        return ExpansionDistance{std::move(name), metrics::kolmogorov_smirnov(bins(made), against),
                                 metrics::kolmogorov_smirnov(bins(other), against),
                                 metrics::kolmogorov_smirnov(bins(bad), against)};
    };
    return {distances("length", &Shape::lengths, false),
            distances("popularity", &Shape::popularity, true),
            distances("repeat", &Shape::repeats, false),
            distances("co_occurrence", &Shape::pairs, false)};
}

}  // namespace ckvsim::engine
