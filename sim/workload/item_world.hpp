// Items of the synthetic population: clusters, hidden styles and hidden quality; and how to draw
// from them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.hpp"
#include "workload/integrated_zipf.hpp"
#include "workload/population.hpp"

namespace ckvsim::workload {

/// Item ids are dense and grouped by cluster, most popular first:
/// id = 1 + first(cluster) + rank, style = (rank + rotation(cluster)) mod styles.
/// Styles interleave the popularity ranks, so every style of a cluster is about equally popular.
class ItemWorld {
  public:
    /// Needs 1 <= clusters <= items, styles >= 1. O(items) memory (the catalogue's category
    /// column).
    ItemWorld(std::uint64_t seed, std::uint32_t items, std::uint32_t clusters, std::uint32_t styles,
              double popularity_exponent);

    [[nodiscard]] std::uint32_t items() const { return items_; }
    [[nodiscard]] std::uint32_t clusters() const {
        return static_cast<std::uint32_t>(firsts_.size() - 1);
    }
    [[nodiscard]] std::uint32_t styles() const { return styles_; }
    [[nodiscard]] std::uint32_t cluster_of(ItemId item) const { return category_[item] - 1; }
    [[nodiscard]] std::uint32_t style_of(ItemId item) const {
        std::uint32_t const cluster = cluster_of(item);
        return (item - 1 - firsts_[cluster] + rotations_[cluster]) % styles_;
    }
    [[nodiscard]] std::uint32_t cluster_size(std::uint32_t cluster) const {
        return firsts_[cluster + 1] - firsts_[cluster];
    }
    /// Hidden quality, standard normal; the same for every user.
    [[nodiscard]] double quality(ItemId item) const;

    /// Cluster at quantile `u` of cluster popularity.
    [[nodiscard]] std::uint32_t draw_cluster(double u) const { return cluster_popularity_.rank(u); }
    /// Item of a cluster, any style, at quantile `u` of its popularity.
    [[nodiscard]] ItemId draw_item(std::uint32_t cluster, double u) const {
        return 1 + firsts_[cluster] + any_style_[cluster].rank(u);
    }
    /// Item of one style of a cluster; of any style when the cluster is too small to have that
    /// style.
    [[nodiscard]] ItemId draw_item(std::uint32_t cluster, std::uint32_t style, double u) const {
        std::uint32_t const slot = (style + styles_ - rotations_[cluster]) % styles_;
        if (slot >= cluster_size(cluster)) return draw_item(cluster, u);
        std::uint32_t const place = one_style_[cluster * styles_ + slot].rank(u);
        return 1 + firsts_[cluster] + place * styles_ + slot;
    }
    /// item_id and cluster + 1.
    [[nodiscard]] Catalogue make_catalogue() const;

  private:
    std::uint64_t seed_;
    std::uint32_t items_;
    std::uint32_t styles_;
    IntegratedZipf cluster_popularity_;
    std::vector<std::uint32_t> firsts_;      ///< [clusters + 1]
    std::vector<std::uint32_t> rotations_;   ///< [clusters]
    std::vector<IntegratedZipf> any_style_;  ///< [clusters]
    std::vector<IntegratedZipf> one_style_;  ///< [clusters, styles]
    std::vector<std::uint32_t> category_;    ///< [items + 1]
};

}  // namespace ckvsim::workload
