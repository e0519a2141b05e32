#include "workload/item_world.hpp"

#include <algorithm>
#include <numeric>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::workload {

namespace {

/// Cluster sizes proportional to cluster popularity, every cluster with one item per style where
/// possible.
std::vector<std::uint32_t> first_items(IntegratedZipf const& popularity, std::uint32_t items,
                                       std::uint32_t styles) {
    std::uint32_t const clusters = popularity.ranks();
    std::uint32_t const least = std::min(styles, items / clusters);
    std::uint32_t const spare = items - least * clusters;
    std::vector<std::uint32_t> firsts(clusters + 1ULL, 0);
    for (std::uint32_t c = 0; c < clusters; ++c) {
        double const end = std::floor(spare * std::min(1.0, popularity.cumulative(c + 1.0)));
        firsts[c + 1] = least * (c + 1) + static_cast<std::uint32_t>(end);
    }
    firsts[clusters] = items;
    return firsts;
}

}  // namespace

ItemWorld::ItemWorld(std::uint64_t seed, std::uint32_t items, std::uint32_t clusters,
                     std::uint32_t styles, double popularity_exponent)
    : seed_(seed),
      items_(items),
      styles_(styles),
      cluster_popularity_(clusters, popularity_exponent) {
    validate(clusters >= 1 && clusters <= items && styles >= 1,
             "ItemWorld: needs 1 <= clusters <= items");
    firsts_ = first_items(cluster_popularity_, items, styles);
    category_.assign(items + 1ULL, 0);
    for (std::uint32_t c = 0; c < clusters; ++c) {
        std::fill(category_.begin() + 1 + firsts_[c], category_.begin() + 1 + firsts_[c + 1],
                  c + 1);
        rotations_.push_back(CounterRng(seed, Purpose::item_style, c, 1).below(styles));
        std::uint32_t const size = cluster_size(c);
        any_style_.emplace_back(size, popularity_exponent);
        for (std::uint32_t slot = 0; slot < styles; ++slot) {
            std::uint32_t const places = slot < size ? (size - slot + styles - 1) / styles : 1;
            one_style_.emplace_back(places, popularity_exponent);
        }
    }
}

double ItemWorld::quality(ItemId item) const {
    return CounterRng(seed_, Purpose::item_style, item).normal();
}

Catalogue ItemWorld::make_catalogue() const {
    Catalogue catalogue;
    catalogue.items = items_;
    catalogue.feature_names = {"item_id", "category"};
    catalogue.feature_vocabularies = {items_ + 1, clusters() + 1};
    std::vector<std::uint32_t> ids(items_ + 1ULL);
    std::iota(ids.begin(), ids.end(), 0U);
    catalogue.features = {std::move(ids), category_};
    return catalogue;
}

}  // namespace ckvsim::workload
