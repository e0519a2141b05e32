// Synthetic population with a known preference model. Pure function of (seed, user): no user table
// is stored. The generating model and its knobs: sim/docs/synthetic.md.
#pragma once

#include <memory>

#include "workload/population.hpp"

namespace ckvsim::workload {

struct SyntheticParams {
    std::uint64_t seed = 1;
    std::uint64_t users = 20000;
    std::uint32_t items = 10000;    ///< V
    std::uint32_t clusters = 50;    ///< interest clusters (the items' category)
    double history_median = 100.0;  ///< log-normal median of the history length
    double history_sigma = 0.8;  ///< log-normal sigma (FACTS section 4: 1.05 from SDIM's quantiles)
    std::uint32_t history_min = 1;
    std::uint32_t history_cap = 200;  ///< lengths are clipped to [min, cap]
    double popularity_exponent =
        1.0;  ///< Zipf alpha of item popularity inside a cluster and of clusters
    std::uint32_t interests_min = 2;  ///< interests per user, uniform in [min, max]
    std::uint32_t interests_max = 6;
    std::uint32_t styles =
        4;  ///< styles per cluster: an item has one, a user prefers one per interest
    double style_weight = 2.0;  ///< label weight of the style match inside the candidate's cluster
    double personal_weight = 1.0;  ///< label weight of taste that no other user shares (exact item)
    double popularity_weight = 0.5;  ///< label weight of the item's quality, the same for everybody
    double repeat_probability = 0.15;  ///< an event repeats one of the user's earlier items
    double noise_probability = 0.1;    ///< an event is drawn by global popularity alone
    double bias = -1.0;                ///< label intercept
    std::uint32_t impressions_per_user = 10;
    double matched_candidate_share = 0.7;  ///< candidates drawn from the user's own interests
    double train_share = 0.7;              ///< users by hash; the rest splits into tune and test
    double tune_share = 0.1;
    /// Return times: mixture of a short (session) and a long exponential gap between a user's
    /// events.
    double short_gap_share = 0.6;
    double short_gap_s = 120.0;
    double long_gap_s = 86400.0;

    bool operator==(SyntheticParams const&) const = default;
};

/// Throws InternalError on parameters that config should have refused: 1 <= clusters <= items <
/// 2^32 - 1, styles >= 1, history_min <= history_cap, 1 <= interests_min <= interests_max <=
/// min(clusters, 64), every share and probability and the sums noise + repeat, train + tune in [0,
/// 1], gaps > 0.
std::unique_ptr<Population> make_synthetic(SyntheticParams const& params);

}  // namespace ckvsim::workload
